//! Wakes a task when something in a folder changes.

use std::path::Path;
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Watches one folder until it is dropped. Changes that come before anybody waits count once, so none is lost and no
/// queue grows.
#[derive(Debug)]
pub(crate) struct FolderWatch {
    changed: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl FolderWatch {
    pub(crate) fn start(folder: &Path) -> notify::Result<Self> {
        let changed = Arc::new(Notify::new());
        let sender = changed.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too; to answer it by reading would never end.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                sender.notify_one();
            }
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Self { changed, _watcher: watcher })
    }

    /// Waits for a change since the last time.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
