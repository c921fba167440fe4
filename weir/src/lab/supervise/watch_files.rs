//! Following files: says that something changed, not what; whoever is told looks again.

use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Holds the watches; dropping it ends them.
#[derive(Debug)]
pub(crate) struct Follower {
    _watcher: RecommendedWatcher,
}

/// Follows the paths. The channel holds at most one pending message, since any number of changes calls for one look.
pub(crate) fn follow(paths: &[PathBuf]) -> notify::Result<(Follower, mpsc::Receiver<()>)> {
    let (send, receive) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // After an error (a queue that overflowed) nobody knows what was missed, so it calls for a look too.
        if event.as_ref().map_or(true, |event| matters(&event.kind)) {
            // A full channel holds a message that covers this change as well.
            let _ = send.try_send(());
        }
    })?;
    for path in paths {
        // A single file is followed through its folder, because editors replace files instead of writing to them.
        let (watched, mode) = if path.is_dir() {
            (path.as_path(), RecursiveMode::Recursive)
        } else {
            (path.parent().unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)
        };
        watcher.watch(watched, mode)?;
    }
    Ok((Follower { _watcher: watcher }, receive))
}

/// Whether a file may hold something else now. Half-written files are not looked at: a write matters when it is closed.
fn matters(kind: &EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => true,
        EventKind::Create(kind) => !matches!(kind, CreateKind::File),
        EventKind::Modify(kind) => matches!(kind, ModifyKind::Name(_)),
        EventKind::Any | EventKind::Other => true,
        EventKind::Access(_) => false,
    }
}
