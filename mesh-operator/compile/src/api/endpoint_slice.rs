//! What compiling reads of an EndpointSlice. The slices of a mesh name each of its Pods, once for each Service.

use std::net::IpAddr;
use std::sync::Arc;

use mesh_ir::name::{NodeName, ObjectName, Zone};
use mesh_ir::resource::{Health, Hints, Transport};
use serde::Deserialize;

use super::metadata::{Metadata, Named};
use super::shared::Text;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Written")]
pub struct EndpointSlice {
    pub metadata: Metadata,
    /// None where their addresses are hostnames.
    pub(crate) endpoints: Box<[Endpoint]>,
    /// Those of TCP and UDP.
    pub(crate) ports: Box<[EndpointPort]>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Endpoint {
    pub(crate) addresses: Box<[IpAddr]>,
    pub(crate) health: Health,
    /// The Pod that it is.
    pub(crate) pod: Option<ObjectName>,
    pub(crate) node: Option<NodeName>,
    pub(crate) hints: Hints,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EndpointPort {
    pub(crate) name: Text,
    pub(crate) number: u16,
    pub(crate) transport: Transport,
}

impl From<Written> for EndpointSlice {
    fn from(Written { metadata, address_type, endpoints, ports }: Written) -> Self {
        let namespace = metadata.namespace().unwrap_or_else(|| "default".into());
        let endpoints = endpoints.into_iter().flatten().filter(|_| &*address_type != "FQDN");
        let port = |p: WrittenPort| {
            let number = crate::service::port_number(p.port?)?;
            let protocol = p.protocol.as_deref().unwrap_or("TCP");
            let transport = Transport::ALL.into_iter().find(|transport| transport.name() == protocol)?;
            Some(EndpointPort { name: p.name.unwrap_or_default(), number, transport })
        };
        Self {
            endpoints: endpoints.filter_map(|written| endpoint(written, &namespace)).collect(),
            ports: ports.into_iter().flatten().filter_map(port).collect(),
            metadata,
        }
    }
}

/// Nothing is known by one that names a Pod that cannot be.
fn endpoint(written: WrittenEndpoint, slice_namespace: &Arc<str>) -> Option<Endpoint> {
    let pod = match written.target_ref.filter(|target| target.kind.as_deref() == Some("Pod")) {
        Some(TargetRef { name: Some(name), namespace, .. }) => {
            let namespace = namespace.map_or_else(|| slice_namespace.clone(), Into::into);
            Some(ObjectName::shared(namespace, name).ok()?)
        }
        _ => None,
    };
    Some(Endpoint {
        addresses: written.addresses.iter().filter_map(|a| a.parse().ok()).collect(),
        health: health(written.conditions.unwrap_or_default()),
        pod,
        node: written.node_name.and_then(node),
        hints: written.hints.map(hints).unwrap_or_default(),
    })
}

fn node(name: Text) -> Option<NodeName> {
    NodeName::shared(name.into()).ok()
}

fn health(conditions: Conditions) -> Health {
    let ready = conditions.ready.unwrap_or(true);
    if ready {
        Health::Ready
    } else if conditions.serving.unwrap_or(ready) && conditions.terminating.unwrap_or(false) {
        Health::Draining
    } else {
        Health::Unready
    }
}

fn hints(written: WrittenHints) -> Hints {
    let (nodes, zones) = (written.for_nodes.into_iter().flatten(), written.for_zones.into_iter().flatten());
    Hints {
        for_nodes: nodes.filter_map(|hint| node(hint.name)).collect(),
        for_zones: zones.filter_map(|hint| Zone::shared(hint.name.into()).ok()).collect(),
    }
}

/// As it stands in a manifest.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    metadata: Metadata,
    #[serde(default)]
    address_type: Text,
    endpoints: Option<Vec<WrittenEndpoint>>,
    ports: Option<Vec<WrittenPort>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenEndpoint {
    #[serde(default)]
    addresses: Vec<String>,
    conditions: Option<Conditions>,
    target_ref: Option<TargetRef>,
    node_name: Option<Text>,
    hints: Option<WrittenHints>,
}

#[derive(Default, Deserialize)]
struct Conditions {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Deserialize)]
struct TargetRef {
    kind: Option<Text>,
    namespace: Option<Text>,
    name: Option<Arc<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenHints {
    for_nodes: Option<Vec<Hint>>,
    for_zones: Option<Vec<Hint>>,
}

#[derive(Deserialize)]
struct Hint {
    name: Text,
}

#[derive(Deserialize)]
struct WrittenPort {
    name: Option<Text>,
    port: Option<i32>,
    protocol: Option<Text>,
}
