//! A pod of the lab: what was decided about it, what is known of it, and the Pod object that says both.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::address::Dual;
use super::layout::node_name;
use super::object::{ObjectId, child};

/// What made a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A Deployment, at this uid, from the template of this hash.
    Deployment { id: ObjectId, uid: String, template: String },
    /// A Pod manifest, of this hash.
    Manifest { hash: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Succeeded => "Succeeded",
            Phase::Failed => "Failed",
        }
    }

    pub(crate) fn is_final(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
}

/// The end of a pod: since when it is terminating, and how long it may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deletion {
    pub(crate) timestamp: String,
    pub(crate) grace_seconds: u64,
}

/// The longest grace period that the lab grants.
pub(crate) const MAX_GRACE_SECONDS: u64 = 300;

#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) node: u8,
    pub(crate) address: Dual,
    pub(crate) owner: Owner,
    /// Labels and annotations, as an object's metadata holds them.
    pub(crate) metadata: Value,
    /// The PodSpec, with what scheduling and admission add.
    pub(crate) spec: Value,
    pub(crate) created: String,
    pub(crate) phase: Phase,
    pub(crate) ready: bool,
    pub(crate) restarts: BTreeMap<String, u32>,
    /// Why the pod does not run, when it does not.
    pub(crate) message: Option<String>,
    pub(crate) deletion: Option<Deletion>,
}

impl Pod {
    pub(crate) fn id(&self) -> ObjectId {
        ObjectId::namespaced("", "Pod", &self.namespace, &self.name)
    }

    pub(crate) fn is_terminating(&self) -> bool {
        self.deletion.is_some()
    }

    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.metadata["labels"][key].as_str()
    }

    pub(crate) fn grace_seconds(&self) -> u64 {
        self.spec["terminationGracePeriodSeconds"].as_u64().unwrap_or(30).min(MAX_GRACE_SECONDS)
    }

    pub(crate) fn service_account(&self) -> &str {
        self.spec["serviceAccountName"].as_str().unwrap_or("default")
    }

    pub(crate) fn restart_count(&self) -> u32 {
        self.restarts.values().sum()
    }

    /// The port of this pod that a Service's `targetPort` means: a number, or a container port's name.
    pub(crate) fn port(&self, target: &Value, protocol: &str) -> Option<u16> {
        let Some(name) = target.as_str() else {
            return target.as_u64().and_then(|port| u16::try_from(port).ok());
        };
        let containers = self.spec["containers"].as_array()?;
        containers.iter().filter_map(|container| container["ports"].as_array()).flatten().find_map(|port| {
            let same = port["name"] == name && port["protocol"].as_str().unwrap_or("TCP") == protocol;
            if same { port["containerPort"].as_u64().and_then(|port| u16::try_from(port).ok()) } else { None }
        })
    }

    /// The Pod object, but for what [`super::cluster`] adds to every object.
    pub(crate) fn object(&self, node: Dual) -> Value {
        let mut value = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": self.metadata,
            "spec": self.spec,
            "status": self.status(node),
        });
        let metadata = child(&mut value, "metadata");
        metadata.insert("name".to_owned(), json!(self.name));
        metadata.insert("namespace".to_owned(), json!(self.namespace));
        metadata.insert("uid".to_owned(), json!(self.uid));
        metadata.insert("creationTimestamp".to_owned(), json!(self.created));
        if let Owner::Deployment { id, uid, .. } = &self.owner {
            let owner = json!([{
                "apiVersion": "apps/v1", "kind": id.kind, "name": id.name, "uid": uid,
                "controller": true, "blockOwnerDeletion": true,
            }]);
            metadata.insert("ownerReferences".to_owned(), owner);
        }
        if let Some(deletion) = &self.deletion {
            metadata.insert("deletionTimestamp".to_owned(), json!(deletion.timestamp));
            metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(deletion.grace_seconds));
        }
        value
    }

    fn status(&self, node: Dual) -> Value {
        let truth = |yes: bool| if yes { "True" } else { "False" };
        let started = self.phase != Phase::Pending;
        let mut status = json!({
            "phase": self.phase.as_str(),
            "podIP": self.address.v4,
            "podIPs": [{"ip": self.address.v4}, {"ip": self.address.v6}],
            "hostIP": node.v4,
            "hostIPs": [{"ip": node.v4}, {"ip": node.v6}],
            "startTime": self.created,
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Initialized", "status": truth(started)},
                {"type": "ContainersReady", "status": truth(self.ready)},
                {"type": "Ready", "status": truth(self.ready)},
            ],
            "containerStatuses": self.container_statuses(),
        });
        if let Some(message) = &self.message {
            status["message"] = json!(message);
        }
        status
    }

    fn container_statuses(&self) -> Vec<Value> {
        let containers = self.spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
        let one = |container: &Value| {
            let name = container["name"].as_str().unwrap_or_default();
            json!({
                "name": name,
                "image": container["image"],
                "ready": self.ready,
                "restartCount": self.restarts.get(name).copied().unwrap_or(0),
            })
        };
        containers.iter().map(one).collect()
    }

    /// `node-N`.
    pub(crate) fn node_name(&self) -> String {
        node_name(self.node)
    }
}
