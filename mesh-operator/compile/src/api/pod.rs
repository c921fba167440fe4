//! What compiling reads of a Pod. A mesh has more of them than of anything else.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::metadata::Metadata;
use super::shared::{Labels, Text};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Written")]
pub struct Pod {
    pub metadata: Metadata,
    pub(crate) uid: Option<Arc<str>>,
    /// On a mirror Pod, what it says of its static Pod.
    pub(crate) mirrored: Option<Arc<str>>,
    /// False once it has ended, and as long as it has neither `spec` nor `status`.
    pub(crate) is_alive: bool,
    pub(crate) on_host_network: bool,
    /// What its condition of that name says.
    pub(crate) is_ready: bool,
    pub(crate) is_terminating: bool,
    pub(crate) node: Option<Text>,
    pub(crate) service_account: Option<Text>,
    pub(crate) addresses: Box<[IpAddr]>,
}

impl From<Written> for Pod {
    fn from(Written { metadata, spec, status }: Written) -> Self {
        let has_begun = spec.is_some() && status.is_some();
        let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
        let listed = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.as_deref()?.parse().ok());
        let mut addresses: Vec<IpAddr> = listed.collect();
        if addresses.is_empty() {
            addresses.extend(status.pod_ip.and_then(|ip| ip.parse::<IpAddr>().ok()));
        }
        Self {
            metadata: Metadata {
                name: metadata.name.unwrap_or_default(),
                namespace: metadata.namespace,
                labels: metadata.labels,
            },
            uid: metadata.uid,
            mirrored: metadata.annotations.and_then(|annotations| annotations.mirror),
            is_alive: has_begun && !matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            on_host_network: spec.host_network.unwrap_or(false),
            is_ready: status
                .conditions
                .iter()
                .flatten()
                .any(|c| &*c.r#type == "Ready" && &*c.status == "True"),
            is_terminating: metadata.deletion_timestamp.is_some(),
            node: spec.node_name,
            service_account: spec.service_account_name,
            addresses: addresses.into(),
        }
    }
}

/// As it stands in a manifest.
#[derive(Deserialize)]
struct Written {
    metadata: WrittenMetadata,
    spec: Option<WrittenSpec>,
    status: Option<WrittenStatus>,
}

#[derive(Deserialize)]
struct WrittenMetadata {
    name: Option<Arc<str>>,
    namespace: Option<Text>,
    uid: Option<Arc<str>>,
    #[serde(default)]
    labels: Labels,
    annotations: Option<Annotations>,
    #[serde(rename = "deletionTimestamp")]
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Annotations {
    // As `workload::MIRROR_ANNOTATION`.
    #[serde(rename = "kubernetes.io/config.mirror")]
    mirror: Option<Arc<str>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenSpec {
    node_name: Option<Text>,
    service_account_name: Option<Text>,
    host_network: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenStatus {
    phase: Option<Text>,
    #[serde(rename = "podIP")]
    pod_ip: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Option<Vec<WrittenIp>>,
    #[serde(default)]
    conditions: Option<Vec<WrittenCondition>>,
}

#[derive(Deserialize)]
struct WrittenCondition {
    r#type: Text,
    status: Text,
}

#[derive(Deserialize)]
struct WrittenIp {
    ip: Option<String>,
}
