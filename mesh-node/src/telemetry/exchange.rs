//! The record of one request and its response. It is told when it is dropped, which is when the response's last byte
//! has gone or nobody wants it any more.

use std::time::{Instant, SystemTime};

use http::{Request, StatusCode};
use mesh_ir::eval::Decision;
use mesh_ir::name::ObjectName;
use serde::Serialize;

use super::Shared;
use crate::proxy::{Arrived, Via};

/// A path longer than this is cut in the log.
const MAX_PATH: usize = 512;

#[derive(Debug)]
pub struct Exchange {
    state: Shared,
    begun: Instant,
    line: Line,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    kind: &'static str,
    #[serde(serialize_with = "super::rfc3339")]
    time: SystemTime,
    pub(super) source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_identity: Option<String>,
    method: String,
    host: String,
    path: String,
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<usize>,
    /// The Service and port that the request went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) destination: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    pub(super) security: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_identity: Option<String>,
    response_bytes: u64,
    pub(super) duration_ms: f64,
    /// Why the proxy answered itself, or what broke.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Exchange {
    pub(crate) fn begin<B>(state: &Shared, arrived: &Arrived, request: &Request<B>) -> Self {
        let mut exchange = Self::new("request", state, arrived);
        let host = request.uri().authority().map(|authority| authority.as_str());
        let header = || request.headers().get(http::header::HOST).and_then(|value| value.to_str().ok());
        exchange.line.method = request.method().to_string();
        exchange.line.host = host.or_else(header).unwrap_or_default().chars().take(MAX_PATH).collect();
        exchange.line.path = request.uri().path().chars().take(MAX_PATH).collect();
        exchange
    }

    /// Of a copy that is sent to a mirror.
    pub(crate) fn mirror(state: &Shared, arrived: &Arrived) -> Self {
        Self::new("mirror", state, arrived)
    }

    fn new(kind: &'static str, state: &Shared, arrived: &Arrived) -> Self {
        let line = Line {
            kind,
            time: SystemTime::now(),
            source: arrived.source(),
            source_identity: arrived.identity().map(ToString::to_string),
            method: String::new(),
            host: String::new(),
            path: String::new(),
            status: 0,
            route: None,
            rule: None,
            destination: None,
            endpoint: None,
            security: "none",
            peer_identity: None,
            response_bytes: 0,
            duration_ms: 0.0,
            reason: None,
        };
        Self { state: state.clone(), begun: Instant::now(), line }
    }

    pub(crate) fn decided(&mut self, decision: &Decision<'_>) {
        if let Some(matched) = &decision.matched {
            self.line.route = Some(matched.rule.route.to_string());
            self.line.rule = Some(matched.rule.index);
        }
        if let Some(listener) = decision.listener {
            self.line.source = format!("gateway {}", listener.gateway);
        }
    }

    pub(crate) fn backend(&mut self, service: &ObjectName, port: u16) {
        self.line.destination = Some(format!("{service}:{port}"));
    }

    pub(crate) fn endpoint(&mut self, via: &Via) {
        self.line.endpoint = Some(via.address.to_string());
        self.line.security = via.reach.name();
        self.line.peer_identity = via.reach.identity().map(ToString::to_string);
    }

    pub(crate) fn answered(&mut self, status: StatusCode, reason: Option<&str>) {
        self.line.status = status.as_u16();
        if let (None, Some(reason)) = (&self.line.reason, reason) {
            self.line.reason = Some(reason.to_owned());
        }
    }

    pub(crate) fn failed(&mut self, failure: &dyn std::error::Error) {
        self.line.reason = Some(failure.to_string());
    }

    /// The response broke off.
    pub(crate) fn broken(&mut self, why: &str) {
        self.line.reason = Some(why.to_owned());
    }

    pub(crate) fn body(&mut self, bytes: usize) {
        self.line.response_bytes += bytes as u64;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.line.duration_ms = self.begun.elapsed().as_secs_f64() * 1000.0;
        if self.line.status == 0 {
            // The client went away before there was an answer (nginx's word for it).
            self.line.status = 499;
            self.line.reason.get_or_insert_with(|| "the client went away before the response".to_owned());
        }
        self.state.telemetry.request(&self.line);
    }
}
