//! Routes of every kind, normalised: which parents they are attached to, and their rules in order.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::name::{Hostname, ListenerName, ObjectName};
use crate::resource::{ExternalAuth, SessionPersistence};

use super::Transport;

/// In the order in which they go before each other on one port of a Service (GEP-1294).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RouteKind {
    Grpc,
    Http,
    Tls,
    Tcp,
    /// At Gateways alone: UDP between pods does not pass through the mesh.
    Udp,
}

impl RouteKind {
    pub const ALL: [Self; 5] = [Self::Grpc, Self::Http, Self::Tls, Self::Tcp, Self::Udp];

    /// The Kubernetes kind, as users know it.
    pub fn as_kind(self) -> &'static str {
        match self {
            Self::Grpc => "GRPCRoute",
            Self::Http => "HTTPRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
            Self::Udp => "UDPRoute",
        }
    }

    pub fn from_kind(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_kind() == kind)
    }

    /// Whether it routes requests; the others route connections, as a whole.
    pub fn is_of_requests(self) -> bool {
        matches!(self, Self::Grpc | Self::Http)
    }

    /// By what its backends are reached.
    pub fn transport(self) -> Transport {
        match self {
            Self::Grpc | Self::Http | Self::Tls | Self::Tcp => Transport::Tcp,
            Self::Udp => Transport::Udp,
        }
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteKey {
    pub kind: RouteKind,
    pub name: ObjectName,
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_kind(), self.name)
    }
}

impl fmt::Debug for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    pub key: RouteKey,
    /// Seconds since 1970, from creationTimestamp: of two routes that match alike the older one wins.
    pub created: i64,
    /// Only the parents that accepted it.
    pub parents: Vec<RouteParent>,
    pub rules: Vec<Rule>,
    /// The same rules as Gateways serve them, where that is not as the mesh does: a Gateway's backends need grants that the
    /// mesh's do not. None are the same ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateway_rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum RouteParent {
    Listener {
        gateway: ObjectName,
        listener: ListenerName,
        /// The intersection of the route's hostnames with the listener's; empty serves every hostname.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hostnames: Vec<ServedHostname>,
    },
    /// Traffic of mesh clients to a Service. A route in the Service's own namespace (a producer route) applies to
    /// all clients, one in another namespace (a consumer route) to the clients of its namespace, before the others.
    Service {
        service: ObjectName,
        /// `None` is every port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
    },
}

/// A hostname that a route serves at a listener.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ServedHostname {
    pub hostname: Hostname,
    /// The hostname as the route writes it, which the listener's may have narrowed; `None` where the route writes none.
    /// Of two routes that serve the same hostname the one that wrote the more specific one goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Hostname>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Alternatives. A route of requests has at least one (what matches everything is written out), one of connections
    /// none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<HttpMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<Backend>,
    #[serde(skip_serializing_if = "Timeouts::is_empty")]
    pub timeouts: Timeouts,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HttpMatch {
    pub path: PathMatch,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<QueryMatch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathMatch {
    Exact(String),
    /// By whole path elements: `/a` matches `/a` and `/a/b`, not `/ab`. No trailing slash, except `/` itself.
    Prefix(String),
    /// Matches the whole path.
    Regex(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderMatch {
    /// In lower case.
    pub name: String,
    pub value: ValueMatch,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryMatch {
    pub name: String,
    pub value: ValueMatch,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueMatch {
    Exact(String),
    /// Matches the whole value.
    Regex(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Filter {
    RequestHeaders(HeaderEdit),
    ResponseHeaders(HeaderEdit),
    Redirect(Redirect),
    Rewrite(Rewrite),
    Mirror(Mirror),
    Cors(Cors),
    ExternalAuth(ExternalAuth),
}

/// Applied in the order set, add, remove. Names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderEdit {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<(String, String)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    pub status: u16,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rewrite {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathRewrite>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathRewrite {
    ReplaceFullPath(String),
    /// Replaces what the rule's prefix match matched.
    ReplacePrefixMatch(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mirror {
    pub target: BackendTarget,
    /// The share of requests that is mirrored.
    pub fraction: Fraction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fraction {
    pub numerator: u32,
    /// Never zero.
    pub denominator: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    pub weight: u32,
    pub target: BackendTarget,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filters: Vec<Filter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionPersistence>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum BackendTarget {
    Service {
        service: ObjectName,
        port: u16,
    },
    /// The reference cannot be resolved: its share of the requests is answered 500 (GEP-1364).
    Invalid {
        /// What is wrong, for `weir explain` and the access log.
        reason: String,
    },
}

/// Which origins' scripts may use a response. In each list but that of the origins, `*` stands alone and for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Cors {
    /// `*`, or `scheme://host` with an optional port, where `*` may be the host's first label or all of it.
    pub allow_origins: Vec<String>,
    pub allow_credentials: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_methods: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// Seconds for which a browser may keep the answer to a preflight.
    pub max_age: u32,
}

/// `None` is unlimited (GEP-1742).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeouts {
    /// From the request's first byte to the response's last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Duration>,
    /// Of one attempt at a backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_request: Option<Duration>,
}

impl Timeouts {
    fn is_empty(&self) -> bool {
        self.request.is_none() && self.backend_request.is_none()
    }
}

/// When a request is sent to its backend again (GEP-1731): after a response with one of the codes, a connection that could not
/// be made, or a try that took longer than [`Timeouts::backend_request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<u16>,
    /// Beside the first try. Never zero.
    pub attempts: u32,
    /// About the wait before the first of them; each later wait is longer.
    pub backoff: Duration,
}
