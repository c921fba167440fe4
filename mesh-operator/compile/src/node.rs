//! Nodes: the addresses that their proxies and kubelets dial from, and that Gateways send traffic to, and their zones.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use mesh_ir::name::{NodeName, Zone};
use mesh_ir::resource::{Node, Resource};

use crate::lookup::Lookup;

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

pub(crate) fn compile(snapshot: &Lookup<'_>, name: &Arc<str>) -> Option<Resource> {
    let node = snapshot.nodes.get(name)?;
    let zone = node.metadata.labels.as_ref().and_then(|labels| Zone::new(labels.get(ZONE_LABEL)?).ok());
    Some(Resource::Node(Node { name: NodeName::new(name).ok()?, addresses: internal_addresses(node), zone }))
}

/// The node's InternalIPs, in the order in which it states them.
pub(crate) fn internal_addresses(node: &core::Node) -> Vec<IpAddr> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    addresses.filter(|a| a.type_ == "InternalIP").filter_map(|a| a.address.parse().ok()).collect()
}

/// False only where the node itself says that it is not ready.
pub(crate) fn is_ready(node: &core::Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.all(|c| c.type_ != "Ready" || c.status == "True")
}
