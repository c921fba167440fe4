//! TLS 1.3 configurations of the mesh, and who a connection's peer is.
//!
//! # Resumption
//!
//! A resumed session skips the certificate verifier: the peer is believed because an earlier handshake believed it. So
//! what was verified then must be what is demanded now, and it is, because sessions never leave their configuration:
//! - each client configuration has its own session cache and one expectation, so a session of one identity is never
//!   offered where another is expected;
//! - each server configuration has its own ticket keys, so tickets die with the bundle and client rule that they were
//!   issued under. Make a new configuration when the bundle or the SVID changes, and only then;
//! - a certificate that expired since the first handshake is found by [`peer_identity`], which every user of a
//!   connection calls, and which reads the certificate that the session carries.
//!
//! Tickets are good for twelve hours at most, and no longer than the SVID whose configuration issued them.
//!
//! A caller keeps one client configuration for each (SVID, expected identity) and uses it for all connections: making
//! one for each connection is correct but loses resumption.

use std::sync::{Arc, LazyLock};

use mesh_ir::name::Identity;
use rustls::client::{ClientSessionMemoryCache, Resumption, TicketRequest, Tls12Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, CommonState, ServerConfig};
use rustls_pki_types::UnixTime;

use crate::bundle::Bundle;
use crate::leaf::{Leaf, PeerError};
use crate::svid::Svid;
use crate::verify::{ClientVerifier, ServerVerifier};

/// How many sessions one client configuration keeps, eight a server address: enough for 64 replicas of a workload.
const CLIENT_SESSIONS: usize = 512;

/// How many tickets a client asks for with a full handshake, so that some connections beside each other resume its session. With a
/// resumed one it asks for the one that it used, since each ticket is made and read at the cost of a record.
const TICKETS: u8 = 4;

/// Whom a client expects to find. Whoever it is must be of the bundle's trust domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    Exactly(Identity),
    /// Any workload of the trust domain; [`peer_identity`] says which.
    AnyOfTrustDomain,
}

impl Expect {
    pub(crate) fn check(&self, identity: Identity) -> Result<Identity, PeerError> {
        match self {
            Self::Exactly(expected) if *expected != identity => {
                Err(PeerError::OtherIdentity { identity, expected: expected.clone() })
            }
            _ => Ok(identity),
        }
    }
}

/// What a server asks of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A client without a certificate is refused.
    Required,
    /// A client may have no certificate; one that it shows must be good.
    Optional,
}

/// A TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the TLS configuration: {0}")]
pub struct TlsError(#[from] rustls::Error);

/// A client that verifies servers by `bundle` and `expect` and shows `svid`, if any. `alpn` in order of preference.
pub fn client_config(
    svid: Option<&Svid>,
    bundle: &Arc<Bundle>,
    expect: Expect,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = ServerVerifier { bundle: bundle.clone(), expect };
    let builder = ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match svid {
        Some(svid) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(svid.certified_key())))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.enable_sni = false;
    config.send_ticket_request = Some(TicketRequest { new_session_count: TICKETS, resumption_count: 1 });
    config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(CLIENT_SESSIONS)))
        .tls12_resumption(Tls12Resumption::Disabled);
    Ok(Arc::new(config))
}

/// A server that shows `svid` and verifies clients by `bundle`. `alpn` in order of preference.
pub fn server_config(
    svid: &Svid,
    bundle: &Arc<Bundle>,
    alpn: &[&[u8]],
    client_auth: ClientAuth,
) -> Result<Arc<ServerConfig>, TlsError> {
    let verifier = ClientVerifier { bundle: bundle.clone(), client_auth };
    let mut config = ServerConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(svid.certified_key())));
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.max_tls13_tickets = usize::from(TICKETS);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The identity of the peer of a finished handshake, full or resumed; refused when its certificate is not valid `now`.
///
/// On a server whose clients may come without a certificate, [`PeerError::NoCertificate`] says that this one did.
pub fn peer_identity(connection: &CommonState, now: UnixTime) -> Result<Identity, PeerError> {
    let leaf =
        connection.peer_certificates().and_then(|chain| chain.first()).ok_or(PeerError::NoCertificate)?;
    let leaf = Leaf::read(leaf)?;
    leaf.check_time(now)?;
    Ok(leaf.identity)
}

/// The cryptography of the mesh: aws-lc-rs, TLS 1.3 suites, the post-quantum hybrid first. Of the suites the one comes first
/// whose hash processors compute by themselves: the schedule of keys is most of what a resumed handshake costs.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = aws_lc_rs::default_provider();
        provider.kx_groups = vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::SECP256R1,
        ];
        provider.cipher_suites = vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ];
        Arc::new(provider)
    });
    &PROVIDER
}
