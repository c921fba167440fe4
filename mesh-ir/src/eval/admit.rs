//! Who may come in to a workload.

use crate::name::Identity;
use crate::resource::{Mode, Workload};

/// What is known of a peer when its connection arrives.
#[derive(Clone, Copy, Debug)]
pub enum Peer<'a> {
    /// Proven, by mutual TLS or by the kernel of the node that both run on.
    Identity(&'a Identity),
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

/// Whether `workload` accepts a connection of `peer`. What the workload's own node sends is not asked about: in every
/// mode it meets the application itself, for without its kubelet's probes no pod would become ready.
pub fn admit(workload: &Workload, peer: Peer<'_>) -> Result<(), Refusal> {
    match (peer, workload.mode) {
        (Peer::Identity(_), _) | (Peer::Plaintext, Mode::Permissive) => Ok(()),
        (Peer::Plaintext, Mode::Strict) => Err(Refusal::PlaintextInStrictMode),
    }
}
