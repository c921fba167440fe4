//! Writes what the compilation says back to the API server: statuses, and the objects that Gateways need. Only the
//! leader of the operator's replicas does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Document;
use crate::cluster::ApiServer;
use crate::compile::Revision;
use crate::metrics::Metrics;
use crate::publish::nodes::{Acknowledged, Nodes};
use crate::watch::Observed;
use crate::watch::kubernetes::LiveState;
use election::Candidate;
pub(crate) use election::LEASE;
use plan::{Planner, State};
pub(crate) use write::resource;
use write::{Failure, Writer};

mod announce;
mod election;
mod merge;
mod plan;
mod programmed;
mod replicas;
mod write;

const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(15);
/// What changes within so long is looked at together.
const COALESCE: Duration = Duration::from_millis(10);
/// Requests under way at once.
const CONCURRENT: usize = 16;

/// The writer of one replica.
#[derive(Debug)]
pub(crate) struct ClusterApplier {
    pub(crate) server: ApiServer,
    /// The operator's own: where the Lease is.
    pub(crate) namespace: String,
    pub(crate) observed: watch::Receiver<Option<Observed>>,
    pub(crate) live: watch::Receiver<Arc<LiveState>>,
    pub(crate) nodes: Nodes,
    /// True once the operator is ending.
    pub(crate) ending: watch::Receiver<bool>,
}

impl ClusterApplier {
    /// Takes part in the election, and writes while leading. `documents` has the newest statuses in every replica.
    /// Completes once the operator is ending and the Lease is given back.
    pub(crate) async fn run(
        self,
        revisions: watch::Receiver<Option<Revision>>,
        documents: watch::Sender<Arc<Document>>,
        metrics: Arc<Metrics>,
    ) {
        let identity = identity();
        let (leading_sender, leading) = watch::channel(false);
        let candidate = Candidate::new(self.server.client.clone(), &self.namespace, identity.clone());
        let (others_sender, others) = watch::channel(Vec::new());
        let replica = replicas::Replica {
            client: self.server.client.clone(),
            namespace: self.namespace.clone(),
            identity,
            nodes: self.nodes.clone(),
            leading: leading.clone(),
        };
        let applying = Applying {
            writer: Writer::new(self.server.client),
            planner: Planner::default(),
            observed: self.observed,
            live: self.live,
            nodes: self.nodes,
            others,
            leading,
            metrics,
            said: BTreeMap::new(),
        };
        let ending = self.ending.clone();
        // Both complete once the operator is ending, and what they have in the cluster is given back.
        let taking_part = async {
            tokio::join!(candidate.run(leading_sender, self.ending), replica.run(others_sender, ending));
        };
        tokio::select! {
            () = taking_part => {}
            () = applying.run(revisions, documents) => {}
        }
    }
}

struct Applying {
    writer: Writer,
    planner: Planner,
    observed: watch::Receiver<Option<Observed>>,
    live: watch::Receiver<Arc<LiveState>>,
    nodes: Nodes,
    /// The nodes of the other replicas.
    others: watch::Receiver<Vec<Acknowledged>>,
    leading: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    /// What could not be written, and why.
    said: BTreeMap<String, String>,
}

impl Applying {
    async fn run(
        mut self,
        mut revisions: watch::Receiver<Option<Revision>>,
        documents: watch::Sender<Arc<Document>>,
    ) {
        let mut document = Arc::new(Document::default());
        let mut newest = None;
        let mut nodes_changed = self.nodes.changes();
        let (mut retry, mut wake): (Option<Duration>, Option<Instant>) = (None, None);
        loop {
            let retry_at = retry.map(|retry| Instant::now() + retry);
            let at = [retry_at, wake].into_iter().flatten().min();
            tokio::select! {
                changed = revisions.changed() => if changed.is_err() { return },
                changed = self.live.changed() => if changed.is_err() { return },
                changed = self.leading.changed() => if changed.is_err() { return },
                _ = nodes_changed.changed() => {}
                _ = self.others.changed() => {}
                () = tokio::time::sleep_until(at.unwrap_or_else(Instant::now)), if at.is_some() => {}
            }
            tokio::time::sleep(COALESCE).await;
            let Some(revision) = revisions.borrow_and_update().clone() else { continue };
            if newest.as_ref().is_none_or(|newest| !Arc::ptr_eq(newest, &revision.compiled)) {
                newest = Some(revision.compiled.clone());
                document = Arc::new(document.next(&revision, OffsetDateTime::now_utc()));
                documents.send_replace(document.clone());
                self.planner.published(revision.encoded.version());
            }
            let leading = *self.leading.borrow_and_update();
            (retry, wake) = match leading {
                true => self.lead(&revision, retry).await,
                false => {
                    // Whoever leads meanwhile may write something else.
                    self.planner.forget();
                    (None, None)
                }
            };
        }
    }

    /// Writes what is to be written; gives when to try again, and when to look again.
    async fn lead(
        &mut self,
        revision: &Revision,
        retry: Option<Duration>,
    ) -> (Option<Duration>, Option<Instant>) {
        let live = self.live.borrow_and_update().clone();
        let mut nodes = self.nodes.acknowledged();
        let others = self.others.borrow_and_update().clone();
        // A node that has come over from a replica that ended: what it acknowledges here is newer.
        let ours: BTreeSet<String> = nodes.iter().map(|node| node.node.clone()).collect();
        nodes.extend(others.into_iter().filter(|other| !ours.contains(&other.node)));
        let snapshot = self.observed.borrow().as_ref().map(|o| o.snapshot.clone()).unwrap_or_default();
        let state = State { revision, snapshot: &snapshot, live: &live, nodes: &nodes, now: Instant::now() };
        let plan = self.planner.plan(&state);
        let writer = &self.writer;
        let writing = futures_util::stream::iter(plan.writes)
            .map(async |write| (writer.write(&write).await, write))
            .buffer_unordered(CONCURRENT)
            .collect::<Vec<_>>();
        // Losing the Lease ends what is under way.
        let results = tokio::select! {
            results = writing => results,
            _ = self.leading.wait_for(|leading| !*leading) => return (None, None),
        };
        let mut failed = BTreeMap::new();
        for (result, write) in results {
            match result {
                Ok(()) => self.planner.written(write),
                Err(Failure { subject, problem }) => _ = failed.insert(subject, problem),
            }
        }
        self.say(failed);
        let retry = (!self.said.is_empty()).then(|| {
            retry.map_or(FIRST_RETRY, |last| (last * 2).min(LAST_RETRY)).mul_f64(0.8 + 0.4 * fastrand::f64())
        });
        (retry, plan.wake)
    }

    fn say(&mut self, failed: BTreeMap<String, String>) {
        for (subject, problem) in &failed {
            self.metrics.writes_failed.inc();
            if self.said.get(subject) != Some(problem) {
                tracing::error!(object = subject, problem, "cannot write; trying again");
            }
        }
        for subject in self.said.keys().filter(|subject| !failed.contains_key(*subject)) {
            tracing::info!(object = subject, "written, or no longer to be written");
        }
        self.said = failed;
    }
}

/// The Pod's name, as a rule, and what tells this process from the one before it.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "mesh-operator",
        host => host,
    };
    format!("{}-{:08x}", host.to_ascii_lowercase(), fastrand::u32(..))
}
