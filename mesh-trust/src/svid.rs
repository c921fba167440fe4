//! Who this program or workload is: an X.509-SVID and its private key.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use mesh_ir::name::Identity;
use rustls::crypto::aws_lc_rs::sign::any_ecdsa_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use crate::leaf::{Leaf, PeerError};

/// A certificate chain, leaf first, and the leaf's private key. Its `Debug` shows no key, and the key's bytes are wiped
/// from memory when it is dropped.
pub struct Svid {
    leaf: Leaf,
    obtained: SystemTime,
    certified: Arc<CertifiedKey>,
    key: Zeroizing<Vec<u8>>,
}

/// Why a chain and a key make no SVID.
#[derive(Debug, thiserror::Error)]
pub enum SvidError {
    #[error("the certificate chain is empty")]
    NoCertificate,
    #[error(transparent)]
    Leaf(#[from] PeerError),
    #[error("the private key does not fit the certificate: {0}")]
    Key(#[from] rustls::Error),
}

impl Svid {
    /// Takes a chain, leaf first, and the leaf's ECDSA private key in PKCS#8. `now` counts as the time that it was obtained.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: Zeroizing<Vec<u8>>,
        now: SystemTime,
    ) -> Result<Self, SvidError> {
        let leaf = Leaf::read(chain.first().ok_or(SvidError::NoCertificate)?)?;
        // The key is lent to rustls rather than given, so that no copy of its bytes stays behind unwiped.
        let signing = any_ecdsa_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(&key[..])))?;
        let certified = Arc::new(CertifiedKey::new(chain, signing));
        certified.keys_match()?;
        Ok(Self { leaf, obtained: now, certified, key })
    }

    pub fn identity(&self) -> &Identity {
        &self.leaf.identity
    }

    /// The certificates, leaf first, without the root.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// The private key in PKCS#8, for the SPIFFE Workload API.
    pub fn key_der(&self) -> &[u8] {
        &self.key
    }

    pub fn expires(&self) -> SystemTime {
        self.leaf.not_after
    }

    /// Midway between the time it was obtained and its expiry. The certificate's own start does not count, because it
    /// is backdated for clocks that are behind.
    pub fn half_life(&self) -> SystemTime {
        let left = self.leaf.not_after.duration_since(self.obtained).unwrap_or_default();
        self.obtained + left / 2
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("identity", &self.leaf.identity)
            .field("expires", &self.leaf.not_after)
            .finish_non_exhaustive()
    }
}
