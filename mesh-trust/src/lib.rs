//! Trust between the mesh's programs and workloads: SPIFFE identities on X.509, rustls configurations that verify them,
//! and the client that gets certificates from the cert-authority and renews them. It holds no policy (who may talk to
//! whom) and no configuration of the mesh.
//!
//! The pieces, from the bottom up:
//! - [`Bundle`] and [`Svid`]: whom we believe, and who we are;
//! - [`client_config`] and [`server_config`]: TLS 1.3 that verifies identities and nothing else, [`peer_identity`]: whom
//!   a finished handshake proved;
//! - [`serve_incoming`] and [`connect`]: the same for gRPC with tonic; a [`Remote`] is where to;
//! - [`CertificateClient`]: SVIDs from the cert-authority, kept fresh.

mod bundle;
mod client;
mod connect;
mod leaf;
mod program;
mod remote;
mod renew;
mod roots;
mod serve;
mod svid;
mod task;
mod tls;
mod verify;

pub use bundle::{Bundle, BundleError};
pub use client::{CertificateClient, ObtainError, OpenError, Settings};
pub use connect::{ConnectError, connect, connect_lazily, connect_tls, server_name};
pub use leaf::{Leaf, PeerError};
pub use program::Program;
pub use remote::{Remote, RemoteError};
pub use renew::Renewing;
pub use roots::BundleFileError;
pub use serve::{AcceptLimits, Peer, TlsConnection, serve_incoming};
pub use svid::{Svid, SvidError};
pub use tls::{ClientAuth, Expect, TlsError, client_config, peer_identity, server_config};
pub use verify::{handshake_problem, verify_chain};

/// The gRPC messages, client and server of the certificate service (`proto/certificates.proto`).
#[allow(missing_debug_implementations, unreachable_pub)]
pub mod api {
    tonic::include_proto!("weir.certificates.v1alpha1");
}
