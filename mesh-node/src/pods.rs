//! Which pods are on this node, from a folder that holds their network namespaces as files named by the pods' UIDs.
//! (In a cluster they are found by CRI; that source gives the same events.)

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use mesh_ir::name::Uid;
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;

pub mod routing;

/// The pods that there are now: all of them, each time that something changed.
pub type Pods = BTreeMap<Uid, PathBuf>;

/// Follows the folder. The first value comes at once.
pub fn watch_folder(folder: &Path) -> io::Result<mpsc::Receiver<Pods>> {
    let (wake, mut woken) = mpsc::channel::<()>(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let listing_changed = match event {
            Ok(event) => !matches!(event.kind, EventKind::Access(_)),
            Err(_) => true,
        };
        if listing_changed {
            // Full means that a look is due anyway.
            let _ = wake.try_send(());
        }
    })
    .map_err(io::Error::other)?;
    watcher.watch(folder, RecursiveMode::NonRecursive).map_err(io::Error::other)?;
    let (sender, receiver) = mpsc::channel(1);
    let folder = folder.to_owned();
    tokio::spawn(async move {
        let _watcher = watcher;
        let mut last = None;
        loop {
            match list(&folder) {
                Ok(pods) => {
                    if last.as_ref() != Some(&pods) {
                        last = Some(pods.clone());
                        if sender.send(pods).await.is_err() {
                            return;
                        }
                    }
                }
                Err(error) => tracing::error!(folder = %folder.display(), %error, "cannot list the pods"),
            }
            if woken.recv().await.is_none() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn list(folder: &Path) -> io::Result<Pods> {
    let mut pods = Pods::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // A namespace file is empty until the namespace is mounted on it; that shows as its own kind of file system.
        let mounted = nix::sys::statfs::statfs(&entry.path())
            .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::NSFS_MAGIC);
        if let (true, Some(Ok(uid))) = (mounted, entry.file_name().to_str().map(Uid::new)) {
            pods.insert(uid, entry.path());
        }
    }
    Ok(pods)
}
