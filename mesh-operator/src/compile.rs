//! Compiles what the source sees, off the threads that serve, always the newest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_compile::{Compiled, Settings};
use mesh_wire::EncodedConfig;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::watch::{FileProblem, Observed};

/// All that follows from one state of the source.
#[derive(Clone, Debug)]
pub(crate) struct Revision {
    pub(crate) compiled: Arc<Compiled>,
    pub(crate) encoded: Arc<EncodedConfig>,
    /// Rejected manifests, and resources that cannot be sent.
    pub(crate) problems: Arc<Vec<FileProblem>>,
}

/// Compiles until the source ends. The first revision is there when `revisions` has one.
pub(crate) async fn run(
    mut source: watch::Receiver<Option<Observed>>,
    settings: Settings,
    revisions: watch::Sender<Option<Revision>>,
    metrics: Arc<Metrics>,
) {
    let settings = Arc::new(settings);
    let mut previous = Arc::new(EncodedConfig::default());
    loop {
        // Nothing is compiled before the source has seen everything once.
        let Ok(observed) =
            source.wait_for(Option::is_some).await.map(|newest| newest.clone().unwrap_or_default())
        else {
            return;
        };
        let (before, with) = (previous.clone(), settings.clone());
        match tokio::task::spawn_blocking(move || revise(&observed, &with, &before)).await {
            Ok((revision, took)) => {
                log(&revision, &previous, took);
                metrics.compiled(&revision, took, revision.encoded.version() != previous.version());
                previous = revision.encoded.clone();
                revisions.send_replace(Some(revision));
            }
            // The panic has been printed. What is being served stays, and the next change is another chance.
            Err(error) => tracing::error!(%error, "compiling failed; the last configuration stays"),
        }
        if source.changed().await.is_err() {
            return;
        }
    }
}

fn revise(observed: &Observed, settings: &Settings, before: &EncodedConfig) -> (Revision, Duration) {
    let started = Instant::now();
    let compiled = mesh_compile::compile(&observed.snapshot, settings);
    let encoded = before.next(&compiled.config);
    let mut problems = observed.problems.clone();
    problems.extend(encoded.oversized().map(|oversized| FileProblem {
        file: String::new(),
        object: Some(oversized.key.to_string()),
        field: None,
        message: oversized.to_string(),
    }));
    let revision =
        Revision { compiled: Arc::new(compiled), encoded: Arc::new(encoded), problems: Arc::new(problems) };
    (revision, started.elapsed())
}

fn log(revision: &Revision, previous: &EncodedConfig, took: Duration) {
    let Revision { compiled, encoded, problems } = revision;
    for oversized in encoded.oversized() {
        if !previous.oversized().any(|before| before == oversized) {
            tracing::error!(resource = %oversized.key, bytes = oversized.bytes, "{oversized}");
        }
    }
    let took_ms = took.as_secs_f64() * 1000.0;
    let (resources, statuses, problems) =
        (compiled.config.resources.len(), compiled.statuses.len(), problems.len());
    if encoded.version() == previous.version() {
        tracing::debug!(resources, statuses, problems, took_ms, "compiled the same configuration");
    } else {
        let (changed, version) = (encoded.changed(), format!("{:016x}", encoded.version()));
        tracing::info!(version, resources, changed, statuses, problems, took_ms, "the configuration changed");
    }
}
