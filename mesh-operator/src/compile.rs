//! Compiles what the source sees, off the threads that serve, always the newest, and of that what differs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_compile::{Compiled, Compiler, Settings};
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
    let mut compiler = Compiler::new(settings.clone());
    let mut previous = Arc::new(EncodedConfig::default());
    loop {
        // Nothing is compiled before the source has seen everything once.
        let Ok(observed) =
            source.wait_for(Option::is_some).await.map(|newest| newest.clone().unwrap_or_default())
        else {
            return;
        };
        let before = previous.clone();
        match tokio::task::spawn_blocking(move || revise(compiler, &observed, &before)).await {
            Ok((kept, revision, took)) => {
                compiler = kept;
                log(&revision, &previous, took);
                metrics.compiled(&revision, took, revision.encoded.version() != previous.version());
                previous = revision.encoded.clone();
                revisions.send_replace(Some(revision));
            }
            // The panic has been printed. What is being served stays, and the next change is another chance, with
            // everything compiled anew.
            Err(error) => {
                compiler = Compiler::new(settings.clone());
                tracing::error!(%error, "compiling failed; the last configuration stays");
            }
        }
        if source.changed().await.is_err() {
            return;
        }
    }
}

fn revise(
    mut compiler: Compiler,
    observed: &Observed,
    before: &EncodedConfig,
) -> (Compiler, Revision, Duration) {
    let started = Instant::now();
    compiler.update(&observed.snapshot);
    let compiled = compiler.compiled().clone();
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
    (compiler, revision, started.elapsed())
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
