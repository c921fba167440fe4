//! XBackends (GEP-4894): pods by their labels, or a host outside of the cluster, and how they are spoken to. In the
//! configuration each is a Service with one port, under a name that no Service has, so that all that is done for a Service's
//! endpoints is done for its own.

use std::net::IpAddr;
use std::sync::Arc;

use mesh_ir::name::{Hostname, Namespace, ObjectName};
use mesh_ir::resource::{
    AppProtocol, AskedBy, BackendTarget, BackendTls, Certificate, Health, Hints, Membership, PortPair,
    Resource, Service, ServicePort, SessionPersistence, Shown, TlsClient, TrafficPolicy, Transport,
};

use crate::api::generated::xbackend::{
    XBackendProtocol as Protocol, XBackendSpec, XBackendTls, XBackendTlsMode as Mode, XBackendType as Type,
};
use crate::api::{GATEWAY_GROUP, Pod, XBackend};
use crate::attach::Refusal;
use crate::lookup::{Lookup, User};
use crate::object::{Kind, ObjectId};
use crate::status::{Condition, Conditions, PolicyAncestorStatus, PolicyStatus, Status};
use crate::{backend_tls, certificate, policy, service, session, traffic_policy};

/// The API server takes no more ancestors in a status.
const MAX_ANCESTORS: usize = 32;
/// What the cluster's own DNS appends to its names.
const CLUSTER_DOMAIN: &str = "cluster.local";

/// The XBackend as a Service, and the certificate that it shows.
pub(crate) fn compile(snapshot: &Lookup<'_>, name: &ObjectName) -> Vec<Resource> {
    let Some(backend) = snapshot.xbackends.get(name) else { return Vec::new() };
    let Ok(Checked { service, port, protocol, external_hostname, .. }) = check(name, backend) else {
        return Vec::new();
    };
    let tls = tls(snapshot, name, &backend.spec);
    let certificate = tls.as_ref().and_then(|tls| tls.certificate.clone());
    let tls = tls.map(|tls| match tls.client {
        Ok(client) => BackendTls::Client(Arc::new(client)),
        Err((_, problem)) => BackendTls::Invalid { reason: format!("XBackend {name}: {problem}").into() },
    });
    let retry_budget = traffic_policy::retry_budget(snapshot, &service);
    let service = Service {
        name: service,
        addresses: Vec::new(),
        ports: vec![ServicePort { port, name: String::new(), protocol, tls }],
        udp_ports: Vec::new(),
        session_affinity: None,
        internal_traffic_policy: TrafficPolicy::Cluster,
        circuit_breaker: None,
        retry_budget,
        external_hostname,
    };
    [Resource::Service(service)].into_iter().chain(certificate.map(Resource::Certificate)).collect()
}

/// What a route's reference to an XBackend comes to.
pub(crate) fn resolve(
    snapshot: &Lookup<'_>,
    name: &ObjectName,
    transport: Transport,
) -> Result<(ObjectName, u16), Refusal> {
    let backend = snapshot.xbackends.get(name);
    let backend = backend.ok_or_else(|| ("BackendNotFound", format!("XBackend {name} does not exist")))?;
    if transport != Transport::Tcp {
        let message = format!("XBackend {name} is of TCP; a route of {} needs a Service", transport.name());
        return Err(("UnsupportedProtocol", message));
    }
    let Checked { service, port, .. } =
        check(name, backend).map_err(|(reason, problem)| (reason, format!("XBackend {name}: {problem}")))?;
    Ok((service, port))
}

/// How an XBackend, where the target is one, persists sessions.
pub(crate) fn session(snapshot: &Lookup<'_>, target: &BackendTarget) -> Option<SessionPersistence> {
    let BackendTarget::Service { service, .. } = target else { return None };
    let name = Service::backend_of(service)?;
    check(&name, snapshot.xbackends.get(&name)?).ok()?.session
}

/// The XBackends of its namespace that a Pod is an endpoint of.
pub(crate) fn memberships(snapshot: &Lookup<'_>, namespace: &Namespace, pod: &Pod) -> Vec<Membership> {
    let selects = |backend: &XBackend| {
        let selector = backend.spec.endpoint_selector.as_ref();
        let labels = selector.map(|selector| &selector.match_labels).filter(|labels| !labels.is_empty());
        labels.is_some_and(|labels| {
            labels.iter().all(|(key, value)| pod.metadata.labels.get(key) == Some(value.as_str()))
        })
    };
    let health = match (pod.is_ready, pod.is_terminating) {
        (false, _) => Health::Unready,
        (true, false) => Health::Ready,
        (true, true) => Health::Draining,
    };
    let of = |name: &ObjectName, backend: &XBackend| {
        let Checked { service, port, .. } = check(name, backend).ok()?;
        let ports = vec![PortPair { port, target: port }];
        Some(Membership { service, ports, udp_ports: Vec::new(), health, hints: Hints::default() })
    };
    let all = snapshot.xbackends.in_namespace(namespace);
    all.filter(|(_, backend)| selects(backend)).filter_map(|(name, backend)| of(name, backend)).collect()
}

