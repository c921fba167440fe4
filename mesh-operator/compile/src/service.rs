//! Services: their addresses and ports, and what is spoken on each TCP port.

use k8s_openapi::api::core::v1 as core;
use mesh_ir::name::ObjectName;
use mesh_ir::resource::{AppProtocol, Resource, Service, ServicePort, TrafficPolicy, Transport};

use crate::backend_tls::Policies;
use crate::lookup::Lookup;
use crate::{gateway_service, traffic_policy};

/// Ports of protocols in which the server speaks first, or whose first bytes are no request line, so that waiting
/// for them would only delay the connection. They are those that other meshes skip too: FTP, SSH, SMTP, POP3, IMAP,
/// submission, MySQL, Galera, PostgreSQL, Redis, Elasticsearch transport and memcached. A declared protocol
/// (`appProtocol` or the port's name) goes before this list.
const OPAQUE_PORTS: [u16; 12] = [21, 22, 25, 110, 143, 587, 3306, 4444, 5432, 6379, 9300, 11211];

/// A Service that the mesh serves. Those made for Gateways are left to the cluster's own balancing, and an ExternalName
/// is only a name.
pub(crate) fn compile(snapshot: &Lookup<'_>, name: &ObjectName) -> Option<Resource> {
    let service = snapshot.services.get(name)?;
    let ours = !gateway_service::is_owned(service) && !is_external_name(service);
    ours.then(|| {
        let policies = Policies::of(snapshot, name);
        Resource::Service(Service {
            name: name.clone(),
            addresses: cluster_ips(service).iter().filter_map(|ip| ip.parse().ok()).collect(),
            ports: ports_of(service, Transport::Tcp).map(|port| service_port(port, &policies)).collect(),
            udp_ports: ports_of(service, Transport::Udp).filter_map(|port| port_number(port.port)).collect(),
            session_affinity: session_affinity(service),
            internal_traffic_policy: internal_traffic_policy(service),
            circuit_breaker: snapshot.circuit_breaker(name).cloned(),
            retry_budget: traffic_policy::retry_budget(snapshot, name),
        })
    })
}

/// What the API server fills in where `sessionAffinity` is ClientIP, and the longest time that it admits.
const AFFINITY_SECONDS: u32 = 10_800;
const MOST_AFFINITY_SECONDS: u32 = 86_400;

pub(crate) fn session_affinity(service: &core::Service) -> Option<u32> {
    let spec = service.spec.as_ref().filter(|spec| spec.session_affinity.as_deref() == Some("ClientIP"))?;
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let stated = config.and_then(|config| u32::try_from(config.timeout_seconds?).ok());
    Some(stated.filter(|seconds| (1..=MOST_AFFINITY_SECONDS).contains(seconds)).unwrap_or(AFFINITY_SECONDS))
}

fn internal_traffic_policy(service: &core::Service) -> TrafficPolicy {
    match service.spec.as_ref().and_then(|spec| spec.internal_traffic_policy.as_deref()) {
        Some("Local") => TrafficPolicy::Local,
        _ => TrafficPolicy::Cluster,
    }
}

/// Its ports of one transport.
pub(crate) fn ports_of(
    service: &core::Service,
    transport: Transport,
) -> impl Iterator<Item = &core::ServicePort> {
    all_ports(service).filter(move |port| protocol(port) == transport.name())
}

/// Its ports whose numbers are ports.
pub(crate) fn all_ports(service: &core::Service) -> impl Iterator<Item = &core::ServicePort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.filter(|port| port_number(port.port).is_some())
}

/// As Kubernetes writes it.
pub(crate) fn protocol(port: &core::ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

pub(crate) fn port_number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port != 0)
}

pub(crate) fn is_external_name(service: &core::Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName")
}

pub(crate) fn is_headless(service: &core::Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

/// Whether an HTTP request can be sent to a port that declares this `appProtocol`, as one that is spoken to in TLS or not;
/// the message says why not.
pub(crate) fn check_http_backend(
    app_protocol: Option<&str>,
    in_tls: impl FnOnce() -> bool,
) -> Result<(), String> {
    let is_of_tls = |name: &str| {
        ["https", "tls", "kubernetes.io/wss"].iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    match app_protocol {
        Some(name) if is_of_tls(name) && !in_tls() => {
            Err(format!("appProtocol {name} needs a BackendTLSPolicy, which says whom to trust"))
        }
        Some(name) if name.contains('/') && declared(name).is_none() => {
            Err(format!("appProtocol {name} is not known"))
        }
        _ => Ok(()),
    }
}

/// As they are written; a headless Service has None.
pub(crate) fn cluster_ips(service: &core::Service) -> Vec<&str> {
    let Some(spec) = &service.spec else { return Vec::new() };
    match spec.cluster_ips.as_deref() {
        Some(ips) if !ips.is_empty() => ips.iter().map(String::as_str).collect(),
        _ => spec.cluster_ip.as_deref().into_iter().collect(),
    }
}

fn service_port(port: &core::ServicePort, policies: &Policies<'_>) -> ServicePort {
    let name = port.name.clone().unwrap_or_default();
    let number = port_number(port.port).unwrap_or_default();
    let protocol = match &port.app_protocol {
        // A declared protocol that is not one of ours is nothing to look into.
        Some(declaration) => declared(declaration).unwrap_or(AppProtocol::Tcp),
        None => named(&name).unwrap_or(match OPAQUE_PORTS.contains(&number) {
            true => AppProtocol::Tcp,
            false => AppProtocol::Detect,
        }),
    };
    ServicePort { port: number, name, protocol, tls: policies.of_port(port) }
}

fn declared(app_protocol: &str) -> Option<AppProtocol> {
    Some(match app_protocol.to_ascii_lowercase().as_str() {
        "http" | "grpc-web" | "kubernetes.io/ws" => AppProtocol::Http,
        "http2" | "grpc" | "kubernetes.io/h2c" => AppProtocol::Http2,
        "https" | "tls" | "tcp" | "kubernetes.io/wss" => AppProtocol::Tcp,
        _ => return None,
    })
}

/// By the convention `PROTOCOL` or `PROTOCOL-anything` of port names.
fn named(name: &str) -> Option<AppProtocol> {
    let is = |protocol: &str| {
        name.strip_prefix(protocol).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let of = |protocols: &[&str]| protocols.iter().any(|p| is(p));
    if of(&["http", "grpc-web"]) {
        Some(AppProtocol::Http)
    } else if of(&["http2", "grpc", "h2c"]) {
        Some(AppProtocol::Http2)
    } else if of(&["tcp", "https", "tls", "mongo", "mysql", "redis"]) {
        Some(AppProtocol::Tcp)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_port_names_declare_protocols() {
        for (name, expected) in [
            ("http", Some(AppProtocol::Http)),
            ("http-web", Some(AppProtocol::Http)),
            ("http2", Some(AppProtocol::Http2)),
            ("grpc-api", Some(AppProtocol::Http2)),
            ("grpc-web", Some(AppProtocol::Http)),
            ("https", Some(AppProtocol::Tcp)),
            ("tcp-db", Some(AppProtocol::Tcp)),
            ("httpd", None),
            ("web", None),
            ("", None),
        ] {
            assert_eq!(named(name), expected, "{name}");
        }
    }
}
