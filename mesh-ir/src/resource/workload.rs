//! Workloads (Pods, and endpoints that are none) and the nodes they run on.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::name::{NodeName, ObjectName, ServiceAccount, Uid, Zone};

use super::Transport;

/// A machine of the cluster. Its addresses are those from which its kubelet probes and its gateway proxy dials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub name: NodeName,
    pub addresses: Vec<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Zone>,
}

/// Something that has addresses, or is about to, and may serve: a Pod, or an endpoint that a user wrote by hand.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    pub uid: Uid,
    pub name: ObjectName,
    /// Where it runs, as far as that is known. For an endpoint that is no Pod, its EndpointSlice may say so; no node
    /// speaks for it.
    pub node: Option<NodeName>,
    /// None before a Pod's network has been made: then only its own node has to do with it.
    pub addresses: Vec<IpAddr>,
    pub service_account: ServiceAccount,
    /// Whether the mesh captures its traffic: then it has an identity, and is reached by mutual TLS.
    pub meshed: bool,
    pub mode: Mode,
    /// `Direct` where it is not meshed, and says nothing then.
    pub same_node: SameNode,
    /// The Services it is an endpoint of, in the order of their names.
    pub services: Vec<Membership>,
}

/// What a meshed workload does with a peer that brings no identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    #[default]
    Permissive,
    Strict,
}

/// How a workload and another one of its node reach each other, from the least strict to the strictest: of what the two
/// say the stricter applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SameNode {
    /// Joined inside the node's proxy.
    #[default]
    Direct,
    /// In clear over the pod network, where NetworkPolicies are enforced.
    Network,
    /// By mutual TLS over the pod network, as if they ran on two nodes.
    Encrypt,
}

/// That a workload serves a Service, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    pub service: ObjectName,
    pub ports: Vec<PortPair>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub udp_ports: Vec<PortPair>,
    pub health: Health,
    #[serde(default, skip_serializing_if = "Hints::is_empty")]
    pub hints: Hints,
}

/// Whose clients an endpoint is meant for, as its EndpointSlice says (`trafficDistribution` of the Service); nothing
/// is for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hints {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub for_nodes: Vec<NodeName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub for_zones: Vec<Zone>,
}

impl Hints {
    fn is_empty(&self) -> bool {
        self.for_nodes.is_empty() && self.for_zones.is_empty()
    }
}

/// A Service's port and the port of the workload that stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortPair {
    pub port: u16,
    pub target: u16,
}

/// An endpoint's conditions, as EndpointSlices give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    Ready,
    /// Serving though terminating: used only when no endpoint is ready.
    Draining,
    Unready,
}

impl Membership {
    pub fn ports_of(&self, transport: Transport) -> &[PortPair] {
        match transport {
            Transport::Tcp => &self.ports,
            Transport::Udp => &self.udp_ports,
        }
    }
}
