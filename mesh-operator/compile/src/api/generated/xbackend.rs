// Generated from sigs.k8s.io/gateway-api v1.7.0 by mesh-operator/compile/generate. Do not edit.
#[allow(unused_imports)]
mod prelude {
    pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
    pub use kube::CustomResource;
    pub use serde::{Deserialize, Serialize};
    pub use std::collections::BTreeMap;
}

use self::prelude::*;
#[allow(unused_imports)]
use crate::api::reference::*;

#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(group = "gateway.networking.x-k8s.io", version = "v1alpha1", kind = "XBackend", plural = "xbackends")]
#[kube(namespaced)]
#[kube(status = "XBackendStatus")]
#[kube(schema = "disabled")]
#[kube(derive = "PartialEq")]
pub struct XBackendSpec {
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "endpointSelector")]
    pub endpoint_selector: Option<XBackendEndpointSelector>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "externalHostname")]
    pub external_hostname: Option<XBackendExternalHostname>,
    pub port: XBackendPort,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<XBackendProtocol>,
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "sessionPersistence")]
    pub session_persistence: Option<super::http_route::HttpRouteRulesSessionPersistence>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<XBackendTls>,
    #[serde(rename = "type")]
    pub r#type: XBackendType,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct XBackendEndpointSelector {
    #[serde(rename = "matchLabels")]
    pub match_labels: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct XBackendExternalHostname {
    pub hostname: String,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct XBackendPort {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<i32>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum XBackendProtocol {
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "HTTP")]
    Http,
    #[serde(rename = "HTTP2")]
    Http2,
    #[serde(rename = "HTTP11")]
    Http11,
    H2C,
    #[serde(rename = "MCP")]
    Mcp,
    #[serde(rename = "GRPC")]
    Grpc,
    #[serde(rename = "WSS")]
    Wss,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct XBackendTls {
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "clientCertificateRef")]
    pub client_certificate_ref: Option<super::gateway::GatewayListenersTlsCertificateRefs>,
    pub mode: XBackendTlsMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<super::backend_tls_policy::BackendTlsPolicyValidation>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum XBackendTlsMode {
    None,
    ServerOnly,
    ClientAndServer,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub enum XBackendType {
    ExternalHostname,
    EndpointSelector,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct XBackendStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ancestors: Option<Vec<XBackendStatusAncestors>>,
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct XBackendStatusAncestors {
    #[serde(rename = "ancestorRef")]
    pub ancestor_ref: ParentReference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Condition>>,
    #[serde(rename = "controllerName")]
    pub controller_name: String,
}
