//! References to the Services and XBackends behind routes, and to others that Gateways send something to.

use k8s_openapi::api::core::v1 as core;
use mesh_ir::name::{Namespace, ObjectName};
use mesh_ir::resource::{RouteKey, Service, Transport};

use crate::attach::Refusal;
use crate::backend_tls::Policies;
use crate::lookup::Lookup;
use crate::object::Kind;
use crate::{grant, service, xbackend};

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

    /// The XBackend that it names, where it names one, by its name among Services. `from` is the route's namespace.
    pub(crate) fn backend(&self, from: &Namespace) -> Option<ObjectName> {
        let is_one = self.group == Kind::XBackend.group() && self.kind == Kind::XBackend.as_str();
        let namespace = self.namespace.as_deref().unwrap_or(from.as_str());
        let name = is_one.then(|| ObjectName::new(namespace, &self.name).ok())??;
        Service::name_of_backend(&name).ok()
    }
}

/// Who refers to a Service, and what for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Referrer<'a> {
    pub(crate) kind: Kind,
    pub(crate) namespace: &'a str,
    pub(crate) transport: Transport,
    /// To send it requests, and not connections as a whole.
    pub(crate) of_requests: bool,
}

impl<'a> Referrer<'a> {
    pub(crate) fn route(route: &'a RouteKey) -> Self {
        Self {
            kind: Kind::of_routes(route.kind),
            namespace: route.name.namespace.as_str(),
            transport: route.kind.transport(),
            of_requests: route.kind.is_of_requests(),
        }
    }
}

/// The Service and port that a reference names, or the reason for the referrer's ResolvedRefs condition. An XBackend is one
/// too, by the name that it has among Services.
pub(crate) fn resolve(
    snapshot: &Lookup<'_>,
    referrer: &Referrer<'_>,
    reference: &Reference,
    needs_grants: bool,
) -> Result<(ObjectName, u16), Refusal> {
    let known = [Kind::Service, Kind::XBackend];
    let is_it = |kind: &Kind| reference.group == kind.group() && reference.kind == kind.as_str();
    let Some(kind) = known.into_iter().find(is_it) else {
        let of = match reference.group.as_str() {
            "" => String::new(),
            group => format!(" of group {group}"),
        };
        let message = format!(
            "{} {}{of} is not supported as a backend; name a Service or an XBackend",
            reference.kind, reference.name
        );
        return Err(("InvalidKind", message));
    };
    let not_found = |message: String| ("BackendNotFound", message);
    let from = referrer.namespace;
    let namespace = reference.namespace.as_deref().unwrap_or(from);
    let name = ObjectName::new(namespace, &reference.name).map_err(|error| not_found(error.to_string()))?;
    // Asked first, so that the answer tells nothing about objects of a namespace that granted nothing.
    if needs_grants && !grant::permits(snapshot, referrer.kind, from, kind, &name) {
        let message = format!(
            "{} {name} is in another namespace, and no ReferenceGrant there allows {} of {from} to use it",
            kind.as_str(),
            referrer.kind.plural()
        );
        return Err(("RefNotPermitted", message));
    }
    if kind == Kind::XBackend {
        return xbackend::resolve(snapshot, &name, referrer.transport);
    }
    let object =
        snapshot.services.get(&name).ok_or_else(|| not_found(format!("Service {name} does not exist")))?;
    if service::is_external_name(object) {
        // It may name what the reference's author could not reach otherwise (CVE-2021-25740).
        let message = format!("Service {name} is of type ExternalName, which is not supported as a backend");
        return Err(("InvalidKind", message));
    }
    let port = reference.port.and_then(service::port_number);
    let port = port.ok_or_else(|| not_found("the reference has no port".into()))?;
    let has_number = |p: &&core::ServicePort| service::port_number(p.port) == Some(port);
    if let Some(found) = service::ports_of(object, referrer.transport).find(has_number) {
        if referrer.of_requests {
            let in_tls = || Policies::of(snapshot, &name).have(found);
            service::check_http_backend(found.app_protocol.as_deref(), in_tls).map_err(|problem| {
                ("UnsupportedProtocol", format!("Service {name} port {port}: {problem}"))
            })?;
        }
        return Ok((name, port));
    }
    match service::all_ports(object).find(has_number).map(service::protocol) {
        Some(protocol) => {
            let message = format!(
                "Service {name} port {port} is {protocol}, which {} cannot use",
                referrer.kind.plural()
            );
            Err(("UnsupportedProtocol", message))
        }
        None => Err(not_found(format!("Service {name} has no port {port}"))),
    }
}
