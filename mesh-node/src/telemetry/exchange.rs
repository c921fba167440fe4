//! The record of one request and its response. It is told when it is dropped, which is when the response's last byte
//! has gone or nobody wants it any more. The line for the log is made only where there is a log.

use std::fmt;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use http::{Request, StatusCode};
use mesh_ir::eval::Decision;
use mesh_ir::name::ObjectName;
use serde::Serialize;

use super::requests::{Key, Labels, Source};
use crate::proxy::{Arrived, Via, Worker};

/// A path longer than this is cut in the log.
const MAX_PATH: usize = 512;

pub struct Exchange {
    worker: Rc<Worker>,
    arrived: Rc<Arrived>,
    begun: Instant,
    key: Key,
    /// Only where there is a log.
    line: Option<Box<Line>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    kind: &'static str,
    #[serde(serialize_with = "super::rfc3339")]
    time: SystemTime,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_identity: Option<String>,
    method: String,
    host: String,
    path: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<usize>,
    /// The Service and port that the request went to.
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    security: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_identity: Option<String>,
    response_bytes: u64,
    duration_ms: f64,
    /// Why the proxy answered itself, or what broke.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Exchange {
    pub(crate) fn begin<B>(worker: &Rc<Worker>, arrived: &Rc<Arrived>, request: &Request<B>) -> Self {
        let mut exchange = Self::new("request", worker, arrived);
        if let Some(line) = &mut exchange.line {
            let host = request.uri().authority().map(|authority| authority.as_str());
            let header = || request.headers().get(http::header::HOST).and_then(|value| value.to_str().ok());
            line.method = request.method().to_string();
            line.host = host.or_else(header).unwrap_or_default().chars().take(MAX_PATH).collect();
            line.path = request.uri().path().chars().take(MAX_PATH).collect();
        }
        exchange
    }

    /// Of a copy that is sent to a mirror.
    pub(crate) fn mirror(worker: &Rc<Worker>, arrived: &Rc<Arrived>) -> Self {
        Self::new("mirror", worker, arrived)
    }

    /// Of the question that an authorization server is asked.
    pub(crate) fn authorization(worker: &Rc<Worker>, arrived: &Rc<Arrived>) -> Self {
        Self::new("authorization", worker, arrived)
    }

    /// When its request came.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    fn new(kind: &'static str, worker: &Rc<Worker>, arrived: &Rc<Arrived>) -> Self {
        let source = match &**arrived {
            Arrived::Service { pod, .. } => Source::Pod(pod.uid.clone()),
            Arrived::Gateway { target_port, .. } => Source::Port(*target_port),
        };
        let line = worker.state.telemetry.is_logged().then(|| {
            Box::new(Line {
                kind,
                time: SystemTime::now(),
                source: String::new(),
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
            })
        });
        let key = Key { source, destination: None, route: None, status: 0, security: "none" };
        Self { worker: worker.clone(), arrived: arrived.clone(), begun: Instant::now(), key, line }
    }

    pub(crate) fn decided(&mut self, decision: &Decision<'_>) {
        if let Some(matched) = &decision.matched {
            self.key.route = Some(matched.rule.route.clone());
            if let Some(line) = &mut self.line {
                line.rule = Some(matched.rule.index);
            }
        }
        if let Some(listener) = decision.listener {
            self.key.source = Source::Gateway(listener.gateway.clone());
        }
    }

    pub(crate) fn backend(&mut self, service: &ObjectName, port: u16) {
        self.key.destination = Some((service.clone(), port));
    }

    pub(crate) fn endpoint(&mut self, via: &Via, in_tls: bool) {
        self.key.security = via.security(in_tls);
        if let Some(line) = &mut self.line {
            line.endpoint = Some(via.address.to_string());
            line.peer_identity = via.reach.identity().map(ToString::to_string);
        }
    }

    pub(crate) fn answered(&mut self, status: StatusCode, reason: Option<&str>) {
        self.key.status = status.as_u16();
        if let (Some(line), Some(reason)) = (&mut self.line, reason) {
            line.reason.get_or_insert_with(|| reason.to_owned());
        }
    }

    pub(crate) fn failed(&mut self, failure: &dyn std::error::Error) {
        self.because(failure);
    }

    /// The response broke off.
    pub(crate) fn broken(&mut self, why: &dyn fmt::Display) {
        self.because(why);
    }

    fn because(&mut self, why: impl fmt::Display) {
        if let Some(line) = &mut self.line {
            line.reason = Some(why.to_string());
        }
    }

    pub(crate) fn body(&mut self, bytes: usize) {
        if let Some(line) = &mut self.line {
            line.response_bytes += bytes as u64;
        }
    }

    /// The labels of this request's metrics, which are also in its line.
    fn labels(&self) -> Labels {
        let Key { source, destination, route, status, security } = &self.key;
        Labels {
            source: match source {
                Source::Gateway(gateway) => format!("gateway {gateway}"),
                Source::Pod(_) | Source::Port(_) => self.arrived.source(),
            },
            destination: destination
                .as_ref()
                .map(|(service, port)| format!("{service}:{port}"))
                .unwrap_or_default(),
            route: route.as_ref().map(ToString::to_string).unwrap_or_default(),
            response_code: *status,
            security,
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        if self.key.status == 0 {
            // The client went away before there was an answer (nginx's word for it).
            self.key.status = 499;
            if let Some(line) = &mut self.line {
                line.reason.get_or_insert_with(|| "the client went away before the response".to_owned());
            }
        }
        self.worker.meter.count(&self.key, took, || self.labels());
        let Some(mut line) = self.line.take() else { return };
        let labels = self.labels();
        line.source = labels.source;
        line.status = labels.response_code;
        line.route = self.key.route.is_some().then_some(labels.route);
        line.destination = self.key.destination.is_some().then_some(labels.destination);
        line.security = labels.security;
        line.duration_ms = took.as_secs_f64() * 1000.0;
        self.worker.state.telemetry.request(&line);
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("key", &self.key).field("line", &self.line).finish_non_exhaustive()
    }
}
