//! What the operator counts, in the Prometheus text format.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::compile::Revision;

pub(crate) struct Metrics {
    registry: Registry,
    changes: Counter,
    compile_seconds: Histogram,
    resources: Gauge,
    problems: Gauge,
    pub(crate) nodes: Gauge,
    pub(crate) sessions_refused: Counter,
    pub(crate) sessions_failed: Counter,
    pub(crate) messages_sent: Counter,
    pub(crate) writes_failed: Counter,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("weir_operator"),
            changes: Counter::default(),
            compile_seconds: Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]),
            resources: Gauge::default(),
            problems: Gauge::default(),
            nodes: Gauge::default(),
            sessions_refused: Counter::default(),
            sessions_failed: Counter::default(),
            messages_sent: Counter::default(),
            writes_failed: Counter::default(),
        };
        metrics.registered()
    }

    pub(crate) fn compiled(&self, revision: &Revision, took: Duration, changed: bool) {
        self.compile_seconds.observe(took.as_secs_f64());
        self.resources.set(gauge(revision.compiled.config.resources.len()));
        self.problems.set(gauge(revision.problems.len()));
        if changed {
            self.changes.inc();
        }
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing into a String does not fail");
        text
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "config_changes",
            "Configurations that differ from the one before",
            self.changes.clone(),
        );
        registry.register(
            "compile_seconds",
            "Time that compiling the objects took",
            self.compile_seconds.clone(),
        );
        registry.register("resources", "Resources of the configuration", self.resources.clone());
        registry.register(
            "problems",
            "Rejected manifests and resources that cannot be sent",
            self.problems.clone(),
        );
        registry.register("nodes_connected", "Sessions with nodes", self.nodes.clone());
        registry.register(
            "sessions_refused",
            "Subscriptions refused for their identity or number",
            self.sessions_refused.clone(),
        );
        registry.register(
            "sessions_failed",
            "Sessions ended for a protocol error or a node that made no progress",
            self.sessions_failed.clone(),
        );
        registry.register("messages_sent", "Messages sent to nodes", self.messages_sent.clone());
        registry.register(
            "writes_failed",
            "Failed attempts to write the output folder",
            self.writes_failed.clone(),
        );
        self
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
