//! What a Gateway needs in the cluster: a Service, so that it has an address of its own, with EndpointSlices that lead to
//! all nodes, and on the nodes a port for each of its own. The Service is of type LoadBalancer, or of type ClusterIP where
//! the Gateway asks for addresses of the cluster alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_ir::name::{NodeName, ObjectName};
use mesh_ir::resource::Transport;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::api::GATEWAY_GROUP;
use crate::gateway::{Gateway, routability};
use crate::lookup::Lookup;
use crate::node;
use crate::object::{Kind, ObjectId};
use crate::service::{self, port_number};

/// The ports of the nodes that Gateways may take: below the ephemeral and the NodePort ranges.
const TARGET_PORTS: RangeInclusive<u16> = 20000..=29999;
/// The API server takes no more endpoints in one EndpointSlice.
const MAX_ENDPOINTS: usize = 1000;
/// A Service's name and a label's value are no longer.
const MAX_LABEL: usize = 63;
/// Bears the name of the Gateway that an object was made for.
pub const GATEWAY_NAME_LABEL: &str = "gateway.networking.k8s.io/gateway-name";
/// Bears [`MANAGER`] on every object that was made for a Gateway by us.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
/// What Weir calls itself where objects and fields say who made them.
pub const MANAGER: &str = "weir.dev";

/// Names the node that announces the addresses of a Gateway's Service, where those are an AddressPool's.
pub const ANNOUNCED_BY_ANNOTATION: &str = "weir.dev/announced-by";

/// A port that clients dial.
type Port = (Transport, u16);

/// The node port of every port of every Gateway. No two of them have the same one, though one be of TCP and the other of UDP.
pub(crate) type Ports = BTreeMap<(ObjectName, Port), u16>;

/// Whether a Service was made for a Gateway by us.
pub(crate) fn is_owned(service: &Service) -> bool {
    let labels = service.metadata.labels.as_ref();
    labels.is_some_and(|l| {
        l.contains_key(GATEWAY_NAME_LABEL) && l.get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGER)
    })
}

/// The Service of a Gateway, where it exists. One of that name that somebody else made is not it.
pub(crate) fn of<'a>(snapshot: &Lookup<'a>, gateway: &ObjectName) -> Option<&'a Service> {
    let name = ObjectName::new(gateway.namespace.as_str(), &service_name(&gateway.name)).ok()?;
    snapshot.services.get(&name).map(|service| &**service).filter(|service| is_owned(service))
}

/// The id of a Gateway's Service.
pub(crate) fn id(gateway: &ObjectName) -> ObjectId {
    let name = ObjectName { namespace: gateway.namespace.clone(), name: service_name(&gateway.name).into() };
    ObjectId::namespaced(Kind::Service, &name)
}

/// The node that announces a Service's addresses; there is one only where an AddressPool gave them.
pub(crate) fn announced_by(service: Option<&Service>) -> Option<NodeName> {
    NodeName::new(service?.metadata.annotations.as_ref()?.get(ANNOUNCED_BY_ANNOTATION)?).ok()
}

/// Whether somebody else has a Service of the name that a Gateway's would have: it is left as it is.
pub(crate) fn is_name_taken(snapshot: &Lookup<'_>, gateway: &ObjectName) -> bool {
    let name = ObjectName::new(gateway.namespace.as_str(), &service_name(&gateway.name));
    name.is_ok_and(|name| snapshot.services.get(&name).is_some_and(|service| !is_owned(service)))
}

