//! The record of one request and its response. It is told when it is dropped, which is when the response's last byte
//! has gone or nobody wants it any more. The line for the log is made only where there is a log.

use std::fmt;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use http::request::Parts;
use http::{Request, StatusCode};
use mesh_ir::eval::Decision;
use mesh_ir::name::ObjectName;
use mesh_ir::view::ListenerView;
use serde::Serialize;

use super::requests::{Key, Labels, Source};
use super::trace::Trace;
use crate::proxy::{Arrived, Via, Worker};

/// A path longer than this is cut in the log.
const MAX_PATH: usize = 512;
const CLIENT_GONE: &str = "the client went away before the response";

pub struct Exchange {
    worker: Rc<Worker>,
    arrived: Rc<Arrived>,
    begun: Instant,
    key: Key,
    /// Only where there is a log.
    line: Option<Box<Line>>,
    /// Only where the request is traced.
    trace: Option<Box<Trace>>,
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

    /// Of a call to a collector of a Gateway's spans.
    pub(crate) fn export(worker: &Rc<Worker>, arrived: &Rc<Arrived>, gateway: &ObjectName) -> Self {
        let mut exchange = Self::new("export", worker, arrived);
        exchange.key.source = Source::Gateway(gateway.clone());
        exchange
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
        Self {
            worker: worker.clone(),
            arrived: arrived.clone(),
            begun: Instant::now(),
            key,
            line,
            trace: None,
        }
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

    /// Traces the request, where its Gateway asks for that. What those behind the Gateway must know goes into its head.
    pub(crate) fn trace(&mut self, listener: &ListenerView, head: &mut Parts, host: &str) {
        if listener.tracing.is_some() {
            self.trace = Trace::begin(&self.worker, &self.arrived, listener, head, host);
        }
    }

    /// A request goes out: the first one, or a try after others.
    pub(crate) fn backend(&mut self, service: &ObjectName, port: u16, head: &mut Parts) {
        self.key.destination = Some((service.clone(), port));
        if let Some(trace) = &mut self.trace {
            trace.tries(service, port, head);
        }
    }

    pub(crate) fn endpoint(&mut self, via: &Via, in_tls: bool) {
        self.key.security = via.security(in_tls);
        if let Some(trace) = &mut self.trace {
            trace.endpoint(via.address, in_tls);
        }
        if let Some(line) = &mut self.line {
            line.endpoint = Some(via.address.to_string());
            line.peer_identity = via.reach.identity().map(ToString::to_string);
        }
    }

    /// What came of a try.
    pub(crate) fn tried<E: std::error::Error>(&mut self, outcome: Result<StatusCode, &E>) {
        match (&mut self.trace, outcome) {
            (Some(trace), Ok(status)) => trace.try_answered(status),
            (Some(trace), Err(failure)) => trace.try_failed(failure),
            (None, _) => {}
        }
    }

    pub(crate) fn answered(&mut self, status: StatusCode, reason: Option<&str>) {
        self.key.status = status.as_u16();
        if let (Some(trace), Some(reason)) = (&mut self.trace, reason) {
            trace.answered(reason);
        }
        if let (Some(line), Some(reason)) = (&mut self.line, reason) {
            line.reason.get_or_insert_with(|| reason.to_owned());
        }
    }

    pub(crate) fn failed(&mut self, failure: &dyn std::error::Error) {
        if let Some(trace) = &mut self.trace {
            trace.failed(&failure);
        }
        self.because(failure);
    }

    /// The response broke off.
    pub(crate) fn broken(&mut self, why: &dyn fmt::Display) {
        if let Some(trace) = &mut self.trace {
            trace.broken(why);
        }
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
        if let Some(mut trace) = self.trace.take() {
            if self.key.status == 0 {
                trace.failed(&CLIENT_GONE);
            }
            trace.end(Some(self.key.status).filter(|status| *status != 0));
        }
        if self.key.status == 0 {
            // The client went away before there was an answer (nginx's word for it).
            self.key.status = 499;
            if let Some(line) = &mut self.line {
                line.reason.get_or_insert_with(|| CLIENT_GONE.to_owned());
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
