//! External authorization: a server that is asked whether a request may go on (GEP-1494).

use serde::{Deserialize, Serialize};

use super::BackendTarget;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAuth {
    /// The server. One that cannot be resolved is answered for with 500.
    pub target: BackendTarget,
    pub protocol: AuthProtocol,
    /// Bytes of the longest body that the server is sent, with a request that has one; a request with a longer one is
    /// refused. Zero sends it none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_body: u32,
}

/// What is spoken to the server. Names of headers are in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum AuthProtocol {
    /// It is sent a request of the same method and path, and lets the request go on by answering 200.
    Http {
        /// Stands before the path. Empty, or with a slash before it and none behind.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        path_prefix: String,
        /// Of the request, beside those that it is always sent.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allowed_headers: Vec<String>,
        /// Of its answer, those that the request goes on with; empty stands for all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allowed_response_headers: Vec<String>,
    },
    /// Envoy's protocol: the call `envoy.service.auth.v3.Authorization/Check`.
    Grpc {
        /// Of the request; empty stands for all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        allowed_headers: Vec<String>,
    },
}

fn is_zero(bytes: &u32) -> bool {
    *bytes == 0
}
