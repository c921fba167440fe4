//! Who answers for a Service's port, seen from anywhere: Services and EndpointSlices joined into what the nodes' nftables
//! and the DNS server need.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// A Service as traffic sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) cluster_ips: Vec<IpAddr>,
    pub(crate) balancer_ips: Vec<IpAddr>,
    pub(crate) external_name: Option<String>,
    /// `internalTrafficPolicy: Local`.
    pub(crate) internal_local: bool,
    /// `externalTrafficPolicy: Local`.
    pub(crate) external_local: bool,
    pub(crate) ports: Vec<Port>,
    /// The addresses behind a headless Service, for DNS.
    pub(crate) ready_addresses: Vec<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    /// `tcp` or `udp`; other protocols are left out.
    pub(crate) protocol: &'static str,
    pub(crate) port: u16,
    /// The ready ones; where none is ready, those that serve while they end.
    pub(crate) backends: Vec<Backend>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) node: Option<String>,
}

/// Joins Services with the slices that name them.
pub(crate) fn join(services: &[v1::Service], slices: &[EndpointSlice]) -> Vec<Service> {
    let mut by_service: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        if let Some(name) = labels.and_then(|labels| labels.get("kubernetes.io/service-name")) {
            let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
            by_service.entry((namespace, name)).or_default().push(slice);
        }
    }
    let one = |service: &v1::Service| {
        let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let slices = by_service.get(&(namespace, name)).map(Vec::as_slice).unwrap_or_default();
        joined(namespace, name, service, slices)
    };
    services.iter().map(one).collect()
}

fn joined(namespace: &str, name: &str, service: &v1::Service, slices: &[&EndpointSlice]) -> Service {
    let spec = service.spec.clone().unwrap_or_default();
    let ingress = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref())
        .and_then(|balancer| balancer.ingress.as_deref())
        .unwrap_or_default();
    let port = |port: &v1::ServicePort| {
        let protocol = match port.protocol.as_deref().unwrap_or("TCP") {
            "TCP" => "tcp",
            "UDP" => "udp",
            _ => return None,
        };
        let name = port.name.clone().unwrap_or_default();
        let number = u16::try_from(port.port).ok()?;
        Some(Port { backends: backends(slices, &name), name, protocol, port: number })
    };
    Service {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        cluster_ips: spec.cluster_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect(),
        balancer_ips: ingress.iter().filter_map(|point| point.ip.as_ref()?.parse().ok()).collect(),
        external_name: spec.external_name.clone().filter(|_| spec.type_.as_deref() == Some("ExternalName")),
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        ports: spec.ports.iter().flatten().filter_map(port).collect(),
        ready_addresses: ready_addresses(slices),
    }
}

fn backends(slices: &[&EndpointSlice], port_name: &str) -> Vec<Backend> {
    let mut ready = Vec::new();
    let mut ending = Vec::new();
    for slice in slices {
        let ports = slice.ports.iter().flatten();
        let matching = ports.filter(|port| port.name.as_deref().unwrap_or_default() == port_name);
        let Some(number) = matching.filter_map(|port| u16::try_from(port.port?).ok()).next() else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let list = if conditions.ready.unwrap_or(true) {
                &mut ready
            } else if conditions.serving.unwrap_or(false) && conditions.terminating.unwrap_or(false) {
                &mut ending
            } else {
                continue;
            };
            // Only the first address of an endpoint counts (KEP-752: the others have no meaning).
            if let Some(ip) = endpoint.addresses.first().and_then(|ip| ip.parse::<IpAddr>().ok()) {
                list.push(Backend { address: (ip, number).into(), node: endpoint.node_name.clone() });
            }
        }
    }
    let mut chosen = if ready.is_empty() { ending } else { ready };
    chosen.sort();
    chosen.dedup();
    chosen
}

fn ready_addresses(slices: &[&EndpointSlice]) -> Vec<IpAddr> {
    let endpoints = slices.iter().flat_map(|slice| slice.endpoints.iter().flatten());
    let ready = endpoints.filter(|e| e.conditions.as_ref().is_none_or(|c| c.ready.unwrap_or(true)));
    let mut addresses: Vec<IpAddr> = ready.filter_map(|e| e.addresses.first()?.parse().ok()).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}
