//! How a Gateway's requests are traced (XTelemetryPolicy): which of them, what is said of each, and to whom.

use serde::{Deserialize, Serialize};

use super::{Fraction, Secret};
use crate::name::ObjectName;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// The XTelemetryPolicy that says all this.
    pub policy: ObjectName,
    pub collector: Collector,
    /// Of the requests whose client has not decided for them.
    pub sampling: Fraction,
    /// Of the requests that their client samples; those that it does not sample are not sampled here either. `None` decides
    /// by `sampling`, whatever the client says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_based: Option<Fraction>,
    /// `service.name` of the spans' resource.
    pub service_name: String,
    /// What the span of a request is called; `None` is after its method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_name: Option<String>,
    /// What every span says beside what all spans do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<SpanAttribute>,
}

/// A Service that takes spans, by OTLP over gRPC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collector {
    pub service: ObjectName,
    pub port: u16,
    /// What is sent with each call; their names are in lower case. The values may be tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, Secret)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanAttribute {
    pub name: String,
    pub value: AttributeValue,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AttributeValue {
    /// Of the request's header of this name; a request without it has no such attribute.
    Header(String),
    Literal(String),
    Known(KnownAttribute),
}

macro_rules! known_attributes {
    ($($variant:ident, $key:literal;)*) => {
        /// What OpenTelemetry's semantic conventions have a name for, and is known of a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum KnownAttribute {
            $(#[serde(rename = $key)] $variant,)*
        }

        impl KnownAttribute {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As the conventions call it.
            pub fn key(self) -> &'static str {
                match self {
                    $(Self::$variant => $key,)*
                }
            }
        }
    };
}

known_attributes! {
    ClientAddress, "client.address";
    ClientPort, "client.port";
    HttpRequestMethod, "http.request.method";
    HttpResponseStatusCode, "http.response.status_code";
    NetworkPeerAddress, "network.peer.address";
    NetworkPeerPort, "network.peer.port";
    NetworkProtocolName, "network.protocol.name";
    NetworkProtocolVersion, "network.protocol.version";
    NetworkTransport, "network.transport";
    ServerAddress, "server.address";
    ServerPort, "server.port";
    UrlPath, "url.path";
    UrlQuery, "url.query";
    UrlScheme, "url.scheme";
    UserAgentOriginal, "user_agent.original";
}

impl KnownAttribute {
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.key() == key)
    }
}
