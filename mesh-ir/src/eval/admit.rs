//! Who may come in to a workload.

use crate::name::Identity;
use crate::resource::{Mode, Workload};

/// What is known of a peer when its connection arrives.
#[derive(Clone, Copy, Debug)]
pub enum Peer<'a> {
    /// Proven, by mutual TLS or by the kernel of the node that both run on.
    Identity(&'a Identity),
    /// Nothing, but the kernel knows that the node which the workload runs on sent it: its kubelet, above all. The
    /// pods on the node's own network are let in with it.
    OwnNode,
    /// Nothing.
    Plaintext,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the workload's namespace is in mode strict and the peer brought no mesh identity; put the peer into the mesh, or set weir.dev/mode: permissive"
    )]
    PlaintextInStrictMode,
}

/// Whether `workload` accepts a connection of `peer`. The probes of its own node's kubelet come in plaintext and are let
/// in even in strict mode: without them no pod would become ready.
pub fn admit(workload: &Workload, peer: Peer<'_>) -> Result<(), Refusal> {
    match (peer, workload.mode) {
        (Peer::Identity(_) | Peer::OwnNode, _) | (Peer::Plaintext, Mode::Permissive) => Ok(()),
        (Peer::Plaintext, Mode::Strict) => Err(Refusal::PlaintextInStrictMode),
    }
}
