//! The mesh's resources: flat, keyed, and pointing up (a workload names its Services, a route its parents), so
//! that one edit of a user's is one small message to a node. What was wrong in the input is in here too, as an
//! answer to give: a resource is always complete and safe to serve.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::{NameError, ObjectName, Uid};

pub mod gateway;
pub mod route;
pub mod service;
pub mod session;
pub mod tls;
pub mod workload;

pub use gateway::{Certificate, Gateway, Listener, ListenerProtocol, PrivateKey};
pub use route::{
    Backend, BackendTarget, Cors, Filter, Fraction, HeaderEdit, HeaderMatch, HttpMatch, Mirror, PathMatch,
    PathRewrite, QueryMatch, Redirect, Retry, Rewrite, Route, RouteKey, RouteKind, RouteParent, Rule,
    ServedHostname, Timeouts, ValueMatch,
};
pub use service::{AppProtocol, CircuitBreaker, RetryBudget, Service, ServicePort, TrafficPolicy, Transport};
pub use session::{SessionCarrier, SessionPersistence};
pub use tls::{BackendTls, ClientCertificate, ClientValidation, SubjectAltName, TlsClient, Trust};
pub use workload::{Health, Hints, Membership, Mode, Node, PortPair, SameNode, Workload};

/// What a resource is called across the mesh. The order of the variants is the order in which a full
/// configuration is sent: what others point to comes first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ResourceKey {
    Node(crate::name::NodeName),
    Service(ObjectName),
    Workload(Uid),
    Certificate(ObjectName),
    Gateway(ObjectName),
    Route(RouteKey),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum Resource {
    Node(Node),
    Service(Service),
    Workload(Workload),
    Certificate(Certificate),
    Gateway(Gateway),
    Route(Route),
}

impl Resource {
    pub fn key(&self) -> ResourceKey {
        match self {
            Self::Node(node) => ResourceKey::Node(node.name.clone()),
            Self::Service(service) => ResourceKey::Service(service.name.clone()),
            Self::Workload(workload) => ResourceKey::Workload(workload.uid.clone()),
            Self::Certificate(certificate) => ResourceKey::Certificate(certificate.name.clone()),
            Self::Gateway(gateway) => ResourceKey::Gateway(gateway.name.clone()),
            Self::Route(route) => ResourceKey::Route(route.key.clone()),
        }
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "Node {name}"),
            Self::Service(name) => write!(f, "Service {name}"),
            Self::Workload(uid) => write!(f, "Workload {uid}"),
            Self::Certificate(name) => write!(f, "Certificate {name}"),
            Self::Gateway(name) => write!(f, "Gateway {name}"),
            Self::Route(key) => write!(f, "{key}"),
        }
    }
}

impl fmt::Debug for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::str::FromStr for ResourceKey {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let unknown = || NameError {
            kind: "resource key",
            text: text.chars().take(256).collect(),
            problem: "it does not begin with a kind of resource that this version knows",
        };
        let (kind, name) = text.split_once(' ').ok_or_else(unknown)?;
        Ok(match kind {
            "Node" => Self::Node(name.parse()?),
            "Service" => Self::Service(name.parse()?),
            "Workload" => Self::Workload(name.parse()?),
            "Certificate" => Self::Certificate(name.parse()?),
            "Gateway" => Self::Gateway(name.parse()?),
            _ => {
                let kind = RouteKind::from_kind(kind).ok_or_else(unknown)?;
                Self::Route(RouteKey { kind, name: name.parse()? })
            }
        })
    }
}

impl TryFrom<String> for ResourceKey {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ResourceKey> for String {
    fn from(key: ResourceKey) -> Self {
        key.to_string()
    }
}