/// A port of the nodes for each port of the accepted Gateways. A Gateway keeps what its Service has; a new port gets
/// one that follows from its name, or the next that is free.
pub(crate) fn allocate_ports(snapshot: &Lookup<'_>, gateways: &BTreeMap<ObjectName, Arc<Gateway>>) -> Ports {
    let (mut ports, mut used) = (Ports::new(), BTreeSet::new());
    let wanted: Vec<(ObjectName, Port)> =
        gateways.iter().flat_map(|(name, g)| own_ports(g).map(|port| (name.clone(), port))).collect();
    for (gateway, port) in &wanted {
        let kept = of(snapshot, gateway).and_then(|service| target_port(service, *port));
        if let Some(kept) = kept.filter(|kept| used.insert(*kept)) {
            ports.insert((gateway.clone(), *port), kept);
        }
    }
    for key in wanted {
        if ports.contains_key(&key) {
            continue;
        }
        let count = u32::from(TARGET_PORTS.end() - TARGET_PORTS.start()) + 1;
        let first = hash(&format!("{}:{}", key.0, number(key.1))) % count;
        let candidates = (0..count).map(|i| *TARGET_PORTS.start() + ((first + i) % count) as u16);
        // With all of them used the port has none, and its listener is not served.
        if let Some(free) = candidates.into_iter().find(|port| used.insert(*port)) {
            ports.insert(key, free);
        }
    }
    ports
}

