//! A mesh of any size, made up for benches and tests: the same parameters give the same objects. The objects hold what a
//! cluster's objects hold once what compiling does not read is taken off. Nothing here is part of the operator.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use crate::object::{Kind, Object};
use crate::snapshot::Snapshot;

/// How large a mesh is to be.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub services: usize,
    pub pods: usize,
    /// One half is attached to the Gateways, the other to Services.
    pub routes: usize,
    pub gateways: usize,
    pub nodes: usize,
    pub seed: u64,
}

impl Size {
    /// Ten Pods a Service, a route for every second Service, a Gateway for every 500 and a node for every 50 Pods.
    pub fn of_services(services: usize) -> Self {
        let pods = services * 10;
        Self {
            services,
            pods,
            routes: services / 2,
            gateways: services.div_ceil(500),
            nodes: pods.div_ceil(50),
            seed: 1,
        }
    }

    /// So many Services share a namespace.
    const PER_NAMESPACE: usize = 20;

    pub fn namespaces(self) -> usize {
        self.services.div_ceil(Self::PER_NAMESPACE)
    }

    /// The Service that a Pod stands behind.
    pub fn service_of_pod(self, pod: usize) -> usize {
        pod % self.services
    }

    fn pods_of_service(self, service: usize) -> impl Iterator<Item = usize> {
        (service..self.pods).step_by(self.services)
    }
}

/// The objects of a mesh of that size.
pub fn objects(size: Size) -> impl Iterator<Item = Object> {
    let namespaces = (0..size.namespaces()).map(namespace);
    let nodes = (0..size.nodes).map(node);
    let gateways = (0..size.gateways).map(gateway);
    let services = (0..size.services).map(service);
    let pods = (0..size.pods).map(move |i| pod(size, i));
    let slices = (0..size.services).map(move |i| slice(size, i, None));
    let policies = (0..size.services).step_by(20).map(policy);
    let routes = (0..size.routes).map(move |i| route(size, i, 10));
    namespaces
        .chain(nodes)
        .chain(gateways)
        .chain(services)
        .chain(pods)
        .chain(slices)
        .chain(policies)
        .chain(routes)
}

pub fn snapshot(size: Size) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for object in objects(size) {
        snapshot.insert(object);
    }
    snapshot
}

pub fn namespace(index: usize) -> Object {
    let labels = [("weir.dev/mesh", "enabled"), ("team", "payments")];
    core::Namespace { metadata: metadata(None, &namespace_name(index), &labels), ..Default::default() }.into()
}

pub fn node(index: usize) -> Object {
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 16, 0, 1)) + index as u32);
    let addresses = vec![core::NodeAddress { address: address.to_string(), type_: "InternalIP".into() }];
    let ready = core::NodeCondition { type_: "Ready".into(), status: "True".into(), ..Default::default() };
    let status =
        core::NodeStatus { addresses: Some(addresses), conditions: Some(vec![ready]), ..Default::default() };
    core::Node { metadata: metadata(None, &node_name(index), &[]), spec: None, status: Some(status) }.into()
}

pub fn service(index: usize) -> Object {
    let (namespace, name) = (namespace_of(index), service_name(index));
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + index as u32).to_string();
    let port = core::ServicePort {
        name: Some("http".into()),
        port: 80,
        protocol: Some("TCP".into()),
        ..Default::default()
    };
    let spec = core::ServiceSpec {
        type_: Some("ClusterIP".into()),
        cluster_ip: Some(address.clone()),
        cluster_ips: Some(vec![address]),
        selector: Some(BTreeMap::from([("app".into(), name.clone())])),
        ports: Some(vec![port]),
        ..Default::default()
    };
    let metadata = metadata(Some(&namespace), &name, &[("app", &name)]);
    core::Service { metadata, spec: Some(spec), status: None }.into()
}

pub fn pod(size: Size, index: usize) -> Object {
    let service = size.service_of_pod(index);
    let app = service_name(service);
    let address = pod_address(index);
    let value = json!({
        "metadata": {
            "name": pod_name(size, index), "namespace": namespace_of(service), "uid": uid(size, index),
            "labels": { "app": app, "pod-template-hash": "6d4cf56db6", "version": "v1" },
        },
        "spec": { "nodeName": node_name(index % size.nodes.max(1)), "serviceAccountName": app },
        "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }] },
    });
    read(Kind::Pod, value)
}

