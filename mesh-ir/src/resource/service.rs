//! Services: the addresses that clients dial, and what applies to all traffic for them.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tls::BackendTls;
use crate::name::ObjectName;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    pub name: ObjectName,
    /// Its ClusterIPs; none for a headless Service.
    pub addresses: Vec<IpAddr>,
    /// Its TCP ports, in order.
    pub ports: Vec<ServicePort>,
    /// Its UDP ports, in order. Only what comes in at Gateways goes there by way of the mesh.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub udp_ports: Vec<u16>,
    /// For how many seconds after its last use a client's address keeps its endpoint (`sessionAffinity: ClientIP`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<u32>,
    #[serde(default, skip_serializing_if = "TrafficPolicy::is_cluster")]
    pub internal_traffic_policy: TrafficPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreaker>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
}

/// One number is two ports, of TCP and of UDP, which have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// As Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    pub port: u16,
    /// Empty where the Service does not name it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub protocol: AppProtocol,
    /// How the application is spoken to in TLS; `None` where it is spoken to as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<BackendTls>,
}

/// Which endpoints traffic from inside the cluster may go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrafficPolicy {
    #[default]
    Cluster,
    /// Only to those on the client's own node.
    Local,
}

impl TrafficPolicy {
    fn is_cluster(&self) -> bool {
        *self == Self::Cluster
    }
}

/// What is spoken on a port, as `appProtocol` or the port's name declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppProtocol {
    /// Nothing is declared: the first bytes tell.
    Detect,
    /// HTTP/1.1; a client that begins with the HTTP/2 preface is served as HTTP/2.
    Http,
    /// HTTP/2 in clear text with prior knowledge (`kubernetes.io/h2c`, gRPC).
    Http2,
    /// Not to be looked into.
    Tcp,
}

/// Limits on what one node has open towards one Service; `None` is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// L4 connections open at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Requests that may wait for one of `max_requests` to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pending_requests: Option<u32>,
    /// Requests under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// Retries under way at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
}

/// How many retries one node may send to one Service (GEP-3388). One is sent where either half lets it through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryBudget {
    /// The share of the requests of the last `interval` that may be retries, from 0 to 100.
    pub percent: u8,
    pub interval: Duration,
    /// Retries within `min_interval` that are sent whatever their share.
    pub min_retries: u32,
    pub min_interval: Duration,
}
