//! Taking the mesh off a node for good: the programs, their links and maps, Gateways' addresses, and what captured pods
//! were given. From then on pods work as they did before. A mesh-node that only ends does none of this: what it captured stays refused until the
//! next one runs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::announce;
use crate::netns::Netns;
use crate::pods::routing;

/// How long a mesh-node that has been told to end may take.
const NODE_WAIT: Duration = Duration::from_secs(120);

#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// The folder of pins that mesh-node was given.
    #[arg(long)]
    pub bpf: PathBuf,
    /// The admin socket that mesh-node was given. While a mesh-node answers there, this waits for its end.
    #[arg(long)]
    pub admin: PathBuf,
    /// The socket that mesh-node was given for the CNI plugin.
    #[arg(long)]
    pub cni_socket: Option<PathBuf>,
    /// The folder of network configurations that mesh-node was given.
    #[arg(long, requires = "cni_programs")]
    pub cni_networks: Option<PathBuf>,
    /// The folder of CNI programs that mesh-node was given.
    #[arg(long, requires = "cni_networks")]
    pub cni_programs: Option<PathBuf>,
    /// Stay when all is done, until SIGTERM.
    #[arg(long)]
    pub stay: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum UninstallError {
    #[error("a mesh-node still runs on this node and answers at {}; end it first", .0.display())]
    Running(PathBuf),
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the CNI plugin: {0}")]
    Cni(#[from] mesh_cni::install::InstallError),
    #[error("the announced addresses of Gateways: {0}")]
    Addresses(io::Error),
    #[error("the network namespaces of {0} pods could not be cleaned; the log says why")]
    Pods(usize),
}

/// Done again it changes nothing.
pub async fn uninstall(settings: &Settings) -> Result<(), UninstallError> {
    node_ended(&settings.admin).await?;
    // First of all: with nobody to answer the plugin no pod can start.
    if let (Some(networks), Some(programs)) = (&settings.cni_networks, &settings.cni_programs) {
        let changed = mesh_cni::install::remove(networks, programs)?;
        tracing::info!(?changed, "the CNI plugin is gone");
    }
    // With the pins go the links and thereby the programs: from here on nothing is captured.
    remove_pins(&settings.bpf)?;
    announce::withdraw().await.map_err(UninstallError::Addresses)?;
    let failed = clean_namespaces().await?;
    if let Some(socket) = &settings.cni_socket {
        remove_socket(socket)?;
    }
    remove_socket(&settings.admin)?;
    match failed {
        0 => Ok(()),
        failed => Err(UninstallError::Pods(failed)),
    }
}

/// Waits as `--stay` asks.
pub async fn stay() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// A connection to the admin socket stands for as long as the process behind it.
async fn node_ended(admin: &Path) -> Result<(), UninstallError> {
    let ended = async {
        while let Ok(mut node) = UnixStream::connect(admin).await {
            tracing::info!(admin = %admin.display(), "waiting for the mesh-node of this node to end");
            let mut rest = [0; 64];
            while matches!(node.read(&mut rest).await, Ok(count) if count > 0) {}
        }
    };
    let running = || UninstallError::Running(admin.to_owned());
    tokio::time::timeout(NODE_WAIT, ended).await.map_err(|_| running())
}

/// Links first: a program without its maps would refuse what it should let through.
fn remove_pins(folder: &Path) -> Result<(), UninstallError> {
    let error = |path: &Path| {
        let path = path.to_owned();
        move |source| UninstallError::File { path, source }
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(error(folder)(source)),
    };
    let mut pins = Vec::new();
    for entry in entries {
        let path = entry.map_err(error(folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.contains('.') {
            // At the top of a bpffs there are files of the kernel's own; what is pinned has no dot in its name.
            continue;
        }
        let is_map = !(name.starts_with("link-") || name.starts_with("pod-"));
        pins.push((is_map, path));
    }
    pins.sort();
    for (_, path) in &pins {
        fs::remove_file(path).map_err(error(path))?;
    }
    tracing::info!(folder = %folder.display(), pins = pins.len(), "the programs, links and maps are gone");
    match fs::remove_dir(folder) {
        // mesh-node has mounted a bpffs there, which belongs to whoever gave the folder.
        Err(source) if source.raw_os_error() == Some(Errno::EBUSY as i32) => Ok(()),
        result => result.map_err(error(folder)),
    }
}

/// Which pods were captured nobody says any more, so every network namespace is looked at that has a process. Says how
/// many could not be cleaned.
async fn clean_namespaces() -> Result<usize, UninstallError> {
    let processes = Path::new("/proc");
    let mut seen = BTreeSet::new();
    let mut cleaned = 0;
    let mut failed = 0;
    let error = |source| UninstallError::File { path: processes.to_owned(), source };
    for entry in fs::read_dir(processes).map_err(error)? {
        let path = entry.map_err(error)?.path().join("ns/net");
        // Not a process, or one that has ended meanwhile.
        let Ok(namespace) = fs::metadata(&path) else { continue };
        if !seen.insert((namespace.dev(), namespace.ino())) {
            continue;
        }
        let undone = async { routing::undo(&Netns::open(&path)?).await };
        match undone.await {
            Ok(true) => cleaned += 1,
            Ok(false) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                failed += 1;
                tracing::error!(namespace = %path.display(), %error, "cannot clean a network namespace");
            }
        }
    }
    tracing::info!(cleaned, failed, looked_at = seen.len(), "the pods' network namespaces are as they were");
    Ok(failed)
}

/// Its folder too, where it held nothing else.
fn remove_socket(path: &Path) -> Result<(), UninstallError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(UninstallError::File { path: path.to_owned(), source });
        }
        _ => {}
    }
    if let Some(folder) = path.parent() {
        // Of someone else's, or mounted: then it is not ours to remove.
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}
