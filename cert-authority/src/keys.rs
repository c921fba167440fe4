//! What the authority signs with and whom it vouches for; where that is kept is a [`Store`]: [`folder`] is the lab's, in
//! a cluster it is [`cluster`].

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_ir::name::TrustDomain;
use mesh_trust::{Bundle, BundleError};
use rustls_pki_types::CertificateDer;

use crate::issue::Signer;

pub mod cluster;
pub mod folder;
mod read;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const ROOT_LIFE: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());

/// What the authority signs with and whom it vouches for.
#[derive(Clone, Debug)]
pub struct Keys {
    pub trust_domain: TrustDomain,
    pub signer: Arc<Signer>,
    /// What follows a leaf on its way to a root of the bundle, the signer's own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    pub bundle: Bundle,
}

/// Where keys are kept and the bundle is published.
pub trait Store: Send + Sync + 'static {
    /// Reads the keys, makes those that are missing and renews what is past half of its life.
    fn keys(&self, now: SystemTime) -> impl Future<Output = Result<Keys, KeysError>> + Send;

    /// Makes the published bundle this one.
    fn publish(&self, bundle: &Bundle) -> impl Future<Output = Result<(), KeysError>> + Send;

    /// Waits for a change of the keys, of the other roots or of what is published, since the last time.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

/// The keys cannot be used, or the bundle not be published.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("cannot watch {path}: {source}")]
    Watch { path: PathBuf, source: notify::Error },
    #[error("{path} is in use by another cert-authority; stop it or choose another --state")]
    InUse { path: PathBuf },
    #[error("cannot {action} {object}: {problem}")]
    Api { action: &'static str, object: String, problem: String },
    /// `place` is a file or a Kubernetes object.
    #[error("{place}: {problem}")]
    Unusable { place: String, problem: String },
    #[error("cannot make the certificate of {place}: {source}")]
    Make { place: String, source: rcgen::Error },
    #[error("the roots of {place} make no bundle: {source}")]
    Bundle { place: String, source: BundleError },
}

/// A random serial number. Serials need not be secret, but must not repeat.
pub fn random_serial() -> [u8; 16] {
    let mut serial = [0; 16];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut serial)
        .expect("the system's random number generator does not fail once it is seeded");
    serial
}
