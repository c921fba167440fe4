//! The source that is a list of folders of manifests.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use super::changes::{Changed, Changes};
use super::folders::Folders;
use super::{FileProblem, Observed};

/// How often a folder that cannot be listed is tried again; nothing tells when it can.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("cannot watch for changes of files: {0}")]
    Start(notify::Error),
    #[error("cannot watch the manifest folder {path}: {source}")]
    Folder { path: PathBuf, source: notify::Error },
}

/// Reads the folders, which must be there, and follows them until the receiver is dropped.
pub(crate) async fn watch_folders(
    paths: Vec<PathBuf>,
) -> Result<watch::Receiver<Option<Observed>>, WatchError> {
    let changes = Arc::new(Changes::default());
    let collector = (changes.clone(), paths.clone());
    let watcher = notify::recommended_watcher(move |event| collector.0.collect(event, &collector.1));
    let mut watched = Watched { folders: Folders::new(paths), watcher: watcher.map_err(WatchError::Start)? };
    watched.attach()?;
    let (watched, observed) = watched.update(Changed { relist: true, ..Default::default() }).await;
    log_difference(&[], problems(&observed));
    let (sender, receiver) = watch::channel(observed);
    tokio::spawn(follow(watched, changes, sender));
    Ok(receiver)
}

struct Watched {
    folders: Folders,
    watcher: RecommendedWatcher,
}

impl Watched {
    fn attach(&mut self) -> Result<(), WatchError> {
        for path in self.folders.paths() {
            self.watcher
                .watch(path, RecursiveMode::NonRecursive)
                .map_err(|source| WatchError::Folder { path: path.clone(), source })?;
        }
        Ok(())
    }

    /// Gives what there is then, if it differs.
    async fn update(mut self, changed: Changed) -> (Self, Option<Observed>) {
        let update = move || {
            if changed.relist {
                // A folder that was replaced by another of its name has lost its watch. That it cannot be watched
                // is told by the listing, which fails for the same reasons.
                _ = self.attach();
                self.folders.relist();
            }
            for path in &changed.files {
                self.folders.reread(path);
            }
            let observed = self.folders.take();
            (self, observed)
        };
        tokio::task::spawn_blocking(update).await.expect("reading the folders does not panic")
    }
}

async fn follow(mut watched: Watched, changes: Arc<Changes>, sender: watch::Sender<Option<Observed>>) {
    loop {
        let retry = watched.folders.incomplete();
        tokio::select! {
            () = changes.wait() => {}
            () = tokio::time::sleep(RETRY), if retry => {}
            () = sender.closed() => return,
        }
        let mut changed = changes.take();
        changed.relist |= retry;
        let observed;
        (watched, observed) = watched.update(changed).await;
        if observed.is_some() {
            log_difference(problems(&sender.borrow()), problems(&observed));
            sender.send_replace(observed);
        }
    }
}

fn problems(observed: &Option<Observed>) -> &[FileProblem] {
    observed.as_ref().map_or(&[], |observed| &observed.problems)
}

/// Says each problem once, when it appears, and once when it is gone.
fn log_difference(before: &[FileProblem], now: &[FileProblem]) {
    let (before, now): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), now.iter().collect());
    for FileProblem { file, object, field, message } in now.difference(&before) {
        let (object, field) = (object.as_deref(), field.as_deref());
        tracing::warn!(file, object, field, problem = message, "rejected a manifest");
    }
    for FileProblem { file, object, field, message } in before.difference(&now) {
        let (object, field) = (object.as_deref(), field.as_deref());
        tracing::info!(file, object, field, problem = message, "a rejected manifest is corrected or gone");
    }
}
