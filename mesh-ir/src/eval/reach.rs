//! How one workload reaches another.

use std::net::IpAddr;

use crate::name::{Identity, TrustDomain};
use crate::resource::{SameNode, Workload};

/// The way to a workload, with whom it must prove to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Joined by the node that both ends are on, which knows who they are.
    WithinNode(Identity),
    MutualTls(Identity),
    /// To one outside of the mesh.
    Plaintext,
}

impl Reach {
    /// For logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WithinNode(_) => "node",
            Self::MutualTls(_) => "mutual_tls",
            Self::Plaintext => "none",
        }
    }

    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::WithinNode(identity) | Self::MutualTls(identity) => Some(identity),
            Self::Plaintext => None,
        }
    }
}

/// How `workload` is reached by a proxy that is on the same node or not.
pub fn reach(workload: &Workload, trust_domain: &TrustDomain, same_node: bool) -> Reach {
    match (workload.identity(trust_domain), workload.same_node) {
        (None, _) => Reach::Plaintext,
        (Some(identity), SameNode::Direct) if same_node => Reach::WithinNode(identity),
        (Some(identity), _) => Reach::MutualTls(identity),
    }
}

/// The workload's address to dial: of a family that the client `has`, and of the preferred one where it can be.
pub fn address(workload: &Workload, has: impl Fn(bool) -> bool, prefer_v6: bool) -> Option<IpAddr> {
    let reachable = || workload.addresses.iter().copied().filter(|address| has(address.is_ipv6()));
    reachable().find(|address| address.is_ipv6() == prefer_v6).or_else(|| reachable().next())
}
