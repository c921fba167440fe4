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
    group = "gateway.networking.k8s.io",
    version = "v1",
    kind = "TLSRoute",
    root = "TlsRoute",
    plural = "tlsroutes"
)]
#[kube(namespaced)]
#[kube(status = "TlsRouteStatus")]
#[kube(schema = "disabled")]
#[kube(derive = "PartialEq")]
#[kube(derive = "Default")]
pub struct TlsRouteSpec {
    pub hostnames: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "parentRefs")]
    pub parent_refs: Option<Vec<ParentReference>>,
    pub rules: Vec<TlsRouteRules>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "useDefaultGateways")]
    pub use_default_gateways: Option<TlsRouteUseDefaultGateways>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct TlsRouteRules {
    #[serde(rename = "backendRefs")]
    pub backend_refs: Vec<BackendReference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum TlsRouteUseDefaultGateways {
    All,
    None,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct TlsRouteStatus {
    pub parents: Vec<TlsRouteStatusParents>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct TlsRouteStatusParents {
    pub conditions: Vec<Condition>,
    #[serde(rename = "controllerName")]
    pub controller_name: String,
    #[serde(rename = "parentRef")]
    pub parent_ref: ParentReference,
}
