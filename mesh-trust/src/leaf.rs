//! What an X.509-SVID's leaf must be (SPIFFE X509-SVID, sections 2, 4 and 5), and whom it names.

use std::time::{Duration, SystemTime};

use mesh_ir::name::{Identity, NameError, TrustDomain};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What the mesh reads from a leaf certificate. Reading it verifies no signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub identity: Identity,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
}

/// Why the other end of a connection is not believed.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    #[error("the peer showed no certificate")]
    NoCertificate,
    #[error("the certificate cannot be read: {0}")]
    Malformed(String),
    #[error("the certificate names {0} URIs; an X.509-SVID names exactly one")]
    NotOneUri(usize),
    #[error("the certificate names no workload: {0}")]
    NotAWorkload(#[from] NameError),
    #[error("the certificate of {0} is a certificate authority's, not a workload's")]
    Authority(Identity),
    #[error("the certificate of {0} may not be used for signatures (key usage)")]
    KeyUsage(Identity),
    #[error("the certificate of {0} is not valid yet")]
    NotYetValid(Identity),
    #[error("the certificate of {0} has expired")]
    Expired(Identity),
    #[error("{identity} is not of the trust domain {expected}")]
    OtherTrustDomain { identity: Identity, expected: TrustDomain },
    #[error("the peer is {identity}, expected was {expected}")]
    OtherIdentity { identity: Identity, expected: Identity },
    #[error("the certificate of {identity} does not chain to a trusted root: {source}")]
    Untrusted { identity: Identity, source: webpki::Error },
}

impl Leaf {
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, PeerError> {
        let malformed = |error: x509_parser::error::X509Error| PeerError::Malformed(error.to_string());
        let (rest, parsed) = X509Certificate::from_der(certificate)
            .map_err(|error| PeerError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(PeerError::Malformed("bytes follow the certificate".into()));
        }
        let names = parsed.subject_alternative_name().map_err(malformed)?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        let [uri] = uris[..] else { return Err(PeerError::NotOneUri(uris.len())) };
        let identity: Identity = uri.parse()?;
        if parsed.basic_constraints().map_err(malformed)?.is_some_and(|basic| basic.value.ca) {
            return Err(PeerError::Authority(identity));
        }
        match parsed.key_usage().map_err(malformed)?.map(|usage| usage.value) {
            Some(usage) if usage.key_cert_sign() || usage.crl_sign() => {
                return Err(PeerError::Authority(identity));
            }
            Some(usage) if usage.digital_signature() => {}
            _ => return Err(PeerError::KeyUsage(identity)),
        }
        let validity = parsed.validity();
        Ok(Self {
            identity,
            not_before: system_time(validity.not_before.timestamp())?,
            not_after: system_time(validity.not_after.timestamp())?,
        })
    }

    /// Whether `now` is within the certificate's life. Both ends are inclusive (RFC 5280, 4.1.2.5).
    pub fn check_time(&self, now: UnixTime) -> Result<(), PeerError> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.as_secs());
        if now < self.not_before {
            return Err(PeerError::NotYetValid(self.identity.clone()));
        }
        if now > self.not_after {
            return Err(PeerError::Expired(self.identity.clone()));
        }
        Ok(())
    }
}

fn system_time(seconds: i64) -> Result<SystemTime, PeerError> {
    u64::try_from(seconds)
        .ok()
        .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
        .ok_or_else(|| PeerError::Malformed("its validity lies before 1970".into()))
}
