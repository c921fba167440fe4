//! The nodes, as far as the API server knows them: kernel, system, architecture. `weir check --node` looks closer.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, NodeSystemInfo};

use super::finding::{Area, Finding};
use super::observed::Observed;
use super::platform::major_minor;

pub(super) const MIN_KERNEL: (u32, u32) = (5, 15);

pub(super) fn findings(observed: &Observed) -> Vec<Finding> {
    let nodes = match observed.nodes.known() {
        Ok(nodes) => nodes,
        Err(why) => return vec![Finding::unseen(Area::Nodes, "nodes", why)],
    };
    let mut findings: Vec<Finding> = nodes.iter().flat_map(node).collect();
    if findings.is_empty() && !nodes.is_empty() {
        let infos: Vec<&NodeSystemInfo> = nodes.iter().filter_map(info).collect();
        let kernels: BTreeSet<&str> = infos.iter().map(|info| info.kernel_version.as_str()).collect();
        let kernels: Vec<&str> = kernels.into_iter().collect();
        let count = if nodes.len() == 1 { "1 node".into() } else { format!("{} nodes", nodes.len()) };
        findings.push(Finding::ok(Area::Nodes, format!("{count}: Linux {} on amd64", kernels.join(", "))));
    }
    findings
}

/// Whether it is one that mesh-node can run on.
pub(super) fn is_linux(node: &Node) -> bool {
    info(node).is_none_or(|info| info.operating_system == "linux")
}

fn info(node: &Node) -> Option<&NodeSystemInfo> {
    node.status.as_ref()?.node_info.as_ref()
}

fn node(node: &Node) -> Vec<Finding> {
    let object = format!("Node {}", node.metadata.name.as_deref().unwrap_or_default());
    let mut findings = Vec::new();
    let Some(info) = info(node) else {
        return vec![Finding::warning(
            Area::Nodes,
            object,
            "its kubelet has not said what system it runs",
            "see why with kubectl describe node",
        )];
    };
    if info.operating_system != "linux" {
        return vec![Finding::warning(
            Area::Nodes,
            object,
            format!(
                "it runs {}, where mesh-node cannot: its pods are never in the mesh",
                info.operating_system
            ),
            "label no namespace for the mesh whose pods run there",
        )];
    }
    if info.architecture != "amd64" {
        findings.push(Finding::warning(
            Area::Nodes,
            object.as_str(),
            format!("its architecture is {}, and Weir is built for amd64 only", info.architecture),
            "keep mesh-node off it with the chart's value node.nodeSelector (kubernetes.io/arch: amd64)",
        ));
    }
    if let Some(finding) = kernel(&object, &info.kernel_version) {
        findings.push(finding);
    }
    let ready = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    if ready.clone().any(|condition| condition.type_ == "Ready" && condition.status != "True") {
        findings.push(Finding::warning(
            Area::Nodes,
            object,
            "its condition Ready is not True",
            "see why with kubectl describe node; Weir cannot start there before",
        ));
    }
    findings
}

/// What is wrong with a kernel of this release.
pub(super) fn kernel(object: &str, release: &str) -> Option<Finding> {
    match major_minor(release) {
        Some(found) if found >= MIN_KERNEL => None,
        Some(_) => Some(Finding::error(
            Area::Nodes,
            object,
            format!("its kernel is Linux {release}, and Weir needs 5.15 or newer"),
            "give it a newer kernel, or keep mesh-node off it with the chart's value node.nodeSelector",
        )),
        None => Some(Finding::warning(
            Area::Nodes,
            object,
            format!("its kernel is {release:?}, which cannot be compared"),
            "make sure that it is Linux 5.15 or newer",
        )),
    }
}
