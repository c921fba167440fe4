//! `weir.dev/v1alpha1`: policies that attach to Gateway API and core objects by `targetRefs` (GEP-713).

use kube::CustomResource;
use serde::{Deserialize, Serialize};

/// How traffic to a Service's endpoints is handled.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(group = "weir.dev", version = "v1alpha1", kind = "BackendPolicy", plural = "backendpolicies")]
#[kube(namespaced, status = "PolicyStatus", schema = "disabled", derive = "PartialEq", derive = "Default")]
#[serde(rename_all = "camelCase")]
pub struct BackendPolicySpec {
    pub target_refs: Vec<TargetRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
}

/// An object of the policy's own namespace.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TargetRef {
    #[serde(default)]
    pub group: String,
    pub kind: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// Limits on what one node has open towards the Service; what is left out is unlimited.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// L4 connections open at once; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
    /// Requests that may wait for one of `maxRequests` to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<i64>,
    /// Requests under way at once; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<i64>,
    /// Retries under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<i64>,
}

/// What the API server holds; it is never read, so its content is not typed.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct PolicyStatus {
    #[serde(default)]
    pub ancestors: Vec<serde_json::Value>,
}
