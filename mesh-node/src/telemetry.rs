//! What is told of the traffic: metrics, and a log line for each request and connection. Nothing here waits for
//! whoever reads it: lines that the reader does not take in time are counted and dropped.

use std::sync::Arc;
use std::time::SystemTime;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use serde::Serializer;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

mod connection;
mod exchange;
mod log;

pub use connection::{Connection, Direction};
pub use exchange::Exchange;
pub use log::AccessLog;

#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    log: AccessLog,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RequestLabels, Histogram, fn() -> Histogram>,
    connections: Family<ConnectionLabels, Counter>,
    bytes: Family<ConnectionLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    pub captured_pods: Gauge,
    pub views: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// `namespace/name` of the source pod, or `gateway NAMESPACE/NAME`.
    source: String,
    destination: String,
    route: String,
    response_code: u16,
    security: &'static str,
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

fn durations() -> Histogram {
    // 0.5 ms to 16 s.
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

impl Telemetry {
    pub fn new(log: AccessLog) -> Self {
        let mut registry = Registry::with_prefix("weir");
        let requests = Family::default();
        registry.register("requests", "HTTP requests answered", Family::clone(&requests));
        let histograms = Family::new_with_constructor(durations as fn() -> Histogram);
        registry.register_with_unit(
            "request_duration",
            "From a request's head to the end of its response",
            Unit::Seconds,
            Family::clone(&histograms),
        );
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
        Self {
            registry,
            log,
            requests,
            durations: histograms,
            connections,
            bytes,
            refusals,
            captured_pods,
            views,
        }
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

    /// A connection was let in.
    pub fn opened(&self, record: &Connection) {
        self.log.write(&record.opened());
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

    fn request(&self, exchange: &exchange::Line) {
        let labels = RequestLabels {
            source: exchange.source.clone(),
            destination: exchange.destination.clone().unwrap_or_default(),
            route: exchange.route.clone().unwrap_or_default(),
            response_code: exchange.status,
            security: exchange.security,
        };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(exchange.duration_ms / 1000.0);
        self.log.write(exchange);
    }
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = OffsetDateTime::from(*time).format(&Rfc3339).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}

/// Where a record goes when it is complete.
type Shared = Arc<crate::state::State>;
