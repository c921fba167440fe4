//! The record of one connection whose content was not looked into.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use mesh_ir::name::{Identity, ObjectName};
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Inbound,
    Outbound,
}

impl Direction {
    pub fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Event {
    /// It was let in.
    Open,
    Close,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    kind: &'static str,
    event: Event,
    #[serde(serialize_with = "super::rfc3339")]
    time: SystemTime,
    direction: Direction,
    pod: String,
    peer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    security: &'static str,
    /// What the peer proved to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_identity: Option<String>,
    bytes_sent: u64,
    bytes_received: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip)]
    begun: Instant,
}

impl Connection {
    fn new(direction: Direction, pod: &str, peer: String) -> Self {
        Self {
            kind: "connection",
            event: Event::Close,
            time: SystemTime::now(),
            direction,
            pod: pod.to_owned(),
            peer,
            local: None,
            service: None,
            security: "none",
            peer_identity: None,
            bytes_sent: 0,
            bytes_received: 0,
            duration_ms: 0.0,
            error: None,
            begun: Instant::now(),
        }
    }

    pub fn begin(direction: Direction, pod: &str, peer: SocketAddr, local: SocketAddr) -> Self {
        Self { local: Some(local), ..Self::new(direction, pod, peer.to_string()) }
    }

    pub fn outbound(pod: &str, peer: SocketAddr, service: Option<&ObjectName>) -> Self {
        let service = service.map(ToString::to_string);
        Self { service, ..Self::new(Direction::Outbound, pod, peer.to_string()) }
    }

    /// One that was never joined to its destination.
    pub fn refused(direction: Direction, pod: &str, destination: String) -> Self {
        Self::new(direction, pod, destination)
    }

    pub fn security(&mut self, name: &'static str, peer: Option<&Identity>) {
        self.security = name;
        self.peer_identity = peer.map(ToString::to_string);
    }

    pub fn moved(&mut self, sent: u64, received: u64) {
        self.bytes_sent = sent;
        self.bytes_received = received;
        self.duration_ms = self.begun.elapsed().as_secs_f64() * 1000.0;
    }

    pub fn failed(&mut self, error: String) {
        self.duration_ms = self.begun.elapsed().as_secs_f64() * 1000.0;
        self.error = Some(error);
    }

    /// The same record, as it stands when the connection is let in.
    pub(super) fn opened(&self) -> Self {
        Self { event: Event::Open, ..self.clone() }
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    pub(super) fn pod(&self) -> &str {
        &self.pod
    }

    pub(super) fn security_name(&self) -> &'static str {
        self.security
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes_sent + self.bytes_received
    }
}
