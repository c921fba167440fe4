//! What is told of the traffic: metrics, and a log line for each request and connection. Nothing here waits for
//! whoever reads it: lines that the reader does not take in time are counted and dropped.

use std::sync::Arc;
use std::time::SystemTime;

use mesh_ir::name::ObjectName;
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
mod session;

pub use connection::{Connection, Direction};
pub use exchange::Exchange;
pub use log::AccessLog;
pub use requests::Meter;
pub use session::{Session, SessionOpen};

use requests::Requests;

#[derive(Debug)]
pub struct Telemetry {
    registry: Registry,
    log: AccessLog,
    requests: Arc<Requests>,
    connections: Family<ConnectionLabels, Counter>,
    bytes: Family<ConnectionLabels, Counter>,
    refusals: Family<RefusalLabels, Counter>,
    retries_over_budget: Family<ServiceLabels, Counter>,
    sessions: Family<SessionLabels, Counter>,
    sessions_open: Gauge,
    datagrams: Family<DatagramLabels, Counter>,
    datagram_bytes: Family<DatagramLabels, Counter>,
    datagrams_dropped: Family<RefusalLabels, Counter>,
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabels {
    service: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SessionLabels {
    result: &'static str,
}

/// To backends, or back to clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DatagramLabels {
    to: &'static str,
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
        let retries_over_budget = Family::default();
        registry.register(
            "retries_over_budget",
            "Retries that were not made as the Service's retry budget was used up",
            Family::clone(&retries_over_budget),
        );
        let sessions = Family::default();
        registry.register("udp_sessions", "UDP sessions that have ended", Family::clone(&sessions));
        let sessions_open = Gauge::default();
        registry.register("udp_sessions_open", "UDP sessions with a backend", sessions_open.clone());
        let datagrams = Family::default();
        registry.register(
            "udp_datagrams",
            "Datagrams of UDP sessions that have ended",
            Family::clone(&datagrams),
        );
        let datagram_bytes = Family::default();
        registry.register_with_unit(
            "udp",
            "Bytes of UDP sessions that have ended",
            Unit::Bytes,
            Family::clone(&datagram_bytes),
        );
        let datagrams_dropped = Family::default();
        registry.register(
            "udp_datagrams_dropped",
            "Datagrams of UDP that were not passed on, by reason",
            Family::clone(&datagrams_dropped),
        );
        let captured_pods = Gauge::default();
        registry.register("captured_pods", "Pods whose traffic is captured", captured_pods.clone());
        let views = Counter::default();
        registry.register("configurations", "Configurations applied", views.clone());
        registry.register("access_log_dropped", "Log lines that were not taken in time", log.dropped());
        Self {
            registry,
            log,
            requests,
            connections,
            bytes,
            refusals,
            retries_over_budget,
            sessions,
            sessions_open,
            datagrams,
            datagram_bytes,
            datagrams_dropped,
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

    pub fn retry_over_budget(&self, service: &ObjectName) {
        let labels = ServiceLabels { service: service.to_string() };
        self.retries_over_budget.get_or_create(&labels).inc();
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

    /// A UDP session begins.
    pub fn session_open(&self) -> SessionOpen {
        SessionOpen::new(self.sessions_open.clone())
    }

    /// A UDP session has ended, or a client was given none.
    pub fn session(&self, record: Session) {
        let result = if record.error.is_some() { "error" } else { "ok" };
        self.sessions.get_or_create(&SessionLabels { result }).inc();
        for (to, datagrams, bytes) in [
            ("backend", record.datagrams_sent, record.bytes_sent),
            ("client", record.datagrams_received, record.bytes_received),
        ] {
            self.datagrams.get_or_create(&DatagramLabels { to }).inc_by(datagrams);
            self.datagram_bytes.get_or_create(&DatagramLabels { to }).inc_by(bytes);
        }
        self.log.write(&record);
    }

    pub fn datagrams_dropped(&self, reason: &'static str, count: u64) {
        self.datagrams_dropped.get_or_create(&RefusalLabels { reason }).inc_by(count);
    }

    fn request(&self, line: &exchange::Line) {
        self.log.write(line);
    }
}

fn rfc3339<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let text = OffsetDateTime::from(*time).format(&Rfc3339).map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}
