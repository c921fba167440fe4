//! References from routes to the Services behind them.

use k8s_openapi::api::core::v1 as core;
use mesh_ir::name::{Namespace, ObjectName};
use mesh_ir::resource::{RouteKey, Transport};

use crate::attach::Refusal;
use crate::backend_tls::Policies;
use crate::lookup::Lookup;
use crate::{grant, service};

/// A backendRef, its defaults filled in but for the namespace.
#[derive(Debug)]
pub(crate) struct Reference {
    /// `rules[0].backendRefs[1]`
    pub(crate) field: String,
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    pub(crate) port: Option<i32>,
}

impl Reference {
    pub(crate) fn new(
        field: String,
        group: &Option<String>,
        kind: &Option<String>,
        namespace: &Option<String>,
        name: &str,
        port: Option<i32>,
    ) -> Self {
        Self {
            field,
            group: group.clone().unwrap_or_default(),
            kind: kind.clone().unwrap_or_else(|| "Service".into()),
            namespace: namespace.clone(),
            name: name.into(),
            port,
        }
    }
}

/// The object that a reference is in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Referrer<'a> {
    pub(crate) kind: &'static str,
    pub(crate) namespace: &'a Namespace,
    /// By what the Service is reached.
    pub(crate) transport: Transport,
    /// Whether it is sent requests.
    pub(crate) is_of_requests: bool,
}

impl<'a> From<&'a RouteKey> for Referrer<'a> {
    fn from(route: &'a RouteKey) -> Self {
        let RouteKey { kind, name } = route;
        Self {
            kind: kind.as_kind(),
            namespace: &name.namespace,
            transport: kind.transport(),
            is_of_requests: kind.is_of_requests(),
        }
    }
}

/// The Service and port that a reference names, or the reason for the ResolvedRefs condition of whoever refers.
pub(crate) fn resolve(
    snapshot: &Lookup<'_>,
    referrer: &Referrer<'_>,
    reference: &Reference,
    needs_grants: bool,
) -> Result<(ObjectName, u16), Refusal> {
    if !(reference.group.is_empty() && reference.kind == "Service") {
        let of = match reference.group.as_str() {
            "" => String::new(),
            group => format!(" of group {group}"),
        };
        let message = format!(
            "{} {}{of} is not supported as a backend; name a Service",
            reference.kind, reference.name
        );
        return Err(("InvalidKind", message));
    }
    let not_found = |message: String| ("BackendNotFound", message);
    let from = referrer.namespace.as_str();
    let namespace = reference.namespace.as_deref().unwrap_or(from);
    let name = ObjectName::new(namespace, &reference.name).map_err(|error| not_found(error.to_string()))?;
    // Asked first, so that the answer tells nothing about Services of a namespace that granted nothing.
    if needs_grants && !grant::permits(snapshot, referrer.kind, from, "Service", &name) {
        let message = format!(
            "Service {name} is in another namespace, and no ReferenceGrant there allows {}s of {from} to use it",
            referrer.kind
        );
        return Err(("RefNotPermitted", message));
    }
    let object =
        snapshot.services.get(&name).ok_or_else(|| not_found(format!("Service {name} does not exist")))?;
    if service::is_external_name(object) {
        // It may name what the route's author could not reach otherwise (CVE-2021-25740).
        let message = format!("Service {name} is of type ExternalName, which is not supported as a backend");
        return Err(("InvalidKind", message));
    }
    let port = reference.port.and_then(service::port_number);
    let port = port.ok_or_else(|| not_found("the reference has no port".into()))?;
    let has_number = |p: &&core::ServicePort| service::port_number(p.port) == Some(port);
    if let Some(found) = service::ports_of(object, referrer.transport).find(has_number) {
        if referrer.is_of_requests {
            let in_tls = || Policies::of(snapshot, &name).have(found);
            service::check_http_backend(found.app_protocol.as_deref(), in_tls).map_err(|problem| {
                ("UnsupportedProtocol", format!("Service {name} port {port}: {problem}"))
            })?;
        }
        return Ok((name, port));
    }
    match service::all_ports(object).find(has_number).map(service::protocol) {
        Some(protocol) => {
            let message =
                format!("Service {name} port {port} is {protocol}, which {}s cannot use", referrer.kind);
            Err(("UnsupportedProtocol", message))
        }
        None => Err(not_found(format!("Service {name} has no port {port}"))),
    }
}
