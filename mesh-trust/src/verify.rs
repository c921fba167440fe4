//! The verifier that both ends' TLS configurations use: a chain to the bundle, one SPIFFE ID, the expected one. No DNS
//! name takes part: a workload's name in the mesh is its identity, and its addresses prove nothing.

use std::io;
use std::sync::Arc;

use mesh_ir::name::Identity;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::bundle::Bundle;
use crate::leaf::{Leaf, PeerError};
use crate::tls::{ClientAuth, Expect, provider};

/// Verifies that `end_entity` is a workload's certificate that chains to `bundle`, and says whose.
///
/// `usage` is the TLS role that the certificate must serve where it names any (extended key usage).
pub fn verify_chain(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    bundle: &Bundle,
    usage: KeyUsage,
    now: UnixTime,
) -> Result<Identity, PeerError> {
    let leaf = Leaf::read(end_entity)?;
    let identity = leaf.identity.clone();
    if identity.trust_domain != *bundle.trust_domain() {
        return Err(PeerError::OtherTrustDomain { identity, expected: bundle.trust_domain().clone() });
    }
    leaf.check_time(now)?;
    let untrusted = |source| PeerError::Untrusted { identity: identity.clone(), source };
    let certificate = EndEntityCert::try_from(end_entity).map_err(untrusted)?;
    certificate
        .verify_for_usage(
            algorithms().all,
            bundle.anchors(),
            intermediates,
            now,
            usage,
            None,
            Some(&intermediates_may_sign),
        )
        .map_err(untrusted)?;
    Ok(identity)
}

/// webpki demands basicConstraints of an intermediate but does not look at its key usage; X509-SVID section 5.1 does.
fn intermediates_may_sign(path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
    for intermediate in path.intermediate_certificates() {
        let der = intermediate.der();
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| webpki::Error::BadDer)?;
        let may_sign = parsed
            .key_usage()
            .map_err(|_| webpki::Error::BadDer)?
            .is_some_and(|usage| usage.value.key_cert_sign());
        if !may_sign {
            return Err(webpki::Error::EndEntityUsedAsCa);
        }
    }
    Ok(())
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider().signature_verification_algorithms
}

/// Verifies servers' certificates.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) expect: Expect,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let identity = verify_chain(end_entity, intermediates, &self.bundle, KeyUsage::server_auth(), now)
            .map_err(invalid)?;
        self.expect.check(identity).map_err(invalid)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Verifies clients' certificates.
#[derive(Debug)]
pub(crate) struct ClientVerifier {
    pub(crate) bundle: Arc<Bundle>,
    pub(crate) client_auth: ClientAuth,
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        matches!(self.client_auth, ClientAuth::Required)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A mesh client has one certificate; hints would only lengthen the handshake.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        verify_chain(end_entity, intermediates, &self.bundle, KeyUsage::client_auth(), now)
            .map_err(invalid)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// A failed handshake in words for a person. rustls shows an error of the verifier in its `Debug` form; this finds it
/// and shows its message.
pub fn handshake_problem(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        Some(Error::InvalidCertificate(CertificateError::Other(OtherError(cause)))) => cause.to_string(),
        _ => error.to_string(),
    }
}

fn only_tls13() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered)
}

/// Chooses the alert that the peer gets; the words of `error` stay on this side.
fn invalid(error: PeerError) -> Error {
    Error::InvalidCertificate(match error {
        PeerError::Expired(_) => CertificateError::Expired,
        PeerError::NotYetValid(_) => CertificateError::NotValidYet,
        PeerError::Malformed(_) => CertificateError::BadEncoding,
        PeerError::Untrusted { source: webpki::Error::UnknownIssuer, .. } => CertificateError::UnknownIssuer,
        error => CertificateError::Other(OtherError(Arc::new(error))),
    })
}
