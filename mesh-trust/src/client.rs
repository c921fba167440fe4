//! The cert-authority's client: one SVID at a time. Keeping it fresh is [`crate::renew`]'s.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_ir::name::{Identity, TrustDomain};
use notify::RecommendedWatcher;
use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::{Notify, watch};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use webpki::KeyUsage;
use zeroize::Zeroizing;

use crate::api::certificate_authority_client::CertificateAuthorityClient;
use crate::api::{SignRequest, SignResponse};
use crate::bundle::{Bundle, BundleError};
use crate::connect::{connect_lazily, innermost};
use crate::leaf::PeerError;
use crate::remote::Remote;
use crate::renew::{Renewing, renew};
use crate::roots::{BundleFileError, Roots, read_bounded, watch_folder_of};
use crate::svid::{Svid, SvidError};
use crate::task::Task;
use crate::verify::verify_chain;

/// How long one request to the authority may take, connecting included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the cert-authority is and how this program bootstraps trust with it.
#[derive(Clone, Debug)]
pub struct Settings {
    pub authority: Remote,
    pub trust_domain: TrustDomain,
    /// The roots in PEM; read again whenever it changes.
    pub bundle_file: PathBuf,
    /// The bearer token; read for every request, because projected tokens rotate.
    pub token_file: PathBuf,
}

/// Gets SVIDs from the cert-authority. Clones share one connection and one bundle.
#[derive(Clone, Debug)]
pub struct CertificateClient(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    roots: Arc<Roots>,
    channel: Channel,
    _watching: Task,
}

/// The client could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    BundleFile(#[from] BundleFileError),
    #[error("cannot watch the folder of the bundle file {path}: {source}")]
    Watch { path: PathBuf, source: notify::Error },
}

