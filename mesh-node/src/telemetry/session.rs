//! The record of what one client of a UDP port and its backend sent each other.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use mesh_ir::name::ObjectName;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;

use crate::sockets::datagrams::Ends;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    kind: &'static str,
    #[serde(serialize_with = "super::rfc3339")]
    time: SystemTime,
    pod: String,
    client: String,
    /// The address of the node that the client dialled.
    local: IpAddr,
    /// The backend; where there is none, what should have had one.
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    pub(super) datagrams_sent: u64,
    pub(super) datagrams_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    /// From the first datagram to the last.
    #[serde(rename = "durationMs", serialize_with = "milliseconds")]
    duration: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
    #[serde(skip)]
    begun: Instant,
}

/// Counts as open until it is dropped.
#[derive(Debug)]
pub struct SessionOpen(Gauge);

impl Session {
    pub fn new(pod: &str, ends: &Ends, peer: String) -> Self {
        Self {
            kind: "session",
            time: SystemTime::now(),
            pod: pod.to_owned(),
            client: ends.client().to_string(),
            local: ends.own.to_canonical(),
            peer,
            service: None,
            datagrams_sent: 0,
            datagrams_received: 0,
            bytes_sent: 0,
            bytes_received: 0,
            duration: Duration::ZERO,
            error: None,
            begun: Instant::now(),
        }
    }

    pub fn service(&mut self, name: &ObjectName) {
        self.service = Some(name.to_string());
    }

    /// To the backend.
    pub fn sent(&mut self, bytes: usize, now: Instant) {
        self.datagrams_sent += 1;
        self.bytes_sent += bytes as u64;
        self.duration = now.saturating_duration_since(self.begun);
    }

    /// From the backend, and on to the client.
    pub fn received(&mut self, bytes: usize, now: Instant) {
        self.datagrams_received += 1;
        self.bytes_received += bytes as u64;
        self.duration = now.saturating_duration_since(self.begun);
    }

    pub fn failed(&mut self, error: String) {
        self.error = Some(error);
    }
}

impl SessionOpen {
    pub(super) fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for SessionOpen {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn milliseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1000.0)
}
