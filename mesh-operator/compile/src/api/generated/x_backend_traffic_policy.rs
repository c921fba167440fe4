// Generated from sigs.k8s.io/gateway-api v1.7.0 by mesh-operator/compile/generate. Do not edit.
#[allow(unused_imports)]
mod prelude {
    pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
    pub use kube::CustomResource;
    pub use serde::{Deserialize, Serialize};
}

use self::prelude::*;
#[allow(unused_imports)]
use crate::api::reference::*;

#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[kube(
    group = "gateway.networking.x-k8s.io",
    version = "v1alpha1",
    kind = "XBackendTrafficPolicy",
    plural = "xbackendtrafficpolicies"
)]
#[kube(namespaced)]
#[kube(status = "XBackendTrafficPolicyStatus")]
#[kube(schema = "disabled")]
#[kube(derive = "PartialEq")]
#[kube(derive = "Default")]
pub struct XBackendTrafficPolicySpec {
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "retryConstraint")]
    pub retry_constraint: Option<XBackendTrafficPolicyRetryConstraint>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "sessionPersistence")]
    pub session_persistence: Option<super::http_route::HttpRouteRulesSessionPersistence>,
    #[serde(rename = "targetRefs")]
    pub target_refs: Vec<crate::api::policy::TargetRef>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct XBackendTrafficPolicyRetryConstraint {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<XBackendTrafficPolicyRetryConstraintBudget>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "minRetryRate")]
    pub min_retry_rate: Option<XBackendTrafficPolicyRetryConstraintMinRetryRate>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct XBackendTrafficPolicyRetryConstraintBudget {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<i64>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct XBackendTrafficPolicyRetryConstraintMinRetryRate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct XBackendTrafficPolicyStatus {
    pub ancestors: Vec<XBackendTrafficPolicyStatusAncestors>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct XBackendTrafficPolicyStatusAncestors {
    #[serde(rename = "ancestorRef")]
    pub ancestor_ref: ParentReference,
    pub conditions: Vec<Condition>,
    #[serde(rename = "controllerName")]
    pub controller_name: String,
}
