//! Workloads: Pods that have a node, the endpoints that are no Pod, and which Services each of them serves.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use mesh_ir::name::{Namespace, NodeName, ObjectName, ServiceAccount, Uid, Zone};
use mesh_ir::resource::{Health, Hints, Membership, Mode, PortPair, Resource, SameNode, Workload};

use crate::network_policy::Selectors;
use crate::snapshot::Snapshot;
use crate::{Settings, gateway_service, service};

/// `enabled` or `disabled`: on a namespace for its Pods, on a Pod before its namespace's.
const MESH_LABEL: &str = "weir.dev/mesh";
/// `strict` or `permissive`, on a namespace.
const MODE_LABEL: &str = "weir.dev/mode";
/// On a mirror Pod, which stands for a static Pod: the UID by which the node's kubelet, and its cgroups, know that one.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

pub(crate) fn compile(snapshot: &Snapshot, settings: &Settings) -> impl Iterator<Item = Resource> {
    let mut workloads: BTreeMap<Uid, Workload> = BTreeMap::new();
    let mut by_pod: BTreeMap<ObjectName, Uid> = BTreeMap::new();
    let mut by_address: BTreeMap<IpAddr, Uid> = BTreeMap::new();
    let policies = Selectors::new(snapshot);
    for (name, pod) in &snapshot.pods {
        let Some(workload) = pod_workload(snapshot, settings, &policies, name, pod) else { continue };
        by_pod.insert(name.clone(), workload.uid.clone());
        // Pods on the host's network share its address: an endpoint there is not one of them in particular.
        if !on_host_network(pod) {
            by_address.extend(workload.addresses.iter().map(|a| (*a, workload.uid.clone())));
        }
        workloads.insert(workload.uid.clone(), workload);
    }
    for slice in snapshot.endpoint_slices.values() {
        for (endpoint, membership) in memberships(snapshot, slice) {
            let addresses: Vec<IpAddr> = endpoint.addresses.iter().filter_map(|a| a.parse().ok()).collect();
            let Some(first) = addresses.first() else { continue };
            let uid = match pod_of(endpoint, &membership.service.namespace) {
                // A Pod that is not known yet, or not by this address, will be in a moment.
                Some(pod) => match by_pod.get(&pod).and_then(|uid| workloads.get(uid)) {
                    Some(workload) if workload.addresses.contains(first) => workload.uid.clone(),
                    _ => continue,
                },
                None => match by_address.get(first) {
                    Some(uid) => uid.clone(),
                    None => {
                        let Some(made_up) = endpoint_workload(&membership.service, endpoint, addresses)
                        else {
                            continue;
                        };
                        let uid = made_up.uid.clone();
                        workloads.entry(uid.clone()).or_insert(made_up);
                        uid
                    }
                },
            };
            if let Some(workload) = workloads.get_mut(&uid) {
                join(&mut workload.services, membership);
            }
        }
    }
    workloads.into_values().map(Resource::Workload)
}

/// A Pod that has a node, and does not end or is still ending. Its node is to know of it before it starts, which is before
/// it has addresses: then nobody else can reach it, and it serves nothing.
fn pod_workload(
    snapshot: &Snapshot,
    settings: &Settings,
    policies: &Selectors<'_>,
    name: &ObjectName,
    pod: &core::Pod,
) -> Option<Workload> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    if matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) {
        return None;
    }
    let listed = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut addresses: Vec<IpAddr> = listed.filter_map(|ip| ip.parse().ok()).collect();
    if addresses.is_empty() {
        addresses.extend(status.pod_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()));
    }
    if addresses.is_empty() && (spec.node_name.is_none() || on_host_network(pod)) {
        return None;
    }
    let uid = match (static_uid(pod), pod.metadata.uid.as_deref()) {
        (Some(uid), _) | (None, Some(uid)) => Uid::new(uid).ok()?,
        (None, None) => Uid::new(&format!("pod.{}.{}", name.namespace, name.name)).ok()?,
    };
    let namespace = snapshot.namespaces.get(name.namespace.as_str());
    let namespace_label = |label: &str| Some(namespace?.metadata.labels.as_ref()?.get(label)?.as_str());
    let pod_label = |label: &str| Some(pod.metadata.labels.as_ref()?.get(label)?.as_str());
    let wanted = match pod_label(MESH_LABEL) {
        Some("enabled") => true,
        Some("disabled") => false,
        _ => namespace_label(MESH_LABEL) == Some("enabled"),
    };
    let mode = match namespace_label(MODE_LABEL) {
        Some("strict") => Mode::Strict,
        Some("permissive") => Mode::Permissive,
        _ => settings.default_mode,
    };
    // A mirror Pod has no service account, which the API server sees to, and so no identity.
    let meshed = wanted && !on_host_network(pod) && mirrored(pod).is_none();
    let same_node = match meshed {
        true if policies.select(&name.namespace, pod) => settings.same_node.max(SameNode::Network),
        true => settings.same_node,
        false => SameNode::default(),
    };
    Some(Workload {
        uid,
        name: name.clone(),
        node: spec.node_name.as_deref().and_then(|node| NodeName::new(node).ok()),
        addresses,
        service_account: ServiceAccount::new(spec.service_account_name.as_deref().unwrap_or("default"))
            .ok()?,
        meshed,
        mode,
        same_node,
        services: Vec::new(),
    })
}

