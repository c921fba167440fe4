//! The spans of a Gateway's request that is traced: one of the request itself, from its head to the end of its response,
//! and within it one of each try to have a backend answer. They are given to the Gateway's exporter when the
//! request is over.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use http::request::Parts;
use mesh_ir::eval::sampling::is_sampled;
use mesh_ir::name::ObjectName;
use mesh_ir::view::ListenerView;
use prost::Message;

use crate::proxy::{Arrived, Exporter, Worker};

mod attributes;
mod context;
pub(crate) mod otlp;

use attributes::Incoming;
use context::Context;
use otlp::{KIND_CLIENT, KIND_SERVER, KeyValue, STATUS_ERROR, Span, Status, Value};

/// What the conventions call an error that has no better name.
const OTHER: &str = "_OTHER";
/// That it is known whether the parent is in another process, and that it is (`SpanFlags` of OTLP).
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

pub(super) struct Trace {
    exporter: Rc<Exporter>,
    /// Of the request's own span.
    context: Context,
    /// Of the client's.
    client: Option<Context>,
    state: String,
    begun: (Instant, SystemTime),
    method: &'static str,
    standard: Vec<KeyValue>,
    /// What the policy asks for, and the names under which it wants a response's status.
    asked: (Vec<KeyValue>, Vec<String>),
    current: Option<Try>,
    tries: u32,
    /// Why the proxy answered itself, or what broke.
    reason: Option<String>,
    /// The response broke off.
    broken: bool,
}

/// One request to a backend.
#[derive(Debug)]
struct Try {
    context: Context,
    begun: Instant,
    service: ObjectName,
    port: u16,
    path: String,
    resent: u32,
    endpoint: Option<SocketAddr>,
    in_tls: bool,
    answered: Option<(Instant, StatusCode)>,
    reason: Option<String>,
}

impl Trace {
    /// Decides whether a request is traced, and tells those behind the Gateway in its head.
    pub(super) fn begin(
        worker: &Rc<Worker>,
        arrived: &Rc<Arrived>,
        listener: &ListenerView,
        head: &mut Parts,
        host: &str,
    ) -> Option<Box<Self>> {
        let tracing = listener.tracing.as_ref()?;
        let client = Context::read(&head.headers);
        if client.is_none() {
            context::forget_state(&mut head.headers);
        }
        let by_client = client.map(Context::is_sampled);
        let sampled = is_sampled(tracing, by_client, fastrand::u32(..));
        if !sampled && by_client == Some(false) {
            // Nothing has changed, and what the client said goes on.
            return None;
        }
        let context = Context::begin(client, sampled);
        context.write(&mut head.headers);
        if !sampled {
            return None;
        }
        let incoming = Incoming { head, host, arrived, listener };
        Some(Box::new(Self {
            exporter: worker.exporters.of(worker, arrived, &listener.gateway, tracing),
            context,
            client,
            state: context::state(&head.headers),
            begun: (Instant::now(), SystemTime::now()),
            method: attributes::method(&head.method),
            standard: attributes::standard(&incoming),
            asked: attributes::asked(&tracing.attributes, &incoming),
            current: None,
            tries: 0,
            reason: None,
            broken: false,
        }))
    }

    /// A request goes to a backend, which is told that it belongs to the span of this try.
    pub(super) fn tries(&mut self, service: &ObjectName, port: u16, head: &mut Parts) {
        self.end_try(None);
        let context = self.context.beside();
        context.write(&mut head.headers);
        self.current = Some(Try {
            context,
            begun: Instant::now(),
            service: service.clone(),
            port,
            path: attributes::cut(head.uri.path()),
            resent: self.tries,
            endpoint: None,
            in_tls: false,
            answered: None,
            reason: None,
        });
        self.tries += 1;
    }

    pub(super) fn endpoint(&mut self, address: SocketAddr, in_tls: bool) {
        if let Some(current) = &mut self.current {
            (current.endpoint, current.in_tls) = (Some(address), in_tls);
        }
    }

    pub(super) fn try_answered(&mut self, status: StatusCode) {
        if let Some(current) = &mut self.current {
            current.answered = Some((Instant::now(), status));
        }
    }

    pub(super) fn try_failed(&mut self, why: &dyn fmt::Display) {
        if let Some(current) = &mut self.current {
            current.reason.get_or_insert_with(|| why.to_string());
        }
    }

    /// No backend answered.
    pub(super) fn failed(&mut self, why: &dyn fmt::Display) {
        self.try_failed(why);
        self.reason = Some(why.to_string());
    }

    /// The response broke off.
    pub(super) fn broken(&mut self, why: &dyn fmt::Display) {
        self.failed(why);
        self.broken = true;
    }

    /// The proxy answers itself.
    pub(super) fn answered(&mut self, reason: &str) {
        self.reason.get_or_insert_with(|| reason.to_owned());
    }

