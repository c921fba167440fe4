//! How one workload reaches another.

use std::net::IpAddr;

use crate::name::{Identity, TrustDomain, Uid};
use crate::resource::{SameNode, Workload};

/// The way to a workload, with whom it must prove to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Joined by the node that both ends are on, which knows who they are.
    WithinNode(Identity),
    /// In clear over the pod network of the node that both ends are on, which knows who they are.
    PodNetwork(Identity),
    MutualTls(Identity),
    /// To one outside of the mesh.
    Plaintext,
}

impl Reach {
    /// For logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WithinNode(_) => "node",
            Self::PodNetwork(_) => "pod_network",
            Self::MutualTls(_) => "mutual_tls",
            Self::Plaintext => "none",
        }
    }

    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::WithinNode(identity) | Self::PodNetwork(identity) | Self::MutualTls(identity) => {
                Some(identity)
            }
            Self::Plaintext => None,
        }
    }
}

/// Who dials.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// A node's proxy, for a Gateway. NetworkPolicies let a pod's own node in, so it never needs the pod network.
    Gateway,
    /// A meshed workload, and what it says of others on its node.
    Workload(&'a Uid, SameNode),
}

/// How `workload` is reached by a source whose proxy is on the same node or not.
pub fn reach(source: Source<'_>, workload: &Workload, trust_domain: &TrustDomain, same_node: bool) -> Reach {
    let Some(identity) = workload.identity(trust_domain) else { return Reach::Plaintext };
    if !same_node {
        return Reach::MutualTls(identity);
    }
    match source {
        // What a pod sends to itself never leaves it, and no NetworkPolicy can forbid it.
        Source::Workload(uid, _) if *uid == workload.uid => Reach::WithinNode(identity),
        Source::Workload(_, own) => match own.max(workload.same_node) {
            SameNode::Direct => Reach::WithinNode(identity),
            SameNode::Network => Reach::PodNetwork(identity),
            SameNode::Encrypt => Reach::MutualTls(identity),
        },
        Source::Gateway => match workload.same_node {
            SameNode::Direct | SameNode::Network => Reach::WithinNode(identity),
            SameNode::Encrypt => Reach::MutualTls(identity),
        },
    }
}

/// The workload's address to dial: of a family that the client `has`, and of the preferred one where it can be.
pub fn address(workload: &Workload, has: impl Fn(bool) -> bool, prefer_v6: bool) -> Option<IpAddr> {
    let reachable = || workload.addresses.iter().copied().filter(|address| has(address.is_ipv6()));
    reachable().find(|address| address.is_ipv6() == prefer_v6).or_else(|| reachable().next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use SameNode::{Direct, Encrypt, Network};

    fn workload(uid: &str, meshed: bool, same_node: SameNode) -> Workload {
        Workload {
            uid: Uid::new(uid).unwrap(),
            name: crate::name::ObjectName::new("shop", uid).unwrap(),
            node: None,
            addresses: vec![],
            service_account: crate::name::ServiceAccount::new("cart").unwrap(),
            meshed,
            mode: crate::resource::Mode::Strict,
            same_node,
            services: vec![],
        }
    }

    #[test]
    fn reach_of_a_pair_is_what_the_stricter_end_says() {
        let domain: TrustDomain = "cluster.local".parse().unwrap();
        let name = |source: Source<'_>, to: &Workload, here: bool| reach(source, to, &domain, here).name();
        let own = Uid::new("a").unwrap();
        let check = |from: SameNode, to: SameNode, expected: &str| {
            let source = Source::Workload(&own, from);
            let (other, itself) = (workload("b", true, to), workload("a", true, to));
            assert_eq!(name(source, &other, true), expected, "{from:?} {to:?}");
            assert_eq!(name(source, &other, false), "mutual_tls", "{from:?} {to:?}, on another node");
            assert_eq!(name(source, &workload("b", false, to), true), "none", "{from:?} {to:?}, not meshed");
            assert_eq!(name(source, &itself, true), "node", "{from:?} {to:?}, to itself");
        };
        check(Direct, Direct, "node");
        check(Direct, Network, "pod_network");
        check(Network, Direct, "pod_network");
        check(Network, Network, "pod_network");
        for other in [Direct, Network, Encrypt] {
            check(other, Encrypt, "mutual_tls");
            check(Encrypt, other, "mutual_tls");
        }
        for (to, expected) in [(Direct, "node"), (Network, "node"), (Encrypt, "mutual_tls")] {
            assert_eq!(name(Source::Gateway, &workload("b", true, to), true), expected, "{to:?}");
            assert_eq!(name(Source::Gateway, &workload("b", true, to), false), "mutual_tls", "{to:?}");
        }
    }
}