/// The Service and EndpointSlices of an accepted Gateway.
pub(crate) fn objects(
    snapshot: &Lookup<'_>,
    name: &ObjectName,
    gateway: &Gateway,
    ports: &Ports,
) -> Vec<(ObjectId, Value)> {
    let service_name = service_name(&name.name);
    let pairs: Vec<(Port, u16)> =
        own_ports(gateway).filter_map(|port| Some((port, *ports.get(&(name.clone(), port))?))).collect();
    let mut objects = vec![(id(name), json(&service(snapshot, name, gateway, &service_name, &pairs)))];
    for (family, is_family) in [("IPv4", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("IPv6", IpAddr::is_ipv6)] {
        let endpoints: Vec<Endpoint> = snapshot
            .nodes
            .iter()
            .filter_map(|(node_name, node)| {
                let address = node::internal_addresses(node).into_iter().find(is_family)?;
                Some(Endpoint {
                    addresses: vec![address.to_string()],
                    conditions: Some(EndpointConditions {
                        ready: Some(node::is_ready(node)),
                        ..Default::default()
                    }),
                    node_name: Some(node_name.to_string()),
                    ..Default::default()
                })
            })
            .collect();
        for (i, chunk) in endpoints.chunks(MAX_ENDPOINTS).enumerate() {
            let number = if i == 0 { String::new() } else { format!("-{i}") };
            let slice_name = format!("{service_name}-{}{number}", family.to_lowercase());
            let id = ObjectId { kind: Kind::EndpointSlice, name: slice_name.as_str().into(), ..id(name) };
            let mut metadata = metadata(name, gateway, slice_name);
            let labels = metadata.labels.get_or_insert_default();
            labels.insert("kubernetes.io/service-name".into(), service_name.clone());
            labels.insert("endpointslice.kubernetes.io/managed-by".into(), MANAGER.into());
            let slice = EndpointSlice {
                metadata,
                address_type: family.into(),
                endpoints: Some(chunk.to_vec()),
                ports: Some(pairs.iter().map(|(port, target)| endpoint_port(*port, *target)).collect()),
            };
            objects.push((id, json(&slice)));
        }
    }
    objects
}

fn json(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("types of Kubernetes are plain data")
}

/// The ports of its accepted listeners and those of its ListenerSets, each once.
fn own_ports(gateway: &Gateway) -> impl Iterator<Item = Port> + use<> {
    let accepted = gateway.all_listeners().filter(|l| gateway.is_accepted() && l.is_accepted());
    accepted.map(|listener| (listener.transport(), listener.port)).collect::<BTreeSet<Port>>().into_iter()
}

fn target_port(service: &Service, (transport, port): Port) -> Option<u16> {
    let mut ports = service::ports_of(service, transport);
    match ports.find(|p| port_number(p.port) == Some(port))?.target_port {
        Some(IntOrString::Int(target)) => port_number(target).filter(|t| TARGET_PORTS.contains(t)),
        _ => None,
    }
}

fn service(
    snapshot: &Lookup<'_>,
    name: &ObjectName,
    gateway: &Gateway,
    service_name: &str,
    ports: &[(Port, u16)],
) -> Service {
    let spec = &gateway.object.spec;
    let r#type = if routability::has_balancer(spec) { "LoadBalancer" } else { "ClusterIP" };
    // A Service keeps the ClusterIP that it was made with.
    let has = of(snapshot, name).map(routability::cluster_ips).unwrap_or_default();
    let can_have = |ip: &&str| has.first().is_none_or(|first| ip.parse() == Ok(*first));
    let port = |(port, target): &(Port, u16)| ServicePort {
        name: Some(port_name(*port)),
        port: i32::from(port.1),
        protocol: Some(port.0.name().into()),
        target_port: Some(IntOrString::Int(i32::from(*target))),
        ..Default::default()
    };
    Service {
        metadata: metadata(name, gateway, service_name.into()),
        spec: Some(ServiceSpec {
            type_: Some(r#type.into()),
            cluster_ip: routability::wanted_of_cluster(spec).next().filter(can_have).map(Into::into),
            ip_family_policy: Some("PreferDualStack".into()),
            load_balancer_ip: routability::wanted_of_balancer(spec).next().map(Into::into),
            ports: Some(ports.iter().map(port).collect()),
            ..Default::default()
        }),
        status: None,
    }
}

fn endpoint_port(port: Port, target: u16) -> EndpointPort {
    EndpointPort {
        name: Some(port_name(port)),
        port: Some(i32::from(target)),
        protocol: Some(port.0.name().into()),
        ..Default::default()
    }
}

fn port_name(port: Port) -> String {
    format!("port-{}", number(port))
}

fn number((transport, port): Port) -> String {
    match transport {
        Transport::Tcp => port.to_string(),
        Transport::Udp => format!("{port}-udp"),
    }
}

/// What all objects of a Gateway bear: its name (GEP-1762), what `spec.infrastructure` says, and it as their owner.
fn metadata(name: &ObjectName, gateway: &Gateway, object_name: String) -> ObjectMeta {
    let infrastructure = gateway.object.spec.infrastructure.as_ref();
    let mut labels = infrastructure.and_then(|i| i.labels.clone()).unwrap_or_default();
    labels.insert(GATEWAY_NAME_LABEL.into(), shorten(&name.name, MAX_LABEL));
    labels.insert(MANAGED_BY_LABEL.into(), MANAGER.into());
    ObjectMeta {
        name: Some(object_name),
        namespace: Some(name.namespace.to_string()),
        labels: Some(labels),
        annotations: infrastructure.and_then(|i| i.annotations.clone()).filter(|a| !a.is_empty()),
        owner_references: Some(vec![OwnerReference {
            api_version: format!("{GATEWAY_GROUP}/v1"),
            kind: "Gateway".into(),
            name: name.name.to_string(),
            uid: gateway.object.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: None,
        }]),
        ..Default::default()
    }
}

/// `<gateway>-weir`, changed as little as it takes to be a name that a Service may have (RFC 1035 label).
pub(crate) fn service_name(gateway: &str) -> String {
    let mut label = gateway.replace('.', "-");
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        label.insert_str(0, "gateway-");
    }
    // Whatever was changed could be another Gateway's name; the hash tells them apart.
    if label != gateway {
        label = format!("{label}-{:08x}", hash(gateway));
    }
    format!("{}-weir", shorten(&label, MAX_LABEL - "-weir-ipv6-99".len()))
}

/// Cut to `length`, a hash in place of what is cut.
fn shorten(text: &str, length: usize) -> String {
    if text.len() <= length {
        return text.into();
    }
    let kept = text.get(..length - 9).unwrap_or_default().trim_end_matches(['-', '.']);
    format!("{kept}-{:08x}", hash(text))
}

fn hash(text: &str) -> u32 {
    let digest = Sha256::digest(text.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateway_service_names_are_labels_and_differ() {
        let long = "a".repeat(253);
        let names = ["front", "front.door", "front-door", "1st", long.as_str()].map(service_name);
        assert_eq!(names[0], "front-weir");
        assert_eq!(names[2], "front-door-weir");
        for name in &names {
            assert!(name.len() <= MAX_LABEL && !name.contains('.'), "{name}");
            assert!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name}");
        }
        assert_eq!(BTreeSet::from(names).len(), 5);
    }
}