    /// The request is over; its client has had an answer with this status, where it has had one.
    pub(super) fn end(mut self, status: Option<u16>) {
        let now = Instant::now();
        self.end_try(Some(now));
        let mut own = std::mem::take(&mut self.standard);
        own.extend(
            status.map(|status| KeyValue::new("http.response.status_code", Value::Number(status.into()))),
        );
        let error = match status {
            Some(status) if status >= 500 => Some(status.to_string()),
            Some(_) if !self.broken => None,
            _ => Some(OTHER.into()),
        };
        let reason = self.reason.take().unwrap_or_default();
        let error = error.map(|kind| (kind, reason));
        let name = match (&self.exporter.tracing().span_name, self.method) {
            (Some(name), _) => name.as_str(),
            (None, OTHER) => "HTTP",
            (None, method) => method,
        };
        let span = Span {
            parent_span_id: self.client.map(|client| client.span.to_vec()).unwrap_or_default(),
            name: name.to_owned(),
            kind: KIND_SERVER,
            ..self.span(self.context, self.client.is_some(), (self.begun.0, now), status, own, error)
        };
        self.exporter.take(span.encode_to_vec().into());
    }

    /// Ends the span of the last try: with its answer's head, or, where it is the last of the request, with that.
    fn end_try(&mut self, request_ended: Option<Instant>) {
        let Some(current) = self.current.take() else { return };
        let (answered, status) = current.answered.unzip();
        let ended = request_ended.or(answered).unwrap_or_else(Instant::now);
        let (host, port) = (format!("{}.{}", current.service.name, current.service.namespace), current.port);
        let scheme = if current.in_tls { "https" } else { "http" };
        let mut own = vec![
            KeyValue::text("http.request.method", self.method),
            KeyValue::text("url.full", format!("{scheme}://{host}:{port}{}", current.path)),
            KeyValue::text("server.address", host),
            KeyValue::new("server.port", Value::Number(port.into())),
        ];
        if let Some(endpoint) = current.endpoint {
            own.push(KeyValue::text("network.peer.address", endpoint.ip().to_string()));
            own.push(KeyValue::new("network.peer.port", Value::Number(endpoint.port().into())));
        }
        if current.resent > 0 {
            own.push(KeyValue::new("http.request.resend_count", Value::Number(current.resent.into())));
        }
        let status = status.map(|status| status.as_u16());
        own.extend(
            status.map(|status| KeyValue::new("http.response.status_code", Value::Number(status.into()))),
        );
        let error = match status {
            Some(status) if status < 400 && current.reason.is_none() => None,
            Some(status) if status >= 400 => Some(status.to_string()),
            _ => Some(OTHER.into()),
        };
        let error = error.map(|kind| (kind, current.reason.unwrap_or_default()));
        let span = Span {
            parent_span_id: self.context.span.to_vec(),
            name: if self.method == OTHER { "HTTP".into() } else { self.method.into() },
            kind: KIND_CLIENT,
            ..self.span(current.context, false, (current.begun, ended), status, own, error)
        };
        self.exporter.take(span.encode_to_vec().into());
    }

    /// What both kinds of spans have; `error` is what the conventions call it, and why.
    fn span(
        &self,
        context: Context,
        is_parent_remote: bool,
        (begun, ended): (Instant, Instant),
        status: Option<u16>,
        own: Vec<KeyValue>,
        error: Option<(String, String)>,
    ) -> Span {
        let (asked, status_names) = &self.asked;
        let mut attributes = asked.clone();
        if let Some(status) = status {
            let named = |name: &String| KeyValue::new(name.as_str(), Value::Number(status.into()));
            attributes.extend(status_names.iter().map(named));
        }
        // A key is there once, and what the policy says of it counts.
        for attribute in
            own.into_iter().chain(error.iter().map(|(kind, _)| KeyValue::text("error.type", kind)))
        {
            if attributes.iter().all(|asked| asked.key != attribute.key) {
                attributes.push(attribute);
            }
        }
        Span {
            trace_id: context.trace.to_vec(),
            span_id: context.span.to_vec(),
            trace_state: self.state.clone(),
            parent_span_id: Vec::new(),
            name: String::new(),
            kind: 0,
            start_time_unix_nano: self.nanoseconds(begun),
            end_time_unix_nano: self.nanoseconds(ended),
            attributes,
            status: error.map(|(_, reason)| Status { message: attributes::cut(&reason), code: STATUS_ERROR }),
            flags: u32::from(context.flags) | HAS_IS_REMOTE | if is_parent_remote { IS_REMOTE } else { 0 },
        }
    }

    /// Since 1970, by a clock that is read once a request: no span ends before it has begun.
    fn nanoseconds(&self, at: Instant) -> u64 {
        let (instant, time) = self.begun;
        let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let whole = since_epoch + at.saturating_duration_since(instant);
        // 584 years fit.
        u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX)
    }
}
