//! `weir.dev/v1alpha1` AddressPool: addresses that Gateways may have where nothing else in the cluster gives any.

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// Addresses of the nodes' network that nobody else uses.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(group = "weir.dev", version = "v1alpha1", kind = "AddressPool", plural = "addresspools")]
#[kube(status = "AddressPoolStatus", schema = "disabled", derive = "PartialEq", derive = "Default")]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolSpec {
    /// `10.0.0.0/28`, `10.0.0.16-10.0.0.31` or one address; IPv6 likewise.
    pub addresses: Vec<String>,
    /// What of those is never given, in the same forms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<String>,
}

/// What the API server holds; it is never read, so its content is not typed.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct AddressPoolStatus {
    #[serde(default)]
    pub conditions: Vec<serde_json::Value>,
}
