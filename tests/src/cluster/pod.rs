//! Pods as the API server describes them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;

#[derive(Clone, Debug)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// Empty until it has one.
    pub node: String,
    pub address: Option<IpAddr>,
    /// Whether it is being deleted.
    pub ending: bool,
    /// By their names.
    pub containers: BTreeMap<String, Container>,
}

#[derive(Clone, Debug)]
pub struct Container {
    /// As the node's runtime calls it; empty before its first start.
    pub id: String,
    pub ready: bool,
    pub restarts: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    namespace: String,
    name: String,
    uid: String,
    deletion_timestamp: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    node_name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(rename = "podIP")]
    pod_ip: Option<IpAddr>,
    #[serde(default)]
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    name: String,
    #[serde(rename = "containerID", default)]
    id: String,
    ready: bool,
    restart_count: u64,
}

impl Pod {
    pub(super) fn list(list: &Value) -> Result<Vec<Self>, Error> {
        let items = list["items"].as_array().into_iter().flatten();
        items.map(Self::read).collect()
    }

    pub(super) fn read(object: &Value) -> Result<Self, Error> {
        let Object { metadata, spec, status } =
            Object::deserialize(object).map_err(|error| Error::unreadable("a pod", error))?;
        let containers = status.container_statuses.into_iter().map(|container| {
            // containerd://ID
            let id = container.id.rsplit('/').next().unwrap_or_default().to_owned();
            let read = Container { id, ready: container.ready, restarts: container.restart_count };
            (container.name, read)
        });
        Ok(Self {
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            node: spec.node_name,
            address: status.pod_ip,
            ending: metadata.deletion_timestamp.is_some(),
            containers: containers.collect(),
        })
    }

    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub fn restarts(&self) -> u64 {
        self.containers.values().map(|container| container.restarts).sum()
    }
}
