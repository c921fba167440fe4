//! Certificates of Gateways, with their keys.

use mesh_ir::resource::Certificate;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the certificate chain is not PEM: {0}")]
    Chain(rustls_pki_types::pem::Error),
    #[error("the certificate chain is empty")]
    NoCertificate,
    #[error("the private key is not PEM: {0}")]
    Key(rustls_pki_types::pem::Error),
    #[error("the private key cannot be used, or does not belong to the certificate: {0}")]
    Unusable(rustls::Error),
}

/// A certificate ready to be shown.
pub fn certified_key(certificate: &Certificate) -> Result<CertifiedKey, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes()).collect();
    let chain = chain.map_err(CertificateError::Chain)?;
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    let key =
        PrivateKeyDer::from_pem_slice(certificate.key.expose().as_bytes()).map_err(CertificateError::Key)?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(CertificateError::Unusable)
}
