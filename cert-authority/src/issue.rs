//! Makes certificates: root, intermediate, and SVIDs from certificate requests. Pure: keys, serial numbers and times are
//! passed in, nothing is read or kept.

use std::time::{Duration, SystemTime};

use mesh_ir::name::{Identity, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use webpki::aws_lc_rs::ECDSA_P256_SHA256;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256};
use x509_parser::prelude::FromDer;

/// No SVID lives longer.
pub const MAX_SVID_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How far certificates are backdated, for machines whose clock is behind.
pub const BACKDATING: Duration = Duration::from_secs(5 * 60);

/// The largest request that is looked at; one of ours is under 200 bytes.
const MAX_CSR: usize = 16 * 1024;

/// A certificate's life, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

impl Validity {
    /// From a little before `now`, for clocks that are behind, until `life` after it.
    pub fn starting(now: SystemTime, life: Duration) -> Self {
        Self { not_before: now - BACKDATING, not_after: now + life }
    }
}

/// A certificate of this authority with its key.
#[derive(Debug)]
pub struct Signer {
    pub certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Signer {
    pub fn new(certificate: CertificateDer<'static>, key: KeyPair) -> Result<Self, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
        Ok(Self { certificate, issuer })
    }
}

/// The public key of a certificate request whose signature proved that the requester holds the private one. Nothing
/// else of a request is kept, so nothing else can get into a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedKey(SubjectPublicKeyInfo);

/// Why a certificate request is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CsrError {
    #[error("the certificate request is {0} bytes long; at most {MAX_CSR} are accepted")]
    TooLarge(usize),
    #[error("the certificate request cannot be read as PKCS#10: {0}")]
    Malformed(String),
    #[error("the certificate request's key is not ECDSA P-256 with SHA-256, the only kind accepted")]
    KeyKind,
    #[error("the certificate request is not signed by its own key")]
    Signature,
}

impl RequestedKey {
    /// Reads a PKCS#10 request.
    ///
    /// Only P-256 is accepted: every TLS 1.3 implementation must verify it (RFC 8446, 9.1), which is not so for
    /// Ed25519, and one kind of key means one path to test through every peer of the mesh.
    pub fn read(csr: &[u8]) -> Result<Self, CsrError> {
        let malformed = |problem: &dyn std::fmt::Display| CsrError::Malformed(problem.to_string());
        if csr.len() > MAX_CSR {
            return Err(CsrError::TooLarge(csr.len()));
        }
        let (rest, request) = X509CertificationRequest::from_der(csr).map_err(|error| malformed(&error))?;
        if !rest.is_empty() {
            return Err(malformed(&"bytes follow it"));
        }
        let info = &request.certification_request_info;
        let curve = info.subject_pki.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        if info.subject_pki.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY
            || curve != Some(OID_EC_P256)
            || request.signature_algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256
        {
            return Err(CsrError::KeyKind);
        }
        if request.signature_value.unused_bits != 0 {
            return Err(CsrError::Signature);
        }
        let point = &info.subject_pki.subject_public_key.data;
        ECDSA_P256_SHA256
            .verify_signature(point, info.raw, &request.signature_value.data)
            .map_err(|_| CsrError::Signature)?;
        let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(|error| malformed(&error))?;
        Ok(Self(key))
    }
}

/// Signs an SVID of `identity` for `key`. It lives no longer than [`MAX_SVID_LIFE`] after its start, backdating not
/// counted.
pub fn issue(
    signer: &Signer,
    identity: &Identity,
    key: &RequestedKey,
    serial: [u8; 16],
    validity: Validity,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let longest = validity.not_before + BACKDATING + MAX_SVID_LIFE;
    let mut params = params(serial, validity.not_before, validity.not_after.min(longest));
    // The subject stays empty: X509-SVID section 2 gives all meaning to the URI, which is critical then (RFC 5280).
    params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params.signed_by(&key.0, &signer.issuer)?.into())
}

/// A self-signed root for `trust_domain`.
pub fn root(
    trust_domain: &TrustDomain,
    key: &KeyPair,
    serial: [u8; 16],
    validity: Validity,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let params = authority(trust_domain, "root", BasicConstraints::Constrained(1), serial, validity)?;
    Ok(params.self_signed(key)?.into())
}

/// An intermediate below `root`, which may sign SVIDs only.
pub fn intermediate(
    root: &Signer,
    trust_domain: &TrustDomain,
    key: &KeyPair,
    serial: [u8; 16],
    validity: Validity,
) -> Result<CertificateDer<'static>, rcgen::Error> {
    let mut params =
        authority(trust_domain, "intermediate", BasicConstraints::Constrained(0), serial, validity)?;
    params.use_authority_key_identifier_extension = true;
    Ok(params.signed_by(key, &root.issuer)?.into())
}

fn authority(
    trust_domain: &TrustDomain,
    rank: &str,
    constraints: BasicConstraints,
    serial: [u8; 16],
    validity: Validity,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = params(serial, validity.not_before, validity.not_after);
    params.distinguished_name.push(DnType::OrganizationName, "Weir");
    params.distinguished_name.push(DnType::CommonName, format!("{trust_domain} {rank}"));
    // X509-SVID section 3.2: a signing certificate's SPIFFE ID is its trust domain's, without a path.
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(mut serial: [u8; 16], not_before: SystemTime, not_after: SystemTime) -> CertificateParams {
    // A serial number is a positive integer (RFC 5280, 4.1.2.2), so its first bit is clear and it is not zero.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = OffsetDateTime::from(not_before);
    params.not_after = OffsetDateTime::from(not_after);
    params
}

#[cfg(test)]
mod tests;
