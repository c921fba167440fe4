//! Writes what the compilation says back: statuses, and the objects that Gateways need, into the output folder or to the
//! API server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_compile::ObjectId;
use mesh_ir::map::SharedMap;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::compile::Revision;
use crate::metrics::Metrics;
use folder::OutputFolder;
pub(crate) use status::Document;

pub use folder::OutputError;

mod folder;
pub(crate) mod kubernetes;
mod status;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(15);

/// Makes the folder, and reads the statuses that an earlier run left there: their times are kept.
pub(crate) async fn open(output: PathBuf) -> Result<Applier, OutputError> {
    let opened = move || {
        let folder = OutputFolder::open(output)?;
        let document = Document::with_times_of(&folder.read_status());
        Ok(Applier { folder, document: Arc::new(document), written: None })
    };
    tokio::task::spawn_blocking(opened).await.expect("opening the folder does not panic")
}

#[derive(Clone, Debug)]
pub(crate) struct Applier {
    folder: OutputFolder,
    /// The status document as it was last made.
    document: Arc<Document>,
    written: Option<Written>,
}

/// What the folder holds, as far as this program knows.
#[derive(Clone, Debug, PartialEq)]
struct Written {
    document: Arc<Document>,
    owned: SharedMap<ObjectId, Arc<Value>>,
}

impl Applier {
    /// Writes until the revisions end. What cannot be written is tried again. `documents` has the newest status
    /// document, written or not.
    pub(crate) async fn run(
        mut self,
        mut revisions: watch::Receiver<Option<Revision>>,
        documents: watch::Sender<Arc<Document>>,
        metrics: Arc<Metrics>,
    ) {
        let mut retry: Option<Duration> = None;
        let mut said = None;
        loop {
            tokio::select! {
                changed = revisions.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(retry.unwrap_or_default()), if retry.is_some() => {}
            }
            let Some(revision) = revisions.borrow_and_update().clone() else { continue };
            let result;
            (self, result) = self.apply(revision).await;
            documents.send_replace(self.document.clone());
            match result {
                Ok(()) => {
                    if said.take().is_some() {
                        tracing::info!("the output folder can be written again");
                    }
                    retry = None;
                }
                Err(error) => {
                    metrics.writes_failed.inc();
                    let message = error.to_string();
                    if said.as_ref() != Some(&message) {
                        tracing::error!(%error, "cannot write the output; trying again");
                        said = Some(message);
                    }
                    retry = Some(retry.map_or(FIRST_RETRY, |last| (last * 2).min(LAST_RETRY)));
                }
            }
        }
    }

    async fn apply(mut self, revision: Revision) -> (Self, Result<(), OutputError>) {
        let write = move || {
            let now = OffsetDateTime::now_utc();
            self.document = Arc::new(self.document.next(&revision, now));
            let new = Written { document: self.document.clone(), owned: revision.compiled.owned.clone() };
            // Most changes of a mesh are none of a status; to tell that costs little, unlike writing.
            if self.written.as_ref() == Some(&new) {
                return (self, Ok(()));
            }
            self.written = None;
            let result =
                self.folder.write_status(&new.document).and_then(|()| self.folder.write_objects(&new.owned));
            self.written = result.is_ok().then_some(new);
            (self, result)
        };
        tokio::task::spawn_blocking(write).await.expect("writing the output does not panic")
    }
}
