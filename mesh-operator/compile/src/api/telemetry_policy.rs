//! `gateway.networking.x-k8s.io/v1alpha1`: XTelemetryPolicy, as Gateway API v1.7.0 publishes it in its experimental channel.

use kube::CustomResource;
use mesh_ir::resource::Secret;
use serde::{Deserialize, Serialize};

pub use super::generated::http_route::HttpRouteRulesFiltersExternalAuthBackendRef as BackendRef;
use super::policy::PolicyStatus;

/// What is told of the traffic of Gateways.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(group = "gateway.networking.x-k8s.io", version = "v1alpha1", kind = "XTelemetryPolicy")]
#[kube(root = "TelemetryPolicy", plural = "xtelemetrypolicies")]
#[kube(namespaced, status = "PolicyStatus", schema = "disabled", derive = "PartialEq", derive = "Default")]
#[serde(rename_all = "camelCase")]
pub struct TelemetryPolicySpec {
    #[serde(default)]
    pub target_refs: Vec<LocalTargetRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,
}

/// An object of the policy's own namespace, as a whole.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct LocalTargetRef {
    pub group: String,
    pub kind: String,
    pub name: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    #[serde(default)]
    pub mode: Mode,
    /// Only in mode Enabled, as everything that follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling_rate: Option<Fraction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_based_sampling: Option<ParentBasedSampling>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Vec<Attribute>>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    Enabled,
    Disabled,
    #[default]
    ImplementationDefault,
}

/// What spans are exported to.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Provider {
    pub backend_ref: BackendRef,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<Vec<Header>>,
}

/// Its value may be a token.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Header {
    pub name: String,
    pub value: Secret,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
pub struct Fraction {
    pub numerator: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denominator: Option<i32>,
}

#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ParentBasedSampling {
    #[serde(default)]
    pub mode: Mode,
    /// Only in mode Enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampling_rate: Option<Fraction>,
}

/// Of `headerName`, `literalValue` and `attributeKey` it has the one that its source needs.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Attribute {
    pub name: String,
    pub source_type: SourceType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub literal_value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribute_key: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceType {
    Attribute,
    Header,
    Literal,
}
