//! What TLS is ended with at Gateways: which certificate is shown to a client, and what the client must prove.
//!
//! A session that is resumed is not verified again by rustls. So sessions end with what clients had to prove when they began:
//! a configuration, with the key of its tickets, belongs to one [`ClientValidation`]. What has expired meanwhile is looked at
//! again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_ir::name::ObjectName;
use mesh_ir::resource::{ClientValidation, Resource, ResourceKey};
use mesh_ir::view::MeshView;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoClientAuth, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, DigitallySignedStruct, DistinguishedName, Error, HandshakeKind, ServerConfig,
    ServerConnection, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::certificate::certified_key;
use crate::proxy::backend_tls::{RootsError, roots};
use crate::state::State;

#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum ConfigError {
    #[error(transparent)]
    Roots(#[from] RootsError),
    #[error("clients cannot be verified: {0}")]
    Verifier(#[from] VerifierBuilderError),
    #[error(transparent)]
    Tls(#[from] Error),
}

/// The TLS configurations of a worker's Gateway ports, for requests and for whole connections. They stay while the
/// certificates behind them change, and with them the sessions that clients may resume.
#[derive(Debug, Default)]
pub(in crate::proxy) struct TlsConfigs(HashMap<(u16, bool), TlsConfig>);

#[derive(Clone, Debug)]
pub(super) struct TlsConfig {
    pub(super) server: Arc<ServerConfig>,
    validation: Option<Arc<ClientValidation>>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl TlsConfigs {
    /// The one of a port, which is made if there is none that asks clients for this.
    pub(super) fn of(
        &mut self,
        (target_port, of_requests): (u16, bool),
        validation: Option<&Arc<ClientValidation>>,
        certificates: impl FnOnce() -> Arc<dyn ResolvesServerCert>,
    ) -> Result<TlsConfig, ConfigError> {
        let same = |config: &&TlsConfig| match (&config.validation, validation) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            (a, b) => a.is_none() && b.is_none(),
        };
        if let Some(config) = self.0.get(&(target_port, of_requests)).filter(same) {
            return Ok(config.clone());
        }
        let config = TlsConfig::new(certificates(), validation, of_requests)?;
        self.0.insert((target_port, of_requests), config.clone());
        Ok(config)
    }

    pub(in crate::proxy) fn forget(&mut self, target_port: u16) {
        self.0.retain(|(port, _), _| *port != target_port);
    }
}

impl TlsConfig {
    fn new(
        certificates: Arc<dyn ResolvesServerCert>,
        validation: Option<&Arc<ClientValidation>>,
        of_requests: bool,
    ) -> Result<Self, ConfigError> {
        let provider = Arc::new(provider());
        let verifier: Arc<dyn ClientCertVerifier> = match validation {
            None => Arc::new(NoClientAuth),
            Some(validation) if validation.allow_insecure => Arc::new(AnyClient(provider.clone())),
            Some(validation) => {
                let roots = Arc::new(roots(&validation.authorities)?);
                WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?
            }
        };
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(verifier.clone())
            .with_cert_resolver(certificates);
        if of_requests {
            server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        server.ignore_client_order = true;
        server.ticketer = aws_lc_rs::Ticketer::new()?;
        Ok(Self { server: Arc::new(server), validation: validation.cloned(), verifier })
    }

    /// Whether the client of a session that was resumed would still be let in.
    pub(super) fn check_resumed(&self, connection: &ServerConnection) -> Result<(), Error> {
        let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
        if !(resumed && self.verifier.client_auth_mandatory()) {
            return Ok(());
        }
        let chain = connection.peer_certificates().unwrap_or_default();
        let (leaf, intermediates) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        self.verifier.verify_client_cert(leaf, intermediates, UnixTime::now()).map(|_| ())
    }
}

/// The cryptography of Gateways, as BoringSSL and Go choose it too: of the suites that a client offers not the one that it names
/// first, but one with AES-128 and SHA-256. Both keys are beyond any search, and processors compute this hash by themselves,
/// which is a third of what a handshake costs.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| {
        !matches!(
            suite.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    });
    provider
}

/// Lets every client in, whatever its certificate (mode AllowInsecureFallback); that it has the key to it is looked at.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A client that sorts its certificates by these would show none, where any will do.
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Shows the certificate of the listener that the client's SNI chooses.
#[derive(Debug)]
pub(super) struct BySni {
    state: Arc<State>,
    target_port: u16,
    /// The certificates in use, each with the resource that it was made of.
    prepared: Mutex<HashMap<ObjectName, Prepared>>,
}

type Prepared = (Arc<Resource>, Arc<CertifiedKey>);

impl BySni {
    pub(super) fn new(state: &Arc<State>, target_port: u16) -> Self {
        Self { state: state.clone(), target_port, prepared: Mutex::default() }
    }

    fn certificate(&self, view: &MeshView, name: &ObjectName) -> Option<Arc<CertifiedKey>> {
        let resource = view.config().resources.get(&ResourceKey::Certificate(name.clone()))?;
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_of, key)) = prepared.get(name)
            && Arc::ptr_eq(made_of, resource)
        {
            return Some(key.clone());
        }
        let Resource::Certificate(certificate) = &**resource else { return None };
        let key = Arc::new(certified_key(certificate).ok()?);
        prepared
            .retain(|name, _| view.config().resources.contains_key(&ResourceKey::Certificate(name.clone())));
        prepared.insert(name.clone(), (resource.clone(), key.clone()));
        Some(key)
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let view = self.state.view.load();
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let listener = view.gateway_port(self.target_port)?.listener(name.as_deref())?;
        let usable = listener.protocol.certificates().iter().filter_map(|name| self.certificate(&view, name));
        let mut fitting = usable.filter(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        fitting.next()
    }
}

#[cfg(test)]
mod tests;
