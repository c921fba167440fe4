//! Workloads: Pods that have a node, the endpoints that are no Pod, and which Services each of them serves.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use mesh_ir::name::{Namespace, NodeName, ObjectName, ServiceAccount, Uid};
use mesh_ir::resource::{Membership, Mode, PortPair, Resource, SameNode, Transport, Workload};

use crate::api::{Endpoint, EndpointPort, EndpointSlice, Pod};
use crate::lookup::Lookup;
use crate::{Settings, gateway_service, network_policy, service, xbackend};

mod endpoints;

pub(crate) use endpoints::{Concerned, Endpoints};

/// `enabled` or `disabled`: on a namespace for its Pods, on a Pod before its namespace's.
const MESH_LABEL: &str = "weir.dev/mesh";
/// `strict` or `permissive`, on a namespace.
const MODE_LABEL: &str = "weir.dev/mode";
/// On a mirror Pod, which stands for a static Pod: the UID by which the node's kubelet, and its cgroups, know that one.
pub const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// A Pod's workload.
pub(crate) fn of_pod(snapshot: &Lookup<'_>, settings: &Settings, name: &ObjectName) -> Option<Resource> {
    let pod = snapshot.pods.get(name)?;
    let mut workload = pod_workload(snapshot, settings, name, pod)?;
    let at_its_addresses = workload.addresses.iter().flat_map(|address| snapshot.endpoints.at(*address));
    let slices: BTreeSet<&ObjectName> =
        snapshot.endpoints.naming(name).iter().chain(at_its_addresses).collect();
    for slice in slices {
        join_slice(snapshot, slice, &mut workload.services, |endpoint| match &endpoint.pod {
            // An endpoint that gives the Pod another address is of the Pod that had its name before.
            Some(pod) => {
                pod == name && endpoint.addresses.first().is_some_and(|a| workload.addresses.contains(a))
            }
            None => endpoint.addresses.first().is_some_and(|a| snapshot.endpoints.holder(*a) == Some(name)),
        });
    }
    for membership in xbackend::memberships(snapshot, &name.namespace, pod) {
        join(&mut workload.services, membership);
    }
    Some(Resource::Workload(workload))
}

/// The workload of the endpoints that are no Pod's and have this as their first address.
pub(crate) fn of_endpoint(snapshot: &Lookup<'_>, namespace: &Namespace, address: IpAddr) -> Option<Resource> {
    if snapshot.endpoints.holder(address).is_some() {
        return None;
    }
    let is_it = |endpoint: &Endpoint| endpoint.pod.is_none() && endpoint.addresses.first() == Some(&address);
    let (mut workload, mut services) = (None, Vec::new());
    for slice in snapshot.endpoints.at(address).iter().filter(|slice| slice.namespace == *namespace) {
        join_slice(snapshot, slice, &mut services, |endpoint| {
            let is_it = is_it(endpoint);
            if is_it && workload.is_none() {
                workload = endpoint_workload(namespace, endpoint);
            }
            is_it
        });
    }
    Some(Resource::Workload(Workload { services, ..workload? }))
}

/// Enters what the endpoints of a slice serve that `is_it`.
fn join_slice(
    snapshot: &Lookup<'_>,
    slice: &ObjectName,
    services: &mut Vec<Membership>,
    mut is_it: impl FnMut(&Endpoint) -> bool,
) {
    let Some(slice) = snapshot.endpoints.slice(slice) else { return };
    let Some((service, object)) = service_of(snapshot, slice) else { return };
    for endpoint in slice.endpoints.iter().filter(|endpoint| is_it(endpoint)) {
        let ports = |transport| port_pairs(object, &slice.ports, transport);
        let membership = Membership {
            service: service.clone(),
            ports: ports(Transport::Tcp),
            udp_ports: ports(Transport::Udp),
            health: endpoint.health,
            hints: endpoint.hints.clone(),
        };
        join(services, membership);
    }
}