/// The EndpointSlice of a Service; the Pod `unready`, where there is one, is not ready.
pub fn slice(size: Size, service: usize, unready: Option<usize>) -> Object {
    let (namespace, name) = (namespace_of(service), service_name(service));
    let endpoint = |pod: usize| {
        let ready = unready != Some(pod);
        json!({
            "addresses": [pod_address(pod)],
            "conditions": { "ready": ready, "serving": ready, "terminating": false },
            "nodeName": node_name(pod % size.nodes.max(1)),
            "targetRef": {
                "kind": "Pod", "name": pod_name(size, pod), "namespace": namespace, "uid": uid(size, pod),
            },
        })
    };
    let labels = json!({
        "kubernetes.io/service-name": name,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    });
    let value = json!({
        "metadata": { "name": format!("{name}-x7k2p"), "namespace": namespace, "labels": labels },
        "addressType": "IPv4",
        "endpoints": size.pods_of_service(service).map(endpoint).collect::<Vec<_>>(),
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
    });
    read(Kind::EndpointSlice, value)
}

pub fn gateway(index: usize) -> Object {
    let value = json!({
        "metadata": { "name": format!("gateway-{index}"), "namespace": "namespace-0", "generation": 1 },
        "spec": {
            "gatewayClassName": crate::GATEWAY_CLASS,
            "listeners": [{
                "name": "http", "port": 80, "protocol": "HTTP",
                "allowedRoutes": { "namespaces": { "from": "All" } },
            }],
        },
    });
    read(Kind::Gateway, value)
}

/// Splits its Service's traffic with the next one's, of which `weight` in a hundred go to that. Every second route is
/// attached to a Gateway, under a path of its own; the others to their Service.
pub fn route(size: Size, index: usize, weight: u32) -> Object {
    // Which Services have routes is up to the seed.
    let service = (index * 7919 + size.seed as usize) % size.services;
    let next = match service + 1 {
        next if next < size.services && namespace_of(next) == namespace_of(service) => next,
        _ => service,
    };
    let parent = match index % 2 {
        0 => json!({
            "name": format!("gateway-{}", index / 2 % size.gateways.max(1)), "namespace": "namespace-0",
        }),
        _ => json!({ "group": "", "kind": "Service", "name": service_name(service), "port": 80 }),
    };
    let value = json!({
        "metadata": {
            "name": format!("route-{index}"), "namespace": namespace_of(service), "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "parentRefs": [parent],
            "rules": [{
                "matches": [{ "path": { "type": "PathPrefix", "value": format!("/service/{index}") } }],
                "backendRefs": [
                    { "name": service_name(service), "port": 80, "weight": 100 - weight },
                    { "name": service_name(next), "port": 80, "weight": weight },
                ],
            }],
        },
    });
    read(Kind::HttpRoute, value)
}

pub fn policy(service: usize) -> Object {
    let value = json!({
        "metadata": { "name": service_name(service), "namespace": namespace_of(service), "generation": 1 },
        "spec": {
            "targetRefs": [{ "group": "", "kind": "Service", "name": service_name(service) }],
            "circuitBreaker": { "maxRequests": 100 },
        },
    });
    read(Kind::BackendPolicy, value)
}

fn read(kind: Kind, value: serde_json::Value) -> Object {
    Object::from_json(kind, &value).expect("the value is written here as the kind's schema demands")
}

fn metadata(namespace: Option<&str>, name: &str, labels: &[(&str, &str)]) -> ObjectMeta {
    let labels: BTreeMap<String, String> =
        labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    ObjectMeta {
        namespace: namespace.map(Into::into),
        name: Some(name.into()),
        labels: (!labels.is_empty()).then_some(labels),
        ..Default::default()
    }
}

fn namespace_name(index: usize) -> String {
    format!("namespace-{index}")
}

fn namespace_of(service: usize) -> String {
    namespace_name(service / Size::PER_NAMESPACE)
}

pub fn service_name(index: usize) -> String {
    format!("service-{index}")
}

fn node_name(index: usize) -> String {
    format!("node-{index}.cluster.internal")
}

pub fn pod_name(size: Size, index: usize) -> String {
    let random = fastrand::Rng::with_seed(size.seed ^ index as u64).u32(..) % 0x0010_0000;
    format!("service-{}-6d4cf56db6-{random:05x}-{index}", size.service_of_pod(index))
}

/// Of the form of a Pod's UID.
fn uid(size: Size, index: usize) -> String {
    let mut random = fastrand::Rng::with_seed(size.seed.wrapping_add(1) ^ index as u64);
    let (a, b, c) = (random.u32(..), random.u16(..), random.u16(..));
    format!("{a:08x}-{b:04x}-4{:03x}-8{:03x}-{index:012x}", c & 0xfff, b & 0xfff)
}

pub fn pod_address(index: usize) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 0)) + index as u32).into()
}
