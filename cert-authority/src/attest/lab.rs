//! Attestation without Kubernetes: tokens are files that are named after their callers, pods are object manifests in a
//! folder. Both folders are watched.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use mesh_ir::name::{Identity, NodeName};
use tokio::task::JoinSet;

use crate::attest::{AttestError, Attestor, Caller};
use crate::watch::FolderWatch;

mod pods;
mod tokens;

pub use pods::Pods;
pub use tokens::Tokens;

/// Answers from two folders. It follows them until it is dropped.
#[derive(Debug)]
pub struct LabAttestor {
    tokens: Arc<Followed<Tokens>>,
    pods: Arc<Followed<Pods>>,
    _following: JoinSet<()>,
}

/// A folder of the lab cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("cannot read the folder {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot watch the folder {path}: {source}")]
    Watch { path: PathBuf, source: notify::Error },
}

impl LabAttestor {
    /// Reads both folders, which must be there, and watches them. Must be called within a tokio runtime.
    pub async fn start(objects: &Path, tokens: &Path) -> Result<Self, LabError> {
        let mut following = JoinSet::new();
        let tokens = follow(tokens, Tokens::read, &mut following).await?;
        let pods = follow(objects, Pods::read, &mut following).await?;
        Ok(Self { tokens, pods, _following: following })
    }
}

impl Attestor for LabAttestor {
    async fn authenticate(&self, token: &[u8]) -> Result<Caller, AttestError> {
        self.tokens.now().caller(token).ok_or(AttestError::UnknownToken)
    }

    /// The event of a new pod's manifest may still be on its way, so the folder is read once more before a no.
    async fn runs(&self, node: &NodeName, identity: &Identity) -> Result<bool, AttestError> {
        if self.pods.now().runs(node, identity) {
            return Ok(true);
        }
        self.pods.reread().await.map_err(|error| AttestError::Unavailable(error.to_string()))?;
        Ok(self.pods.now().runs(node, identity))
    }
}

/// What a folder said when it was last read.
#[derive(Debug)]
struct Followed<T> {
    folder: PathBuf,
    read: fn(&Path) -> io::Result<T>,
    content: RwLock<Arc<T>>,
    /// One reading at a time: those who wait for it find what it found.
    reading: tokio::sync::Mutex<()>,
}

impl<T: Send + Sync + 'static> Followed<T> {
    fn now(&self) -> Arc<T> {
        // A panic cannot leave an `Arc` half written, so poisoning means nothing here.
        self.content.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn reread(&self) -> Result<(), LabError> {
        let _reading = self.reading.lock().await;
        let content = read(&self.folder, self.read).await?;
        *self.content.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(content);
        Ok(())
    }
}

async fn follow<T: Send + Sync + 'static>(
    folder: &Path,
    read_content: fn(&Path) -> io::Result<T>,
    following: &mut JoinSet<()>,
) -> Result<Arc<Followed<T>>, LabError> {
    // Watching begins before reading, so that no change falls between the two.
    let watch =
        FolderWatch::start(folder).map_err(|source| LabError::Watch { path: folder.to_owned(), source })?;
    let content = read(folder, read_content).await?;
    let followed = Arc::new(Followed {
        folder: folder.to_owned(),
        read: read_content,
        content: RwLock::new(Arc::new(content)),
        reading: tokio::sync::Mutex::new(()),
    });
    let follower = followed.clone();
    following.spawn(async move {
        loop {
            watch.changed().await;
            if let Err(error) = follower.reread().await {
                tracing::warn!(%error, "keeping what the folder said before");
            }
        }
    });
    Ok(followed)
}

async fn read<T: Send + 'static>(folder: &Path, read: fn(&Path) -> io::Result<T>) -> Result<T, LabError> {
    let path = folder.to_owned();
    let read = tokio::task::spawn_blocking(move || read(&path)).await.unwrap_or_else(|error| {
        // The task is cancelled when the runtime ends, and it does not panic on any content.
        Err(io::Error::other(error))
    });
    read.map_err(|source| LabError::Read { path: folder.to_owned(), source })
}

/// Reads a file of at most `limit` bytes.
fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(content)
}
