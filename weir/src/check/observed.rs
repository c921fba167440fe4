//! What the API server and the mesh's programs have told, as it is judged: nothing here asks or judges.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use serde::Deserialize;
use serde_json::Value;

use crate::health::Health;

/// Something that was asked for: what it is, or why it could not be seen.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Seen<T> {
    Unseen(Unseen),
    Known(T),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unseen {
    pub(super) unseen: String,
}

impl<T: Default> Default for Seen<T> {
    fn default() -> Self {
        Self::Known(T::default())
    }
}

impl<T> Seen<T> {
    pub(super) fn unseen(why: String) -> Self {
        Self::Unseen(Unseen { unseen: why })
    }

    pub(super) fn known(&self) -> Result<&T, &str> {
        match self {
            Self::Known(value) => Ok(value),
            Self::Unseen(Unseen { unseen }) => Err(unseen),
        }
    }
}

impl<T> Seen<Vec<T>> {
    /// What there is of them, as far as can be seen; that they cannot be seen is said once, where they are judged.
    pub(super) fn all(&self) -> &[T] {
        self.known().map_or(&[], Vec::as_slice)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Observed {
    /// Seconds since 1970 by this machine's clock.
    pub(super) now: i64,
    /// Of this program.
    pub(super) cli_version: String,
    /// Where Weir is, or will be.
    pub(super) namespace: String,
    /// The API server's, as `v1.36.0`.
    pub(super) kubernetes: Seen<String>,
    /// What who asks may do of what installing takes; empty where Weir is installed.
    pub(super) permissions: Vec<Permission>,
    /// CustomResourceDefinitions, by name.
    pub(super) definitions: Seen<BTreeMap<String, Definition>>,
    pub(super) nodes: Seen<Vec<Node>>,
    pub(super) namespaces: Seen<Vec<Namespace>>,
    /// Of namespaces and pods that are labelled for the mesh, and of Weir's own namespace.
    pub(super) pods: Seen<Vec<Pod>>,
    /// Of all namespaces.
    pub(super) daemon_sets: Seen<Vec<DaemonSet>>,
    /// Of Weir's own namespace.
    pub(super) deployments: Seen<Vec<Deployment>>,
    /// Those that were asked for, by `namespace/name`.
    pub(super) config_maps: BTreeMap<String, Seen<Option<ConfigMap>>>,
    /// Which replica of the operator leads.
    pub(super) lease: Seen<Option<Lease>>,
    /// The FelixConfiguration `default` of Calico.
    pub(super) felix: Seen<Option<Value>>,
    /// Whether there is an object of each kind of policies that a CNI enforces and Weir does not read, by its definition.
    pub(super) cni_policies: BTreeMap<String, Seen<bool>>,
    /// What the pods of Weir's own programs say of themselves, by name.
    pub(super) answers: BTreeMap<String, Seen<Health>>,
    /// Objects of users, by kind.
    pub(super) objects: BTreeMap<String, Seen<Vec<Value>>>,
}

/// A CustomResourceDefinition's annotations.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Definition {
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Permission {
    /// `create daemonsets in weir-system`.
    pub(super) what: String,
    pub(super) allowed: Seen<bool>,
}

impl Observed {
    /// Whether Weir is installed in its namespace.
    pub(super) fn installed(&self) -> bool {
        self.mesh_node().is_some() || self.deployments.all().iter().any(is_of_weir)
    }

    pub(super) fn mesh_node(&self) -> Option<&DaemonSet> {
        self.daemon_sets.all().iter().find(|set| {
            let (namespace, name) = (&set.metadata.namespace, &set.metadata.name);
            name.as_deref() == Some("mesh-node") && namespace.as_ref() == Some(&self.namespace)
        })
    }

    pub(super) fn config_map(&self, name: &str) -> Option<&Seen<Option<ConfigMap>>> {
        self.config_maps.get(name)
    }
}

fn is_of_weir(deployment: &Deployment) -> bool {
    matches!(deployment.metadata.name.as_deref(), Some("mesh-operator" | "cert-authority"))
}