/// What is said to an XBackend: for each Gateway whose routes use it, and for each Service whose routes in the mesh do.
pub(crate) fn status(snapshot: &Lookup<'_>, name: &ObjectName) -> Option<(ObjectId, Status)> {
    let backend = snapshot.xbackends.get(name)?;
    let conditions = Conditions { generation: backend.metadata.generation };
    let service = Service::name_of_backend(name).ok()?;
    let list = conditions_of(snapshot, name, backend, conditions);
    let ancestors = snapshot.users(&service).take(MAX_ANCESTORS).map(|user| {
        let reference = match user {
            User::Gateway(gateway) => policy::ancestor_named(GATEWAY_GROUP, "Gateway", gateway),
            User::Service(parent) => policy::ancestor_named("", "Service", parent),
        };
        PolicyAncestorStatus::new(reference, list.clone())
    });
    let ancestors: Vec<PolicyAncestorStatus> = ancestors.collect();
    let id = ObjectId::namespaced(Kind::XBackend, name);
    (!ancestors.is_empty()).then_some((id, Status::Policy(PolicyStatus { ancestors })))
}

fn conditions_of(
    snapshot: &Lookup<'_>,
    name: &ObjectName,
    backend: &XBackend,
    conditions: Conditions,
) -> Vec<Condition> {
    let tls = tls(snapshot, name, &backend.spec);
    let checked = check(name, backend);
    let accepted = checked.and_then(|checked| match tls.as_ref().map(|tls| &tls.client) {
        Some(Err(refusal)) => Err(refusal.clone()),
        Some(Ok(_)) | None => Ok(checked),
    });
    let accepted = match accepted {
        Ok(checked) => conditions.ok("Accepted", "Accepted", description(&checked, &backend.spec)),
        Err((reason, message)) => conditions.no("Accepted", reason, message),
    };
    let resolved = match tls.map_or(Ok(()), |tls| tls.resolved) {
        Ok(()) => conditions.ok("ResolvedRefs", "ResolvedRefs", "All references are resolved"),
        Err((reason, message)) => conditions.no("ResolvedRefs", reason, message),
    };
    vec![accepted, resolved]
}

fn description(checked: &Checked, spec: &XBackendSpec) -> String {
    let (port, namespace) = (checked.port, &checked.service.namespace);
    let what = match &checked.external_hostname {
        Some(hostname) => format!("{hostname} port {port}, which each node resolves"),
        None => format!("Ready pods of namespace {namespace} with the labels of matchLabels, port {port}"),
    };
    let in_tls = spec.tls.as_ref().is_some_and(|tls| tls.mode != Mode::None);
    match checked.external_hostname.is_some() && !in_tls {
        true => format!("{what}; without TLS, whoever is on the way can read and change what is sent"),
        false => what,
    }
}

/// An XBackend that can be served, but for its TLS.
struct Checked {
    /// Its name among Services.
    service: ObjectName,
    port: u16,
    protocol: AppProtocol,
    external_hostname: Option<Hostname>,
    session: Option<SessionPersistence>,
}

fn check(name: &ObjectName, backend: &XBackend) -> Result<Checked, Refusal> {
    let spec = &backend.spec;
    let invalid = |message: &str| ("Invalid", message.to_owned());
    let service = Service::name_of_backend(name)
        .map_err(|_| ("Invalid", format!("the name {name} is too long: 244 characters are served")))?;
    let port = spec.port.number.and_then(service::port_number);
    let port = port.ok_or_else(|| invalid("port.number is missing, or no port"))?;
    let in_tls = spec.tls.as_ref().is_some_and(|tls| tls.mode != Mode::None);
    let external_hostname = match spec.r#type {
        Type::ExternalHostname => {
            let external = spec.external_hostname.as_ref();
            let external = external.ok_or_else(|| invalid("externalHostname is missing"))?;
            Some(hostname(&external.hostname)?)
        }
        Type::EndpointSelector => {
            let selector = spec.endpoint_selector.as_ref();
            selector
                .filter(|selector| !selector.match_labels.is_empty())
                .ok_or_else(|| invalid("endpointSelector.matchLabels is missing"))?;
            None
        }
    };
    let session = match (&spec.session_persistence, spec.r#type == Type::EndpointSelector) {
        (None, _) => None,
        (Some(_), false) => return Err(invalid("sessionPersistence needs type EndpointSelector")),
        (Some(written), true) => {
            let session = session::persistence(written, &format!("XBackend {name}"));
            Some(session.map_err(|problem| ("Invalid", problem))?)
        }
    };
    Ok(Checked {
        service,
        port,
        protocol: protocol(spec.protocol.as_ref(), in_tls)?,
        external_hostname,
        session,
    })
}

