//! Pods from a folder that holds their network namespaces as files named by the pods' UIDs.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mesh_ir::name::Uid;
use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::Pods;
use crate::netns::Netns;

/// Follows the folder. The first value comes at once.
pub fn watch(folder: &Path) -> io::Result<mpsc::Receiver<Pods>> {
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
        let mut last: Option<Pods> = None;
        loop {
            match list(&folder, last.as_ref()) {
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

fn list(folder: &Path, last: Option<&Pods>) -> io::Result<Pods> {
    let mut pods = Pods::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        // A namespace file is empty until the namespace is mounted on it; that shows as its own kind of file system.
        let mounted = nix::sys::statfs::statfs(&path)
            .is_ok_and(|fs| fs.filesystem_type() == nix::sys::statfs::NSFS_MAGIC);
        let (true, Some(Ok(uid))) = (mounted, entry.file_name().to_str().map(Uid::new)) else { continue };
        let known = last.and_then(|last| last.get(&uid)).filter(|known| {
            // What is held open keeps its inode number, so the same number is the same namespace.
            std::fs::metadata(&path).is_ok_and(|found| known.inode() == found.ino())
        });
        match known.cloned().map_or_else(|| Netns::open(&path), Ok) {
            Ok(netns) => {
                pods.insert(uid, netns);
            }
            // Unmounted between the listing and now: its event follows.
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot open a pod's namespace"),
        }
    }
    Ok(pods)
}