/// Why there is no certificate for an identity.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    #[error("cannot read the token file {path}: {source}")]
    Token { path: PathBuf, source: io::Error },
    #[error("cannot make a key and a request for {identity}: {source}")]
    Request { identity: Identity, source: rcgen::Error },
    #[error("the cert-authority at {authority} gave no certificate for {identity}: {}", reason(source))]
    Refused { authority: Remote, identity: Identity, source: Box<tonic::Status> },
    #[error("the cert-authority sent roots that cannot be used: {0}")]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Roots(#[from] BundleFileError),
    #[error("the cert-authority sent a certificate that does not fit the request: {0}")]
    Svid(#[from] SvidError),
    #[error("the cert-authority sent a certificate that is not believed: {0}")]
    Chain(#[from] PeerError),
    #[error("the cert-authority sent a certificate of {got} for {asked}")]
    OtherIdentity { asked: Identity, got: Identity },
}

impl CertificateClient {
    /// Starts the client: waits up to `wait` for a bundle file that can be read, then watches it. Nothing is asked of
    /// the authority yet, so it need not be there.
    pub async fn open(settings: Settings, wait: Duration) -> Result<Self, OpenError> {
        let changed = Arc::new(Notify::new());
        let watcher = watch_folder_of(&settings.bundle_file, changed.clone())
            .map_err(|source| OpenError::Watch { path: settings.bundle_file.clone(), source })?;
        let deadline = tokio::time::Instant::now() + wait;
        let roots = loop {
            match Roots::read(settings.bundle_file.clone(), settings.trust_domain.clone()).await {
                Ok(roots) => break Arc::new(roots),
                Err(error) => {
                    if tokio::time::timeout_at(deadline, changed.notified()).await.is_err() {
                        return Err(error.into());
                    }
                }
            }
        };
        let channel = connect_lazily(settings.authority.clone(), roots.authority());
        let watching = Task::spawn(follow_file(roots.clone(), changed, watcher));
        Ok(Self(Arc::new(Inner { settings, roots, channel, _watching: watching })))
    }

    pub fn trust_domain(&self) -> &TrustDomain {
        &self.0.settings.trust_domain
    }

    /// The trusted roots, followed as the file and the authority change them.
    pub fn bundle(&self) -> watch::Receiver<Arc<Bundle>> {
        self.0.roots.bundle()
    }

    /// An SVID of `identity` that is renewed until the returned value is dropped. Must be called within a tokio
    /// runtime.
    pub fn renewing(&self, identity: Identity) -> Renewing {
        renew(self.clone(), identity)
    }

    /// Makes a new key and gets a certificate of `identity` for it.
    pub async fn obtain(&self, identity: &Identity) -> Result<Svid, ObtainError> {
        let token = self.token().await?;
        let (key, csr_der) = request(identity)
            .map_err(|source| ObtainError::Request { identity: identity.clone(), source })?;
        let mut message = tonic::Request::new(SignRequest { csr_der, identity: identity.to_string() });
        message.metadata_mut().insert("authorization", token);
        message.set_timeout(REQUEST_TIMEOUT);
        let mut authority = CertificateAuthorityClient::new(self.0.channel.clone());
        let refused = |status| ObtainError::Refused {
            authority: self.0.settings.authority.clone(),
            identity: identity.clone(),
            source: Box::new(status),
        };
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, authority.sign(message))
            .await
            .map_err(|_| refused(tonic::Status::deadline_exceeded("it did not answer in 10 seconds")))?
            .map_err(refused)?;
        self.accept(identity, key, answer.into_inner())
    }

    /// Reads the bundle file again; the watch may have missed a change on a file system without events.
    pub(crate) async fn reread_bundle(&self) -> Result<(), BundleFileError> {
        self.0.roots.reread().await
    }

    fn accept(
        &self,
        identity: &Identity,
        key: Zeroizing<Vec<u8>>,
        answer: SignResponse,
    ) -> Result<Svid, ObtainError> {
        let certificates = |der: Vec<Vec<u8>>| der.into_iter().map(CertificateDer::from).collect::<Vec<_>>();
        let sent = Bundle::from_der(self.trust_domain().clone(), certificates(answer.bundle_der))?;
        self.0.roots.sent(sent)?;
        let svid = Svid::new(certificates(answer.chain_der), key, SystemTime::now())?;
        if svid.identity() != identity {
            let got = svid.identity().clone();
            return Err(ObtainError::OtherIdentity { asked: identity.clone(), got });
        }
        let bundle = self.bundle().borrow().clone();
        let (leaf, intermediates) = svid.chain().split_first().expect("an SVID's chain is not empty");
        verify_chain(leaf, intermediates, &bundle, KeyUsage::client_auth(), UnixTime::now())?;
        Ok(svid)
    }

    async fn token(&self) -> Result<MetadataValue<Ascii>, ObtainError> {
        let path = &self.0.settings.token_file;
        let failed = |source| ObtainError::Token { path: path.clone(), source };
        let content = Zeroizing::new(read_bounded(path).await.map_err(failed)?);
        let mut value = Zeroizing::new(b"Bearer ".to_vec());
        value.extend_from_slice(content.trim_ascii());
        let mut value = MetadataValue::try_from(&value[..])
            .map_err(|_| failed(io::Error::other("it holds bytes that a header may not")))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// What the authority said, or why it could not be asked.
fn reason(status: &tonic::Status) -> String {
    match status.source() {
        Some(source) => innermost(source),
        None => format!("{} ({})", status.message(), status.code()),
    }
}

/// A new P-256 key in PKCS#8, and a certificate request of it that asks for nothing: the authority decides everything
/// but the key.
fn request(identity: &Identity) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), rcgen::Error> {
    tracing::debug!(%identity, "making a key");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key)?;
    Ok((Zeroizing::new(key.serialize_der()), csr.der().to_vec()))
}

/// Rereads the bundle file at each change. Holds the watcher, which stops when this is cancelled.
async fn follow_file(roots: Arc<Roots>, changed: Arc<Notify>, _watcher: RecommendedWatcher) {
    loop {
        changed.notified().await;
        if let Err(error) = roots.reread().await {
            tracing::warn!(%error, "keeping the trust bundle as it was");
        }
    }
}
