//! Reads a certificate authority's certificate and key, ours or one that a person gave.

use std::time::{Duration, SystemTime};

use mesh_ir::name::TrustDomain;
use rcgen::KeyPair;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::issue::Signer;

/// A certificate that may sign, and what matters of it here.
#[derive(Debug)]
pub(super) struct ReadSigner {
    pub(super) signer: Signer,
    pub(super) not_after: SystemTime,
    /// Whether it may sign another authority's certificate, an intermediate's.
    pub(super) may_delegate: bool,
}

/// Takes the first certificate of `certificates` and the key, both PEM; says what is wrong with them.
///
/// One that carries a SPIFFE ID must carry the trust domain's. One without is a person's own authority, which need not
/// know of SPIFFE: what it may sign is decided by who holds its key.
pub(super) fn signer(
    certificates: &[u8],
    key: &[u8],
    trust_domain: &TrustDomain,
) -> Result<ReadSigner, String> {
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| format!("no private key: {error}"))?;
    let certificate =
        CertificateDer::from_pem_slice(certificates).map_err(|error| format!("no certificate: {error}"))?;
    let key = KeyPair::try_from(&key)
        .map_err(|error| format!("its private key is of no kind that can sign: {error}"))?;
    let (_, parsed) =
        X509Certificate::from_der(&certificate).map_err(|error| format!("bad certificate: {error}"))?;
    if parsed.public_key().subject_public_key.data != key.public_key_raw() {
        return Err("its private key is not its certificate's".into());
    }
    let expected = format!("spiffe://{trust_domain}");
    let names = parsed.subject_alternative_name().map_err(|error| format!("bad certificate: {error}"))?;
    let foreign = names.is_some_and(|names| {
        names.value.general_names.iter().any(
            |name| matches!(name, GeneralName::URI(uri) if uri.starts_with("spiffe://") && *uri != expected),
        )
    });
    if foreign {
        return Err(format!("its certificate is not of {expected}; was --trust-domain changed?"));
    }
    let constraints = parsed.basic_constraints().map_err(|error| format!("bad certificate: {error}"))?;
    let Some(constraints) = constraints.map(|constraints| constraints.value).filter(|found| found.ca) else {
        return Err("its certificate is not a certificate authority's (basicConstraints CA)".into());
    };
    let usage = parsed.key_usage().map_err(|error| format!("bad certificate: {error}"))?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err("its certificate may not sign certificates (keyUsage lacks keyCertSign)".into());
    }
    let may_delegate = constraints.path_len_constraint != Some(0);
    let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(not_after);
    let signer = Signer::new(certificate.clone(), key).map_err(|error| error.to_string())?;
    Ok(ReadSigner { signer, not_after, may_delegate })
}

/// All certificates of a PEM text, sorted into roots, which are signed by themselves, and the others.
pub(super) fn sorted(
    pem: &[u8],
) -> Result<(Vec<CertificateDer<'static>>, Vec<CertificateDer<'static>>), String> {
    let (mut roots, mut others) = (Vec::new(), Vec::new());
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("not PEM: {error}"))?;
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|error| format!("bad certificate: {error}"))?;
        match parsed.subject().as_raw() == parsed.issuer().as_raw() {
            true => roots.push(certificate),
            false => others.push(certificate),
        }
    }
    Ok((roots, others))
}
