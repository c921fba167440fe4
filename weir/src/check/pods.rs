//! The pods that are to be in the mesh, against those that the nodes' proxies have captured.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Pod};

use super::finding::{Area, Finding};
use super::observed::Observed;
use super::programs;

/// `enabled` or `disabled`: on a namespace for its pods, on a pod before its namespace's.
pub(super) const MESH_LABEL: &str = "weir.dev/mesh";
/// On the mirror of a static pod, which is never in the mesh.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";
/// How many pods a message names.
const NAMED: usize = 3;

pub(super) fn findings(observed: &Observed) -> Vec<Finding> {
    let mut findings = labels(observed);
    if let Err(why) = observed.namespaces.known() {
        findings.push(Finding::unseen(Area::Pods, "namespaces", why));
    }
    if !observed.installed() {
        return findings;
    }
    let mut by_node: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for pod in observed.pods.all().iter().filter(|pod| is_meshed(observed, pod) && is_running(pod)) {
        let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) else { continue };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let name = format!("{}/{}", text(&pod.metadata.namespace), text(&pod.metadata.name));
        by_node.entry(node).or_default().push(name);
    }
    let wanted: usize = by_node.values().map(Vec::len).sum();
    let problems: Vec<Finding> =
        by_node.iter().filter_map(|(node, pods)| captured_on(observed, node, pods)).collect();
    if problems.is_empty() && observed.pods.known().is_ok() && observed.namespaces.known().is_ok() {
        findings.push(match wanted {
            0 => Finding::ok(
                Area::Pods,
                format!("none yet; to begin, kubectl label namespace NAME {MESH_LABEL}=enabled"),
            ),
            wanted => Finding::ok(Area::Pods, format!("all {wanted} that run are captured")),
        });
    }
    findings.extend(problems);
    findings
}

pub(super) fn is_labelled(namespace: &Namespace) -> bool {
    label(namespace) == Some("enabled")
}

fn label(namespace: &Namespace) -> Option<&str> {
    namespace.metadata.labels.as_ref()?.get(MESH_LABEL).map(String::as_str)
}

/// Labels that say neither.
fn labels(observed: &Observed) -> Vec<Finding> {
    let odd = observed.namespaces.all().iter().filter_map(|namespace| {
        let name = namespace.metadata.name.as_deref()?;
        let value = label(namespace).filter(|value| !matches!(*value, "enabled" | "disabled"))?;
        Some(Finding::warning(
            Area::Pods,
            format!("Namespace {name}"),
            format!("its label {MESH_LABEL} is {value:?}, which counts as disabled"),
            format!("kubectl label namespace {name} {MESH_LABEL}=enabled --overwrite, or remove the label"),
        ))
    });
    odd.collect()
}

/// As mesh-operator decides it.
fn is_meshed(observed: &Observed, pod: &Pod) -> bool {
    let own = pod.metadata.labels.as_ref().and_then(|labels| labels.get(MESH_LABEL)).map(String::as_str);
    let wanted = match own {
        Some("enabled") => true,
        Some("disabled") => false,
        _ => observed
            .namespaces
            .all()
            .iter()
            .any(|namespace| namespace.metadata.name == pod.metadata.namespace && is_labelled(namespace)),
    };
    let on_host = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
    let annotations = pod.metadata.annotations.as_ref();
    let mirror = annotations.is_some_and(|annotations| annotations.contains_key(MIRROR_ANNOTATION));
    wanted && !on_host && !mirror
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    phase == Some("Running") && pod.metadata.deletion_timestamp.is_none()
}

/// What is wrong with the capture of these pods of one node.
fn captured_on(observed: &Observed, node: &str, pods: &[String]) -> Option<Finding> {
    let proxy = programs::pods_of(observed, "mesh-node")
        .find(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node));
    let named = match pods.len() {
        ..=NAMED => pods.join(", "),
        more => format!("{}, and {} more", pods[..NAMED].join(", "), more - NAMED),
    };
    let object = format!("Node {node}");
    let Some(proxy) = proxy else {
        return Some(Finding::error(
            Area::Pods,
            object,
            format!("it has no mesh-node, and pods that are to be in the mesh: {named}"),
            "correct the chart's values node.nodeSelector and node.tolerations, or label fewer namespaces",
        ));
    };
    let name = proxy.metadata.name.as_deref().unwrap_or_default();
    let namespace = &observed.namespace;
    let Some(answer) = observed.answers.get(name) else {
        return Some(Finding::error(
            Area::Pods,
            object,
            format!("its mesh-node does not run, and pods that are to be in the mesh do: {named}"),
            format!(
                "see kubectl -n {namespace} describe pod {name}; until it runs, captured traffic is refused"
            ),
        ));
    };
    let health = match answer.known() {
        Ok(health) => health,
        Err(why) => {
            return Some(Finding::warning(
                Area::Pods,
                object,
                format!("how many pods are captured there cannot be asked of {namespace}/{name}: {why}"),
                "run weir check as a user who may get pods/proxy, where the API server reaches the nodes' port 15014",
            ));
        }
    };
    let captured = usize::try_from(health.captured_pods?).ok()?;
    (captured < pods.len()).then(|| {
        let message = format!("{captured} of its {} pods of the mesh are captured: {named}", pods.len());
        let advice = format!(
            "pods that have just started are captured within seconds; else see kubectl -n {namespace} logs {name}"
        );
        Finding::error(Area::Pods, object, message, advice)
    })
}
