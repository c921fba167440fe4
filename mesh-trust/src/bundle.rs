//! The roots that a trust domain's certificates chain to.

use std::fmt;

use mesh_ir::name::TrustDomain;
use pem::Pem;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use x509_parser::prelude::{FromDer, X509Certificate};

/// More roots than any rotation needs; the bound keeps a mistaken file from slowing every handshake.
const MAX_ROOTS: usize = 32;

/// The trusted roots of one trust domain, at least one. Two bundles are equal when they hold the same roots.
#[derive(Clone)]
pub struct Bundle {
    trust_domain: TrustDomain,
    /// Sorted and without duplicates, so that equality does not depend on the order of a file.
    roots: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("the bundle of trust domain {0} holds no certificate; it must hold at least one root in PEM")]
    Empty(TrustDomain),
    #[error("the bundle holds {0} certificates; at most {MAX_ROOTS} are accepted")]
    TooMany(usize),
    #[error("the bundle is not PEM: {0}")]
    NotPem(String),
    #[error("certificate {index} of the bundle cannot be a root: {problem}")]
    BadRoot { index: usize, problem: String },
}

impl Bundle {
    /// Reads the roots from PEM; anything in it but certificates is passed over.
    pub fn from_pem(trust_domain: TrustDomain, pem: &[u8]) -> Result<Self, BundleError> {
        let roots = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| BundleError::NotPem(error.to_string()))?;
        Self::from_der(trust_domain, roots)
    }

    /// Takes DER certificates of certificate authorities as roots.
    pub fn from_der(
        trust_domain: TrustDomain,
        mut roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, BundleError> {
        roots.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        roots.dedup();
        match roots.len() {
            0 => return Err(BundleError::Empty(trust_domain)),
            count if count > MAX_ROOTS => return Err(BundleError::TooMany(count)),
            _ => {}
        }
        let anchors = roots
            .iter()
            .enumerate()
            .map(|(index, root)| anchor(root).map_err(|problem| BundleError::BadRoot { index, problem }))
            .collect::<Result<_, _>>()?;
        Ok(Self { trust_domain, roots, anchors })
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The roots in PEM, as [`Self::from_pem`] reads them.
    pub fn to_pem(&self) -> String {
        self.roots.iter().map(|root| pem::encode(&Pem::new("CERTIFICATE", root.to_vec()))).collect()
    }

    /// The roots of both bundles, as one of the trust domain of this one.
    pub fn union(&self, other: &Self) -> Result<Self, BundleError> {
        let roots = self.roots.iter().chain(&other.roots).cloned().collect();
        Self::from_der(self.trust_domain.clone(), roots)
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

fn anchor(root: &CertificateDer<'_>) -> Result<TrustAnchor<'static>, String> {
    let (_, certificate) = X509Certificate::from_der(root).map_err(|error| error.to_string())?;
    if !certificate.is_ca() {
        return Err(format!("`{}` is not a certificate authority's", certificate.subject()));
    }
    let anchor = webpki::anchor_from_trusted_cert(root).map_err(|error| error.to_string())?;
    Ok(anchor.to_owned())
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain && self.roots == other.roots
    }
}

impl Eq for Bundle {}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("trust_domain", &self.trust_domain)
            .field("roots", &self.roots.len())
            .finish()
    }
}
