//! Which files changed, as inotify tells: collected while nobody looks, in bounded memory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Changes that come together are read together: after the first, this long without another ends the wait…
const QUIET: Duration = Duration::from_millis(20);

/// … which never takes longer than this.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// More changed files than this, and the folders are listed again.
const MAX_PATHS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Changes {
    collected: Mutex<Changed>,
    arrived: Notify,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Changed {
    pub(super) files: BTreeSet<PathBuf>,
    /// Not all changes are known: everything is to be listed again.
    pub(super) relist: bool,
}

impl Changes {
    pub(super) fn collect(&self, event: notify::Result<Event>, folders: &[PathBuf]) {
        // A panic cannot leave the set half written, so poisoning means nothing here.
        let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Ok(event) if event.need_rescan() => collected.relist = true,
            Ok(event) if !concerns(&event) => return,
            Ok(event) => {
                for path in event.paths {
                    // The folder itself was moved or removed, or is a Kubernetes volume that changed as a whole.
                    let whole =
                        folders.contains(&path) || path.file_name().is_some_and(|name| name == "..data");
                    collected.relist |= whole || collected.files.len() == MAX_PATHS;
                    if !collected.relist {
                        collected.files.insert(path);
                    }
                }
            }
            Err(_) => collected.relist = true,
        }
        if collected.relist {
            collected.files.clear();
        }
        drop(collected);
        self.arrived.notify_one();
    }

    /// Waits for a change, and until those that come with it have come.
    pub(super) async fn wait(&self) {
        self.arrived.notified().await;
        let deadline = Instant::now() + LONGEST_WAIT;
        while Instant::now() < deadline
            && tokio::time::timeout_at(deadline.min(Instant::now() + QUIET), self.arrived.notified())
                .await
                .is_ok()
        {}
    }

    pub(super) fn take(&self) -> Changed {
        std::mem::take(&mut self.collected.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether an event says that there is something new to read. A file that is being written is read once its writer has
/// closed it; until then it may hold half of what it is to hold.
fn concerns(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_)) => false,
        // A link is complete when it is made; no close follows.
        EventKind::Create(_) => event.paths.iter().any(|path| is_link(path)),
        _ => true,
    }
}

fn is_link(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink() || metadata.nlink() > 1)
}

#[cfg(test)]
mod tests {
    use notify::event::{DataChange, Flag, RemoveKind};

    use super::*;

    fn collected(events: Vec<Event>) -> Changed {
        let changes = Changes::default();
        for event in events {
            changes.collect(Ok(event), &["/m".into()]);
        }
        changes.take()
    }

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(path.into())
    }

    #[test]
    fn changes_are_files_that_are_complete() {
        let modified = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let removed = EventKind::Remove(RemoveKind::File);
        let changed = collected(vec![
            event(modified, "/m/being-written.yaml"),
            event(closed, "/m/written.yaml"),
            event(removed, "/m/removed.yaml"),
        ]);
        assert_eq!(
            changed.files.into_iter().collect::<Vec<_>>(),
            ["/m/removed.yaml", "/m/written.yaml"].map(PathBuf::from)
        );
        assert!(!changed.relist);
    }

    #[test]
    fn changes_relist_when_events_are_lost_too_many_or_of_the_folder() {
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let relist = Changed { relist: true, ..Default::default() };
        let lost = Event::new(EventKind::Other).set_flag(Flag::Rescan);
        assert_eq!(collected(vec![event(closed, "/m/a.yaml"), lost]), relist);
        assert_eq!(collected(vec![event(EventKind::Remove(RemoveKind::Folder), "/m")]), relist);
        let many = (0..=MAX_PATHS).map(|i| event(closed, &format!("/m/{i}.yaml"))).collect();
        assert_eq!(collected(many), relist);
    }
}
