//! Keeps the CNI plugin in the node's network configuration, or out of it. Others write there too: the network's own
//! installer replaces its file when it starts, and a new network may come before the old one. So the folder is followed.

use std::io;
use std::path::{Path, PathBuf};

use mesh_cni::conflist::Entry;
use mesh_cni::install::{InstallError, install_entry, install_program, remove};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};

use crate::settings::Cni;

/// Why the plugin is not in place; `None` where it need not be.
type Problem = Option<watch::Receiver<Option<String>>>;

/// Does what the settings say at once, and then for as long as the node runs.
pub fn keep(settings: &Cni) -> io::Result<(impl Future<Output = ()> + use<>, Problem)> {
    let places = match (&settings.cni_networks, &settings.cni_programs, &settings.cni_socket) {
        (Some(networks), Some(programs), Some(socket)) => {
            let excluded = settings.cni_exclude.iter().map(ToString::to_string).collect();
            let seconds = settings.cni_timeout.as_secs().max(1);
            let entry = Entry::new(socket.clone(), seconds, !settings.cni_optional, excluded);
            Some(Places { networks: networks.clone(), programs: programs.clone(), entry })
        }
        _ => None,
    };
    let following = match places {
        Some(places) if settings.cni => {
            // Followed before it is read: what is written meanwhile is not missed.
            let (watcher, woken) = follow(&places.networks)?;
            let problem = watch::Sender::new(None);
            places.install(&problem);
            Some((places, watcher, woken, problem))
        }
        Some(places) => {
            let removed = remove(&places.networks, &places.programs).map_err(io::Error::other)?;
            if !removed.is_empty() {
                tracing::info!(changed = ?removed, "the CNI plugin is gone");
            }
            None
        }
        None => None,
    };
    let problems = following.as_ref().map(|(.., problem)| problem.subscribe());
    let keeping = async move {
        let Some((places, _watcher, mut woken, problem)) = following else {
            return std::future::pending().await;
        };
        while woken.recv().await.is_some() {
            places.install(&problem);
        }
    };
    Ok((keeping, problems))
}

struct Places {
    networks: PathBuf,
    programs: PathBuf,
    entry: Entry,
}

impl Places {
    /// Done again it changes nothing, so that its own writing wakes it only once more.
    fn install(&self, problem: &watch::Sender<Option<String>>) {
        let installed = self.try_install();
        match &installed {
            Ok(changed) if changed.is_empty() => {}
            Ok(changed) => tracing::info!(?changed, "the CNI plugin is in place"),
            // The network's configuration may come later.
            Err(error) => tracing::warn!(%error, "the CNI plugin is not in place"),
        }
        problem.send_replace(installed.err().map(|error| error.to_string()));
    }

    fn try_install(&self) -> Result<Vec<PathBuf>, InstallError> {
        // It comes in this program's image, beside it.
        let own = std::env::current_exe()
            .map_err(|source| InstallError::File { path: PathBuf::from("/proc/self/exe"), source })?;
        let new = install_program(&own.with_file_name(mesh_cni::PLUGIN), &self.programs)?;
        let mut changed = install_entry(&self.entry, &self.networks)?;
        if new {
            changed.push(self.programs.join(mesh_cni::PLUGIN));
        }
        Ok(changed)
    }
}

fn follow(folder: &Path) -> io::Result<(RecommendedWatcher, mpsc::Receiver<()>)> {
    let (wake, woken) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event
            .is_ok_and(|event| matches!(event.kind, EventKind::Access(notify::event::AccessKind::Open(_))))
        {
            return;
        }
        // Full means that a look is due anyway.
        let _ = wake.try_send(());
    })
    .map_err(io::Error::other)?;
    watcher.watch(folder, RecursiveMode::NonRecursive).map_err(io::Error::other)?;
    Ok((watcher, woken))
}
