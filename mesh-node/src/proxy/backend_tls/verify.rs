//! Whether a server is the application that a BackendTLSPolicy means: its certificate is signed by whom the policy trusts, and
//! is for one of the policy's subjectAltNames, or where it lists none for its hostname.

use std::sync::Arc;

use mesh_ir::name::Hostname;
use mesh_ir::resource::SubjectAltName;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::EndEntityCert;

#[derive(Debug)]
pub(super) struct Application {
    roots: Arc<RootCertStore>,
    names: Vec<SubjectAltName>,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug, thiserror::Error)]
#[error("its certificate is for {}, and none of the policy's subjectAltNames is among them", names.join(", "))]
struct OtherNames {
    names: Vec<String>,
}

impl Application {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        names: Vec<SubjectAltName>,
        provider: &CryptoProvider,
    ) -> Self {
        Self { roots, names, algorithms: provider.signature_verification_algorithms }
    }

    fn has_a_name(&self, parsed: &ParsedCertificate<'_>, der: &CertificateDer<'_>) -> Result<(), Error> {
        let certificate = EndEntityCert::try_from(der)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let is = |name: &SubjectAltName| match name {
            SubjectAltName::Hostname(Hostname::Exact(name)) => {
                ServerName::try_from(&**name).is_ok_and(|name| verify_server_name(parsed, &name).is_ok())
            }
            SubjectAltName::Hostname(wildcard) => certificate.valid_dns_names().any(|name| {
                let name = name.to_ascii_lowercase();
                wildcard.matches(&name) || wildcard.to_string() == name
            }),
            SubjectAltName::Uri(uri) => certificate.valid_uri_names().any(|name| name == uri),
        };
        if self.names.iter().any(is) {
            return Ok(());
        }
        let names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
        let error = OtherNames { names: names.map(Into::into).collect() };
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error)))))
    }
}

impl ServerCertVerifier for Application {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        match self.names.is_empty() {
            true => verify_server_name(&parsed, server_name)?,
            false => self.has_a_name(&parsed, end_entity)?,
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
