//! Which Pods a NetworkPolicy selects. What it allows them is for the CNI to enforce, and not read here: it can do so
//! only where their traffic crosses the pod network.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use mesh_ir::name::Namespace;

use crate::selector;
use crate::snapshot::Snapshot;

/// The policies' selectors of Pods, by the namespace that they are about.
#[derive(Debug)]
pub(crate) struct Selectors<'a>(BTreeMap<&'a Namespace, Vec<Option<&'a LabelSelector>>>);

impl<'a> Selectors<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Self {
        let mut selectors: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (name, policy) in &snapshot.network_policies {
            let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
            selectors.entry(&name.namespace).or_default().push(selector);
        }
        Self(selectors)
    }

    /// Whether a policy of either direction applies to the Pod. One without a selector applies to all of its namespace.
    pub(crate) fn select(&self, namespace: &Namespace, pod: &Pod) -> bool {
        let none = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&none);
        let of_namespace = self.0.get(namespace).into_iter().flatten();
        of_namespace.into_iter().any(|selector| selector.is_none_or(|s| selector::matches(s, labels)))
    }
}
