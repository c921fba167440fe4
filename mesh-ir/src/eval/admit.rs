//! Who may come in to a workload.

use std::net::IpAddr;

use crate::name::Identity;
use crate::resource::{Mode, Workload};
use crate::view::MeshView;

/// What is known of a peer when its connection arrives.
#[derive(Clone, Copy, Debug)]
pub enum Peer<'a> {
    /// Proven, by mutual TLS or by the kernel of the node that both run on.
    Identity(&'a Identity),
    /// Nothing but an address.
    Plaintext(IpAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the workload's namespace is in mode strict and the peer brought no mesh identity; put the peer into the mesh, or set weir.dev/mode: permissive"
    )]
    PlaintextInStrictMode,
}

/// Whether `workload` accepts a connection of `peer`. The probes of its own node's kubelet come in plaintext and
/// are let in even in strict mode: without them no pod would become ready.
pub fn admit(view: &MeshView, workload: &Workload, peer: Peer<'_>) -> Result<(), Refusal> {
    match (peer, workload.mode) {
        (Peer::Identity(_), _) | (Peer::Plaintext(_), Mode::Permissive) => Ok(()),
        (Peer::Plaintext(address), Mode::Strict) => {
            let own_node = view.node(address).is_some_and(|node| workload.node.as_ref() == Some(node));
            if own_node { Ok(()) } else { Err(Refusal::PlaintextInStrictMode) }
        }
    }
}
