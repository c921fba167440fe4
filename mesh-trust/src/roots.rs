//! The roots that a program trusts now: those of its bundle file and those that the cert-authority sent last. The file
//! is what the operator of this machine says, the other what an authority that the file vouches for says; a root leaves
//! when both have let go of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mesh_ir::name::TrustDomain;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rustls::ClientConfig;
use tokio::sync::{Notify, watch};

use crate::bundle::{Bundle, BundleError};
use crate::program::Program;
use crate::tls::{Expect, TlsError, client_config};

/// Many times what the largest accepted bundle takes.
pub(crate) const MAX_FILE: u64 = 1 << 20;

/// The bundle file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleFileError {
    #[error("cannot read the bundle file {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the bundle file {path}: {source}")]
    Bundle { path: PathBuf, source: BundleError },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

#[derive(Debug)]
pub(crate) struct Roots {
    path: PathBuf,
    trust_domain: TrustDomain,
    /// Of the file and of the authority; the watches below are written only while this is held.
    sources: Mutex<(Bundle, Option<Bundle>)>,
    bundle: watch::Sender<Arc<Bundle>>,
    /// For the authority itself: no certificate of ours, its exact identity.
    authority: watch::Sender<Arc<ClientConfig>>,
}

impl Roots {
    pub(crate) async fn read(path: PathBuf, trust_domain: TrustDomain) -> Result<Self, BundleFileError> {
        let file = read_bundle(&path, &trust_domain).await?;
        let bundle = Arc::new(file.clone());
        let authority = authority_config(&bundle)?;
        Ok(Self {
            path,
            trust_domain,
            sources: Mutex::new((file, None)),
            bundle: watch::Sender::new(bundle),
            authority: watch::Sender::new(authority),
        })
    }

    pub(crate) fn bundle(&self) -> watch::Receiver<Arc<Bundle>> {
        self.bundle.subscribe()
    }

    pub(crate) fn authority(&self) -> watch::Receiver<Arc<ClientConfig>> {
        self.authority.subscribe()
    }

    /// Takes the file as it is now. One that cannot be used changes nothing.
    pub(crate) async fn reread(&self) -> Result<(), BundleFileError> {
        let file = read_bundle(&self.path, &self.trust_domain).await?;
        self.update(|sources| sources.0 = file)
    }

    /// Takes what the authority sent.
    pub(crate) fn sent(&self, bundle: Bundle) -> Result<(), BundleFileError> {
        self.update(|sources| sources.1 = Some(bundle))
    }

    fn update(&self, change: impl FnOnce(&mut (Bundle, Option<Bundle>))) -> Result<(), BundleFileError> {
        // A panic elsewhere cannot leave the pair half written, so poisoning means nothing here.
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut sources);
        let (file, sent) = &*sources;
        let union = match sent {
            Some(sent) => file
                .union(sent)
                .map_err(|source| BundleFileError::Bundle { path: self.path.clone(), source })?,
            None => file.clone(),
        };
        if union == **self.bundle.borrow() {
            return Ok(());
        }
        let bundle = Arc::new(union);
        let authority = authority_config(&bundle)?;
        tracing::info!(roots = bundle.roots().len(), trust_domain = %self.trust_domain, "the trust bundle changed");
        self.bundle.send_replace(bundle);
        self.authority.send_replace(authority);
        Ok(())
    }
}

fn authority_config(bundle: &Arc<Bundle>) -> Result<Arc<ClientConfig>, TlsError> {
    let authority = Program::CertAuthority.identity(bundle.trust_domain());
    client_config(None, bundle, Expect::Exactly(authority), &[b"h2"])
}

async fn read_bundle(path: &Path, trust_domain: &TrustDomain) -> Result<Bundle, BundleFileError> {
    let pem =
        read_bounded(path).await.map_err(|source| BundleFileError::Read { path: path.to_owned(), source })?;
    Bundle::from_pem(trust_domain.clone(), &pem)
        .map_err(|source| BundleFileError::Bundle { path: path.to_owned(), source })
}

/// Reads a file of at most [`MAX_FILE`] bytes.
pub(crate) async fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use tokio::io::AsyncReadExt;
    let mut content = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(MAX_FILE + 1).read_to_end(&mut content).await?;
    if content.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(content)
}

/// Tells `changed` of every change in the folder of `path`. The folder is watched, not the file, because a file is
/// replaced by a rename, and in a Kubernetes volume by a symbolic link beside it.
pub(crate) fn watch_folder_of(path: &Path, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file is an event too; to answer it by reading would never end.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            changed.notify_one();
        }
    })?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
