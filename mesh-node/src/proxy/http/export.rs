//! The spans of Gateways' requests on their way to collectors, by OTLP over gRPC. Each worker has a queue for each Gateway and
//! a task that empties it, beside the requests: a collector that is slow or away costs spans, and no request anything.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use http::request::Parts;
use http::uri::Uri;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use mesh_ir::name::ObjectName;
use mesh_ir::resource::{Service, Tracing};
use mesh_ir::view::MeshView;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::body::Body;
use super::forward::{Course, Outgoing, send};
use super::h1::Interim;
use super::{Inlet, fields, grpc};
use crate::proxy::Worker;
use crate::state::State;
use crate::telemetry::{Exchange, otlp};

/// What waits for a collector, of one Gateway's at one worker. OpenTelemetry's SDKs have the same bound by default.
const MAX_QUEUED: usize = 2048;
/// The bytes of those spans: their attributes may be long.
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// Spans of one call, again as the SDKs have it.
const MAX_BATCH: usize = 512;
/// A server of gRPC takes messages of 4 MiB by default.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// The longest that the first span of a call waits for others: long enough that a busy worker makes few calls, and short enough to
/// find a trace in the collector when one goes looking for it.
const GATHERING: Duration = Duration::from_secs(1);
/// OTLP's default for a call.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Calls that are made again before their spans are given up: with the waits between them about 15 s, in which a collector
/// restarts.
const RETRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Of what a collector answers no more is read.
const MAX_ANSWER: usize = 64 << 10;
/// Of what it says is wrong.
const MAX_MESSAGE: usize = 256;

/// The exporters of a worker.
#[derive(Debug, Default)]
pub(crate) struct Exporters {
    by_gateway: RefCell<BTreeMap<ObjectName, Known>>,
    /// Whether the node ends. Whoever has spans to send is listening.
    ending: watch::Sender<bool>,
}

/// An exporter, with the configuration that it was last asked for with.
type Known = (Arc<Tracing>, Rc<Exporter>);

/// Takes the spans of a Gateway's requests.
#[derive(Debug)]
pub(crate) struct Exporter {
    tracing: Arc<Tracing>,
    state: Arc<State>,
    queue: mpsc::Sender<Bytes>,
    /// Of the spans that are queued or being sent.
    bytes: Rc<Cell<usize>>,
    used: Cell<bool>,
}

impl Exporters {
    /// That of a Gateway, as its policy is now.
    pub(crate) fn of(
        &self,
        worker: &Rc<Worker>,
        inlet: &Rc<Inlet>,
        gateway: &ObjectName,
        tracing: &Arc<Tracing>,
    ) -> Rc<Exporter> {
        let mut exporters = self.by_gateway.borrow_mut();
        if let Some((known, exporter)) = exporters.get_mut(gateway)
            && (Arc::ptr_eq(known, tracing) || known == tracing)
        {
            *known = tracing.clone();
            exporter.used.set(true);
            return exporter.clone();
        }
        let (queue, spans) = mpsc::channel(MAX_QUEUED);
        let queued = Queue { spans, ending: self.ending.subscribe() };
        let bytes = Rc::new(Cell::new(0));
        let sending = Sending {
            worker: worker.clone(),
            inlet: inlet.clone(),
            gateway: gateway.clone(),
            tracing: tracing.clone(),
            bytes: bytes.clone(),
        };
        tokio::task::spawn_local(sending.run(queued));
        let exporter = Rc::new(Exporter {
            tracing: tracing.clone(),
            state: worker.state.clone(),
            queue,
            bytes,
            used: Cell::new(true),
        });
        // What the one before still holds it sends, and then it ends.
        exporters.insert(gateway.clone(), (tracing.clone(), exporter.clone()));
        exporter
    }

    /// Lets go of those that nobody has used since the last time.
    pub(crate) fn sweep(&self) {
        self.by_gateway.borrow_mut().retain(|_, (_, exporter)| exporter.used.take());
    }

