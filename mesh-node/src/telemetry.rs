//! What is told of the traffic: metrics, and a log line for each request and connection. Nothing here waits for
//! whoever reads it: lines that the reader does not take in time are counted and dropped.

use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use serde::Serializer;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

mod connection;
mod exchange;
mod log;
mod requests;

pub use connection::{Connection, Direction};
pub use exchange::Exchange;
pub use log::AccessLog;
pub use requests::Meter;

use requests::Requests;

#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    log: AccessLog,
    requests: Arc<Requests>,
    connections: Family<ConnectionLabels, Counter>,
    bytes: Family<ConnectionLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    pub captured_pods: Gauge,
    pub views: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    direction: &'static str,
    pod: String,
    security: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusalLabels {
    reason: &'static str,
}

impl Telemetry {
    pub fn new(log: AccessLog) -> Self {
        let mut registry = Registry::with_prefix("weir");
        let requests = Arc::new(Requests::default());
        registry.register_collector(Box::new(requests.clone()));
        let connections = Family::default();
        registry.register("connections", "Connections that have ended", Family::clone(&connections));
        let bytes = Family::default();
        registry.register_with_unit(
            "connection",
            "Bytes moved by connections, both ways",
            Unit::Bytes,
            Family::clone(&bytes),
        );
        let refusals = Family::default();
        registry.register("refusals", "What the proxy refused, by reason", Family::clone(&refusals));
        let captured_pods = Gauge::default();
        registry.register("captured_pods", "Pods whose traffic is captured", captured_pods.clone());
        let views = Counter::default();
        registry.register("configurations", "Configurations applied", views.clone());
        registry.register("access_log_dropped", "Log lines that were not taken in time", log.dropped());
        Self { registry, log, requests, connections, bytes, refusals, captured_pods, views }
    }

    /// All metrics in the OpenMetrics text format.
    pub fn scrape(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    pub fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&RefusalLabels { reason }).inc();
    }

    /// For one worker.
    pub fn meter(&self) -> Meter {
        Meter::new(self.requests.clone())
    }

    fn is_logged(&self) -> bool {
        self.log.is_on()
    }

    /// A connection was let in.
    pub fn opened(&self, record: &Connection) {
        if self.is_logged() {
            self.log.write(&record.opened());
        }
    }

    /// A connection has ended.
    pub fn connection(&self, record: Connection) {
        let labels = ConnectionLabels {
            direction: record.direction().name(),
            pod: record.pod().to_owned(),
            security: record.security_name(),
            result: if record.error().is_some() { "error" } else { "ok" },
        };
        self.bytes.get_or_create(&labels).inc_by(record.bytes());
        self.connections.get_or_create(&labels).inc();
        self.log.write(&record);
    }

    fn request(&self, line: &exchange::Line) {
        self.log.write(line);
    }
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = OffsetDateTime::from(*time).format(&Rfc3339).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}
