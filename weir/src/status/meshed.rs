//! Which pods are in the mesh, by namespace and by node: a count of the configuration's workloads.

use std::collections::BTreeMap;

use mesh_ir::config::MeshConfig;
use mesh_ir::resource::{Mode, Resource};
use serde::Serialize;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Meshed {
    /// Those with pods in the mesh, in the order of their names.
    pub(super) namespaces: Vec<NamespaceState>,
    pub(super) by_node: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NamespaceState {
    pub(super) name: String,
    /// What its pods do with a peer that brings no identity.
    pub(super) mode: Mode,
    pub(super) meshed_pods: u64,
}

pub(super) fn count(config: &MeshConfig) -> Meshed {
    let mut namespaces: BTreeMap<&str, NamespaceState> = BTreeMap::new();
    let mut by_node: BTreeMap<String, u64> = BTreeMap::new();
    for resource in config.resources.values() {
        let Resource::Workload(workload) = &**resource else { continue };
        if !workload.meshed {
            continue;
        }
        let name = workload.name.namespace.as_str();
        let first = || NamespaceState { name: name.to_owned(), mode: workload.mode, meshed_pods: 0 };
        namespaces.entry(name).or_insert_with(first).meshed_pods += 1;
        if let Some(node) = &workload.node {
            *by_node.entry(node.to_string()).or_default() += 1;
        }
    }
    Meshed { namespaces: namespaces.into_values().collect(), by_node }
}