    /// Takes no more spans, and waits until those that are queued are sent or given up.
    pub(crate) async fn end(&self) {
        self.ending.send_replace(true);
        self.ending.closed().await;
    }
}

impl Exporter {
    pub(crate) fn tracing(&self) -> &Tracing {
        &self.tracing
    }

    /// Queues an encoded span, or drops it where there is no room.
    pub(crate) fn take(&self, span: Bytes) {
        let bytes = self.bytes.get() + span.len();
        match bytes <= MAX_QUEUED_BYTES && self.queue.try_send(span).is_ok() {
            true => self.bytes.set(bytes),
            false => self.state.telemetry.spans_dropped("queue-full", 1),
        }
    }
}

/// The spans of an exporter that are to be sent.
#[derive(Debug)]
struct Queue {
    spans: mpsc::Receiver<Bytes>,
    ending: watch::Receiver<bool>,
}

impl Queue {
    /// The next span. None comes after the last one of an exporter that is gone, or when the node ends.
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            biased;
            true = async { self.ending.wait_for(|ending| *ending).await.is_ok() } => {
                self.spans.close();
                self.spans.recv().await
            }
            span = self.spans.recv() => span,
        }
    }
}

/// What empties a queue.
struct Sending {
    worker: Rc<Worker>,
    /// Where the first request came in: collectors are dialled as the backends of such requests are.
    inlet: Rc<Inlet>,
    gateway: ObjectName,
    tracing: Arc<Tracing>,
    bytes: Rc<Cell<usize>>,
}

/// Why a collector did not take spans.
#[derive(Debug)]
struct Refused {
    why: String,
    /// Whether it may take them later.
    again: bool,
}

impl Sending {
    /// Until the exporter is gone, and what it had queued is sent.
    async fn run(self, mut queued: Queue) {
        while let Some(first) = queued.next().await {
            let batch = gather(first, &mut queued).await;
            let bytes: usize = batch.iter().map(Bytes::len).sum();
            self.deliver(batch).await;
            self.bytes.set(self.bytes.get() - bytes);
        }
    }

    async fn deliver(&self, batch: Vec<Bytes>) {
        let count = batch.len() as u64;
        let telemetry = &self.worker.state.telemetry;
        let message = framed(self.request(batch));
        let mut made = 0;
        let refused = loop {
            match self.call(message.clone()).await {
                Ok(rejected) => {
                    let rejected = u64::try_from(rejected).unwrap_or(0).min(count);
                    telemetry.spans_exported(count - rejected);
                    if rejected > 0 {
                        telemetry.spans_dropped("rejected", rejected);
                    }
                    return;
                }
                Err(refused) if refused.again && made < RETRIES => {
                    tracing::debug!(collector = %self.tracing.collector.service, why = ?refused.why, "trying again");
                    tokio::time::sleep(wait(made, fastrand::f64())).await;
                    made += 1;
                }
                Err(refused) => break refused,
            }
        };
        telemetry.spans_dropped("export-failed", count);
        let Tracing { policy, collector, .. } = &*self.tracing;
        tracing::warn!(
            %policy, collector = %format_args!("{} port {}", Service::titled(&collector.service), collector.port),
            gateway = %self.gateway, spans = count, why = ?refused.why,
            "a collector did not take spans; see to it that it serves OTLP over gRPC"
        );
    }

    fn request(&self, spans: Vec<Bytes>) -> otlp::ExportTraceServiceRequest {
        let host = self.worker.state.settings.node.to_string();
        let resource = otlp::Resource {
            attributes: vec![
                otlp::KeyValue::text("service.name", &self.tracing.service_name),
                otlp::KeyValue::text("host.name", host),
            ],
        };
        let scope =
            otlp::InstrumentationScope { name: "weir".into(), version: env!("CARGO_PKG_VERSION").into() };
        let scope_spans = vec![otlp::ScopeSpans { scope: Some(scope), spans }];
        otlp::ExportTraceServiceRequest {
            resource_spans: vec![otlp::ResourceSpans { resource: Some(resource), scope_spans }],
        }
    }