fn on_host_network(pod: &core::Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

/// What a mirror Pod says of its static Pod.
fn mirrored(pod: &core::Pod) -> Option<&str> {
    pod.metadata.annotations.as_ref()?.get(MIRROR_ANNOTATION).map(String::as_str)
}

/// The UID of the static Pod that this one mirrors: a hash of 128 bits in hexadecimal digits. Anybody who may create Pods
/// may write the annotation; what the API server gives as UIDs has dashes, so that none of them can be claimed by it.
fn static_uid(pod: &core::Pod) -> Option<&str> {
    mirrored(pod).filter(|hash| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// An endpoint that is no Pod, known by its namespace and address.
fn endpoint_workload(service: &ObjectName, endpoint: &Endpoint, addresses: Vec<IpAddr>) -> Option<Workload> {
    let address = addresses.first()?.to_string();
    Some(Workload {
        uid: Uid::new(&format!("endpoint.{}.{address}", service.namespace)).ok()?,
        name: ObjectName::new(service.namespace.as_str(), &address).ok()?,
        node: endpoint.node_name.as_deref().and_then(|node| NodeName::new(node).ok()),
        addresses,
        service_account: ServiceAccount::new("default").ok()?,
        meshed: false,
        mode: Mode::Permissive,
        same_node: SameNode::default(),
        services: Vec::new(),
    })
}

fn pod_of(endpoint: &Endpoint, slice_namespace: &Namespace) -> Option<ObjectName> {
    let target = endpoint.target_ref.as_ref().filter(|t| t.kind.as_deref() == Some("Pod"))?;
    let namespace = target.namespace.as_deref().unwrap_or(slice_namespace.as_str());
    ObjectName::new(namespace, target.name.as_deref()?).ok()
}

/// What each endpoint of a slice serves.
fn memberships<'a>(
    snapshot: &'a Snapshot,
    slice: &'a EndpointSlice,
) -> impl Iterator<Item = (&'a Endpoint, Membership)> {
    let service = service_of(snapshot, slice);
    service.into_iter().flat_map(move |(name, service)| {
        let ports = port_pairs(service, slice.ports.as_deref().unwrap_or_default());
        slice.endpoints.iter().flatten().map(move |endpoint| {
            let membership = Membership {
                service: name.clone(),
                ports: ports.clone(),
                health: health(endpoint),
                hints: hints(endpoint),
            };
            (endpoint, membership)
        })
    })
}

fn service_of<'a>(
    snapshot: &'a Snapshot,
    slice: &EndpointSlice,
) -> Option<(&'a ObjectName, &'a core::Service)> {
    let labels = slice.metadata.labels.as_ref()?;
    let name = labels.get("kubernetes.io/service-name")?;
    let namespace = slice.metadata.namespace.as_deref().unwrap_or("default");
    let (name, service) = snapshot.services.get_key_value(&ObjectName::new(namespace, name).ok()?)?;
    let served = !gateway_service::is_owned(service) && !service::is_external_name(service);
    (served && slice.address_type != "FQDN").then_some((name, service.as_ref()))
}

/// The ports of the Service and of the slice are the same port where they bear the same name.
fn port_pairs(service: &core::Service, slice_ports: &[EndpointPort]) -> Vec<PortPair> {
    let target = |port: &core::ServicePort| {
        let name = port.name.as_deref().unwrap_or_default();
        let same = slice_ports.iter().find(|p| {
            p.name.as_deref().unwrap_or_default() == name && p.protocol.as_deref().unwrap_or("TCP") == "TCP"
        })?;
        service::port_number(same.port?)
    };
    let pair = |port: &core::ServicePort| {
        Some(PortPair { port: service::port_number(port.port)?, target: target(port)? })
    };
    service::tcp_ports(service).filter_map(pair).collect()
}

fn health(endpoint: &Endpoint) -> Health {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    if ready {
        Health::Ready
    } else if conditions.serving.unwrap_or(ready) && conditions.terminating.unwrap_or(false) {
        Health::Draining
    } else {
        Health::Unready
    }
}

fn hints(endpoint: &Endpoint) -> Hints {
    let Some(hints) = &endpoint.hints else { return Hints::default() };
    let nodes = hints.for_nodes.iter().flatten().filter_map(|node| NodeName::new(&node.name).ok());
    let zones = hints.for_zones.iter().flatten().filter_map(|zone| Zone::new(&zone.name).ok());
    Hints { for_nodes: nodes.collect(), for_zones: zones.collect() }
}

/// One endpoint may stand in several slices of a Service (one an address family, or one a set of ports).
fn join(services: &mut Vec<Membership>, membership: Membership) {
    match services.binary_search_by(|m| m.service.cmp(&membership.service)) {
        Ok(at) => {
            let known = &mut services[at].ports;
            for pair in membership.ports {
                if !known.iter().any(|p| p.port == pair.port) {
                    known.push(pair);
                }
            }
            known.sort();
        }
        Err(at) => services.insert(at, membership),
    }
}