/// A Pod that has a node, and does not end or is still ending. Its node is to know of it before it starts, which is before
/// it has addresses: then nobody else can reach it, and it serves nothing.
fn pod_workload(
    snapshot: &Lookup<'_>,
    settings: &Settings,
    name: &ObjectName,
    pod: &Pod,
) -> Option<Workload> {
    if !pod.is_alive || (pod.addresses.is_empty() && (pod.node.is_none() || pod.on_host_network)) {
        return None;
    }
    let uid = match (static_uid(pod), &pod.uid) {
        (Some(uid), _) | (None, Some(uid)) => Uid::shared(uid.clone()).ok()?,
        (None, None) => Uid::new(&format!("pod.{}.{}", name.namespace, name.name)).ok()?,
    };
    let namespace = snapshot.namespaces.get(name.namespace.as_str());
    let namespace_label = |label: &str| Some(namespace?.metadata.labels.as_ref()?.get(label)?.as_str());
    let wanted = match pod.metadata.labels.get(MESH_LABEL) {
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
    let meshed = wanted && !pod.on_host_network && pod.mirrored.is_none();
    let same_node = match meshed {
        true if network_policy::select(snapshot, &name.namespace, pod) => {
            settings.same_node.max(SameNode::Network)
        }
        true => settings.same_node,
        false => SameNode::default(),
    };
    Some(Workload {
        uid,
        name: name.clone(),
        node: pod.node.clone().and_then(|node| NodeName::shared(node.into()).ok()),
        addresses: pod.addresses.to_vec(),
        service_account: match &pod.service_account {
            Some(account) => ServiceAccount::shared(account.clone().into()).ok()?,
            None => ServiceAccount::new("default").ok()?,
        },
        meshed,
        mode,
        same_node,
        services: Vec::new(),
    })
}

/// The UID of the static Pod that this one mirrors: a hash of 128 bits in hexadecimal digits. Anybody who may create Pods
/// may write the annotation; what the API server gives as UIDs has dashes, so that none of them can be claimed by it.
fn static_uid(pod: &Pod) -> Option<&Arc<str>> {
    pod.mirrored.as_ref().filter(|hash| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// An endpoint that is no Pod, known by its namespace and address.
fn endpoint_workload(namespace: &Namespace, endpoint: &Endpoint) -> Option<Workload> {
    let address = endpoint.addresses.first()?.to_string();
    Some(Workload {
        uid: Uid::new(&format!("endpoint.{namespace}.{address}")).ok()?,
        name: ObjectName::new(namespace.as_str(), &address).ok()?,
        node: endpoint.node.clone(),
        addresses: endpoint.addresses.to_vec(),
        service_account: ServiceAccount::new("default").ok()?,
        meshed: false,
        mode: Mode::Permissive,
        same_node: SameNode::default(),
        services: Vec::new(),
    })
}

fn service_of<'a>(snapshot: &Lookup<'a>, slice: &EndpointSlice) -> Option<(ObjectName, &'a core::Service)> {
    let name = slice.metadata.labels.get("kubernetes.io/service-name")?;
    let namespace = slice.metadata.namespace.as_deref().unwrap_or("default");
    let name = ObjectName::new(namespace, name).ok()?;
    let service = snapshot.services.get(&name)?;
    let served = !gateway_service::is_owned(service) && !service::is_external_name(service);
    served.then_some((name, service.as_ref()))
}

/// The ports of the Service and of the slice are the same port where they bear the same name.
fn port_pairs(service: &core::Service, slice_ports: &[EndpointPort], transport: Transport) -> Vec<PortPair> {
    let target = |port: &core::ServicePort| {
        let name = port.name.as_deref().unwrap_or_default();
        slice_ports.iter().find(|p| p.transport == transport && *p.name == *name).map(|p| p.number)
    };
    let pair = |port: &core::ServicePort| {
        Some(PortPair { port: service::port_number(port.port)?, target: target(port)? })
    };
    service::ports_of(service, transport).filter_map(pair).collect()
}

/// One endpoint may stand in several slices of a Service (one an address family, or one a set of ports).
fn join(services: &mut Vec<Membership>, membership: Membership) {
    match services.binary_search_by(|m| m.service.cmp(&membership.service)) {
        Ok(at) => {
            let known = &mut services[at];
            add(&mut known.ports, membership.ports);
            add(&mut known.udp_ports, membership.udp_ports);
        }
        Err(at) => services.insert(at, membership),
    }
}

fn add(known: &mut Vec<PortPair>, pairs: Vec<PortPair>) {
    for pair in pairs {
        if !known.iter().any(|p| p.port == pair.port) {
            known.push(pair);
        }
    }
    known.sort();
}