    /// Makes one call, and says how many of its spans the collector does not want.
    async fn call(&self, message: Bytes) -> Result<i64, Refused> {
        let Self { worker, inlet, tracing, .. } = self;
        let view = worker.state.view.load_full();
        let mut head = head(&view, tracing)?;
        let mut exchange = Exchange::export(worker, inlet, &self.gateway);
        let mut course = Course::default();
        let calling = async {
            let outgoing = Outgoing {
                head: &mut head,
                body: Body::whole(message),
                upgrade: None,
                call: true,
                interim: Interim::default(),
            };
            let destination = (&tracing.collector.service, tracing.collector.port);
            let sending = send(worker, &view, inlet, destination, outgoing, &mut exchange, &mut course);
            let response = sending.await.map_err(|failure| {
                exchange.failed(&failure);
                Refused { why: failure.to_string(), again: true }
            })?;
            exchange.answered(response.status(), None);
            let answered = read(response).await;
            if let Err(refused) = &answered {
                exchange.broken(refused);
            }
            answered
        };
        let answered = timeout(TIMEOUT, Box::pin(calling)).await;
        answered.unwrap_or_else(|_| {
            let refused = Refused { why: format!("no answer within {} s", TIMEOUT.as_secs()), again: true };
            exchange.broken(&refused);
            Err(refused)
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Waits a moment for other spans that go with the first one.
async fn gather(first: Bytes, queued: &mut Queue) -> Vec<Bytes> {
    let until = Instant::now() + GATHERING;
    let mut bytes = first.len();
    let mut batch = vec![first];
    while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
        let Ok(Some(span)) = timeout_at(until, queued.next()).await else { break };
        bytes += span.len();
        batch.push(span);
    }
    batch
}

fn head(view: &MeshView, tracing: &Tracing) -> Result<Parts, Refused> {
    let collector = &tracing.collector;
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = Method::POST;
    head.uri = Uri::from_static(otlp::EXPORT);
    for (name, value) in &collector.headers {
        let value = HeaderValue::try_from(value.expose());
        let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), value) else {
            let why =
                format!("the policy's provider.headers: {name} or its value is not one that HTTP can send");
            return Err(Refused { why, again: false });
        };
        value.set_sensitive(true);
        head.headers.append(name, value);
    }
    let own = [
        (HOST, fields::own_host(view, &collector.service, collector.port)),
        (CONTENT_TYPE, Some(HeaderValue::from_static("application/grpc"))),
        (TE, Some(HeaderValue::from_static("trailers"))),
        (USER_AGENT, Some(HeaderValue::from_static(concat!("weir/", env!("CARGO_PKG_VERSION"))))),
    ];
    head.headers.extend(own.into_iter().filter_map(|(name, value)| Some((name, value?))));
    Ok(head)
}

/// A message of gRPC: not compressed, with its length before it.
fn framed(request: otlp::ExportTraceServiceRequest) -> Bytes {
    let length = request.encoded_len();
    let mut bytes = BytesMut::with_capacity(5 + length);
    bytes.put_u8(0);
    // A batch is far shorter than 4 GiB.
    bytes.put_u32(length as u32);
    // There is room for all of it.
    let _ = request.encode(&mut bytes);
    bytes.freeze()
}

async fn read(response: Response<Body>) -> Result<i64, Refused> {
    let status = response.status();
    if status != StatusCode::OK {
        let again = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        return Err(Refused { why: format!("it answered with HTTP status {status}"), again });
    }
    let (head, mut body) = response.into_parts();
    let (mut message, mut trailers) = (BytesMut::new(), HeaderMap::new());
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Refused { why: format!("its answer broke off: {error}"), again: true })?;
        match frame.into_data() {
            Ok(data) if message.len() + data.len() > MAX_ANSWER => {
                return Err(Refused {
                    why: format!("it answered more than {MAX_ANSWER} bytes"),
                    again: false,
                });
            }
            Ok(data) => message.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    // An answer of nothing else says it in its head.
    match grpc::status(&trailers).or_else(|| grpc::status(&head.headers)) {
        Some(grpc::Status { code: grpc::OK, .. }) => {}
        Some(grpc::Status { code, message }) => {
            let message: String = message.chars().take(MAX_MESSAGE).collect();
            return Err(Refused {
                why: format!("it answered with gRPC status {code}: {message}"),
                again: is_for_now(code),
            });
        }
        None => return Err(Refused { why: "it answered without a gRPC status".into(), again: false }),
    }
    let answer = message.get(5..).map(otlp::ExportTraceServiceResponse::decode);
    let partial = answer.and_then(Result::ok).and_then(|answer| answer.partial_success);
    Ok(partial.map_or(0, |partial| partial.rejected_spans))
}

/// Whether a call that ended with this code may succeed later: OTLP's table of retryable codes.
fn is_for_now(code: u16) -> bool {
    matches!(code, 1 | 4 | 8 | 10 | 11 | 14 | 15)
}

/// The wait after so many retries: each twice the one before, and of that between one half and all, by chance (from 0 to 1), so
/// that workers do not come back together.
fn wait(made: u32, chance: f64) -> Duration {
    (FIRST_WAIT * 2_u32.saturating_pow(made)).mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> (mpsc::Sender<Bytes>, watch::Sender<bool>, Queue) {
        let (queue, spans) = mpsc::channel(MAX_QUEUED);
        let ending = watch::Sender::new(false);
        let queued = Queue { spans, ending: ending.subscribe() };
        (queue, ending, queued)
    }

    #[tokio::test]
    async fn export_gathers_what_comes_within_a_moment() {
        let (queue, _ending, mut queued) = queue();
        let span = || Bytes::from_static(b"span");
        for _ in 0..MAX_BATCH {
            queue.try_send(span()).unwrap();
        }
        assert_eq!(gather(span(), &mut queued).await.len(), MAX_BATCH);
        let begun = Instant::now();
        assert_eq!(gather(span(), &mut queued).await.len(), 2);
        assert!(begun.elapsed() >= GATHERING);
        let long = Bytes::from(vec![0; MAX_BATCH_BYTES]);
        assert_eq!(gather(long, &mut queued).await.len(), 1);
        drop(queue);
        assert_eq!(gather(span(), &mut queued).await.len(), 1);
    }

    #[tokio::test]
    async fn export_waits_for_nothing_when_the_node_ends() {
        let (queue, ending, mut queued) = queue();
        let span = || Bytes::from_static(b"span");
        for _ in 0..3 {
            queue.try_send(span()).unwrap();
        }
        ending.send_replace(true);
        let begun = Instant::now();
        assert_eq!(gather(span(), &mut queued).await.len(), 4);
        assert!(begun.elapsed() < GATHERING);
        assert!(queue.try_send(span()).is_err(), "it takes no more");
        assert_eq!(queued.next().await, None);
        // One that begins then has nothing to send either.
        let (_queue, spans) = mpsc::channel(MAX_QUEUED);
        assert_eq!(Queue { spans, ending: ending.subscribe() }.next().await, None);
        drop(queued);
        ending.closed().await;
    }

    #[test]
    fn export_waits_longer_with_each_retry() {
        let waits = |chance: f64| [0, 1, 2, 3].map(|made| wait(made, chance).as_millis());
        assert_eq!(waits(1.0), [1000, 2000, 4000, 8000]);
        assert_eq!(waits(0.0), [500, 1000, 2000, 4000]);
    }

    #[test]
    fn export_frames_what_it_sends() {
        let request =
            otlp::ExportTraceServiceRequest { resource_spans: vec![otlp::ResourceSpans::default()] };
        // Field 1, of no bytes.
        assert_eq!(&framed(request)[..], [0, 0, 0, 0, 2, 0x0a, 0]);
    }
}