/// Names of the cluster's own are not external: by them somebody could reach what no grant lets him (GEP-4894).
fn hostname(written: &str) -> Result<Hostname, Refusal> {
    let wrong = |what: &str| ("Invalid", format!("externalHostname.hostname {written} {what}"));
    let name: Option<Hostname> = written.parse().ok().filter(|name| matches!(name, Hostname::Exact(_)));
    let name = name.filter(|_| written.parse::<IpAddr>().is_err());
    let name = name.ok_or_else(|| wrong("is not a DNS name without wildcard"))?;
    match is_of_the_cluster(&name.to_string()) {
        true => {
            Err(wrong("is a name of the cluster's own; name the Service in backendRefs, or select its pods"))
        }
        false => Ok(name),
    }
}

/// Whether a hostname is one that the cluster's own DNS gives.
pub(crate) fn is_of_the_cluster(hostname: &str) -> bool {
    hostname.strip_suffix(CLUSTER_DOMAIN).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn protocol(written: Option<&Protocol>, in_tls: bool) -> Result<AppProtocol, Refusal> {
    let invalid = |message: &str| Err(("Invalid", message.to_owned()));
    Ok(match (written, in_tls) {
        (None, _) => AppProtocol::Detect,
        (Some(Protocol::Http | Protocol::Http11), _) => AppProtocol::Http,
        (Some(Protocol::Wss), true) => AppProtocol::Http,
        (Some(Protocol::Wss), false) => return invalid("protocol WSS needs TLS"),
        (Some(Protocol::Http2), true) | (Some(Protocol::H2C), false) | (Some(Protocol::Grpc), _) => {
            AppProtocol::Http2
        }
        (Some(Protocol::Http2), false) => return invalid("protocol HTTP2 needs TLS; without it is H2C"),
        (Some(Protocol::H2C), true) => return invalid("protocol H2C is without TLS; with TLS it is HTTP2"),
        (Some(Protocol::Tcp), _) => AppProtocol::Tcp,
        (Some(Protocol::Mcp), _) => {
            let message = "protocol MCP is not supported; HTTP carries it, without being looked into";
            return Err(("UnsupportedProtocol", message.into()));
        }
    })
}

/// What `tls` comes to.
struct Tls {
    client: Result<TlsClient, Refusal>,
    resolved: Result<(), Refusal>,
    certificate: Option<Certificate>,
}

/// None where the applications are spoken to as they are.
fn tls(snapshot: &Lookup<'_>, name: &ObjectName, spec: &XBackendSpec) -> Option<Tls> {
    let XBackendTls { client_certificate_ref, mode, validation } = spec.tls.as_ref()?;
    let wanted = match mode {
        Mode::None => return None,
        Mode::ServerOnly => None,
        Mode::ClientAndServer => Some(client_certificate_ref.as_ref()),
    };
    let Some(validation) = validation else {
        let refusal = ("Invalid", "tls.validation is missing".to_owned());
        return Some(Tls { client: Err(refusal), resolved: Ok(()), certificate: None });
    };
    let certificate = wanted.map(|reference| {
        let reference =
            reference.ok_or_else(|| ("Invalid", "tls.clientCertificateRef is missing".to_owned()))?;
        let found = certificate::resolve(snapshot, (Kind::XBackend, name), reference);
        found.map_err(|(reason, message)| {
            let reason = if reason == "RefNotPermitted" { reason } else { "InvalidClientCertificateRef" };
            (reason, format!("tls.clientCertificateRef: {message}"))
        })
    });
    // Under a name of its own, which is also the XBackend's among Services: the same Secret may be shown by a Gateway.
    let own = Service::name_of_backend(name).ok();
    let shown = match &own {
        Some(own) if wanted.is_some() => Shown::Certificate(own.clone()),
        _ => Shown::Nothing,
    };
    let asked_by = AskedBy::XBackend(name.clone());
    let judged = backend_tls::judge(snapshot, asked_by, shown, "tls.validation", validation);
    Some(match certificate.transpose() {
        Ok(found) => {
            let certificate = found.zip(own).map(|(found, name)| Certificate { name, ..found });
            Tls { client: judged.client, resolved: judged.resolved, certificate }
        }
        Err(refusal) => {
            let resolved = judged.resolved.and(Err(refusal.clone()));
            Tls { client: judged.client.and(Err(refusal)), resolved, certificate: None }
        }
    })
}
