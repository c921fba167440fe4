//! Which Pods a NetworkPolicy selects. What it allows them is for the CNI to enforce, and not read here: it can do so
//! only where their traffic crosses the pod network.

use mesh_ir::name::Namespace;

use crate::api::Pod;
use crate::lookup::Lookup;
use crate::selector;

/// Whether a policy of either direction applies to the Pod. One without a selector applies to all of its namespace.
pub(crate) fn select(snapshot: &Lookup<'_>, namespace: &Namespace, pod: &Pod) -> bool {
    snapshot.network_policies.in_namespace(namespace).any(|(_, policy)| {
        let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
        selector.is_none_or(|selector| selector::matches(selector, |label| pod.metadata.labels.get(label)))
    })
}
