//! The authority's own side: its keys, the published bundle, and the certificate that it serves with.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_trust::{ClientAuth, Program, Svid, SvidError, TlsError, server_config};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::ServerConfig;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::issue::{CsrError, RequestedKey, Validity, issue};
use crate::keys::{Keys, KeysError, Store, random_serial};
use crate::serve::report::Report;

/// How soon a start or refresh is tried again after it failed.
const RETRY: Duration = Duration::from_secs(2);

/// The longest time until the clock and the intermediate's age are looked at again.
const CLOCK_CHECK: Duration = Duration::from_secs(60);

/// The authority's own certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error("cannot make the authority's own certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot make the authority's own certificate: {0}")]
    Request(#[from] CsrError),
    #[error("cannot use the authority's own certificate: {0}")]
    Svid(#[from] SvidError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

#[derive(Debug)]
pub(super) struct Own<S> {
    store: S,
    svid_life: Duration,
    report: Arc<Report>,
    due: watch::Sender<SystemTime>,
    keys: watch::Sender<Arc<Keys>>,
    server: watch::Sender<Arc<ServerConfig>>,
}

impl<S: Store> Own<S> {
    /// Takes and publishes the store's keys. An API server that refuses or is away is tried again; what is wrong with
    /// the keys themselves is an error.
    pub(super) async fn start(store: S, svid_life: Duration, report: Arc<Report>) -> Result<Self, OwnError> {
        let keys = loop {
            match take(&store).await {
                Ok(keys) => break keys,
                Err(error @ KeysError::Api { .. }) => {
                    let problem = error.to_string();
                    if report.waits(problem.clone()) {
                        tracing::warn!(problem, "no keys to sign with yet; trying again");
                    }
                    _ = tokio::time::timeout(RETRY, store.changed()).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        let (server, due) = serving(&keys, svid_life, SystemTime::now())?;
        report.has(&keys);
        Ok(Self {
            store,
            svid_life,
            report,
            due: watch::Sender::new(due),
            keys: watch::Sender::new(keys),
            server: watch::Sender::new(server),
        })
    }

    pub(super) fn keys(&self) -> super::Keys {
        self.keys.subscribe()
    }

    pub(super) fn server_configs(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.server.subscribe()
    }

    /// Refreshes at half of the own certificate's life and when what the store holds changes.
    pub(super) async fn keep_fresh(&self) -> Infallible {
        loop {
            let due = *self.due.borrow();
            while let Ok(left) = due.duration_since(SystemTime::now()) {
                tokio::select! {
                    () = tokio::time::sleep(left.min(CLOCK_CHECK)) => {}
                    () = self.store.changed() => break,
                }
            }
            let mut said = None;
            while let Err(error) = self.refresh().await {
                self.report.refreshes_failed.inc();
                let problem = error.to_string();
                if said.as_ref() != Some(&problem) {
                    tracing::error!(problem, "cannot refresh the authority's own keys; keeping the old ones");
                    said = Some(problem);
                }
                // A person who mends it need not wait.
                let _ = tokio::time::timeout(RETRY, self.store.changed()).await;
            }
        }
    }

    async fn refresh(&self) -> Result<(), OwnError> {
        let keys = take(&self.store).await?;
        if keys.bundle != self.keys.borrow().bundle {
            tracing::info!(roots = keys.bundle.roots().len(), "published a changed bundle");
        }
        let (server, due) = serving(&keys, self.svid_life, SystemTime::now())?;
        self.report.has(&keys);
        self.keys.send_replace(keys);
        self.server.send_replace(server);
        self.due.send_replace(due);
        Ok(())
    }
}

/// The store's keys, their bundle published.
async fn take(store: &impl Store) -> Result<Arc<Keys>, KeysError> {
    let keys = store.keys(SystemTime::now()).await?;
    store.publish(&keys.bundle).await?;
    Ok(Arc::new(keys))
}

/// A fresh certificate of the authority itself, and when the next is due.
fn serving(
    keys: &Keys,
    life: Duration,
    now: SystemTime,
) -> Result<(Arc<ServerConfig>, SystemTime), OwnError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let requested = RequestedKey::read(CertificateParams::default().serialize_request(&key)?.der())?;
    let identity = Program::CertAuthority.identity(&keys.trust_domain);
    let validity = Validity::starting(now, life);
    let leaf = issue(&keys.signer, &identity, &requested, random_serial(), validity)?;
    let chain = std::iter::once(leaf).chain(keys.chain.iter().cloned()).collect();
    let svid = Svid::new(chain, Zeroizing::new(key.serialize_der()), now)?;
    // Callers prove themselves with tokens; a certificate is neither needed nor heeded.
    let server = server_config(&svid, &Arc::new(keys.bundle.clone()), &[b"h2"], ClientAuth::Optional)?;
    Ok((server, svid.half_life()))
}
