//! External authorization (GEP-1494): a server is asked whether a request may go on, before anything of it is sent to a
//! backend, and once, however often it is then tried. Whatever keeps the server from saying yes refuses the request.

use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, EXPECT, HOST, HeaderValue, TE};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use mesh_ir::eval::external_auth::{self, Changes};
use mesh_ir::name::ObjectName;
use mesh_ir::resource::{AuthProtocol, BackendTarget, ExternalAuth, Service};
use mesh_ir::view::MeshView;
use tokio::time::{Instant, timeout};

use super::body::Body;
use super::forward::{Course, Failure, Outgoing, send};
use super::h1::Interim;
use super::incoming::{Incoming, Kept, PeerError};
use super::{Inlet, fields, grpc, upgrade};
use crate::proxy::Worker;
use crate::telemetry::Exchange;

mod check;
mod ext_authz;

use check::Verdict;

/// For how long a body that a server is to be sent is waited for: what has come of it is held meanwhile.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer of gRPC, and the most that is read of what stands behind an answer that nobody wants.
const MAX_ANSWER: usize = 1 << 20;

/// Why a request does not go on.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Refusal {
    #[error("the authorization server, {}, refused the request", Service::titled(.service))]
    Denied { service: ObjectName, answer: Box<Response<Body>> },
    #[error("the authorization server cannot be resolved: {0}")]
    Unresolved(String),
    #[error(
        "the request's body is longer than the {0} bytes that its authorization server may be sent (maxSize)"
    )]
    TooLarge(u32),
    #[error("this proxy holds as many request bodies for authorization servers as it may; try again")]
    Full,
    #[error("the request's body did not come within {} s", BODY_TIMEOUT.as_secs())]
    SlowBody,
    #[error("the request's body is malformed or broke off: {0}")]
    Body(#[source] PeerError),
    #[error("the authorization server could not be asked: {0}")]
    NotAsked(#[source] Box<Failure>),
    #[error("the authorization server, {}, did not answer within {} ms", Service::titled(.service), limit.as_millis())]
    Timeout { service: ObjectName, limit: Duration },
    #[error("the authorization server, {}, gave no answer that can be read: {problem}", Service::titled(.service))]
    Unreadable { service: ObjectName, problem: String },
}

impl Refusal {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Denied { answer, .. } => answer.status(),
            Self::Unresolved(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::Body(_) => StatusCode::BAD_REQUEST,
            Self::Full | Self::NotAsked(_) | Self::Timeout { .. } | Self::Unreadable { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// The server's own words, where it has refused.
    pub(super) fn into_answer(self) -> Option<Response<Body>> {
        match self {
            Self::Denied { answer, .. } => Some(*answer),
            _ => None,
        }
    }
}

/// Asks those of a listener, before it is known which route the request takes. What they change counts for routing too.
pub(super) async fn before_routing(
    worker: &Rc<Worker>,
    view: &MeshView,
    inlet: &Rc<Inlet>,
    filters: &[ExternalAuth],
    head: &mut Parts,
    body: &mut Incoming,
    protocol: Option<&HeaderValue>,
) -> Result<Changes, Refusal> {
    // First, or a client could have taken away what a server adds, by naming it in Connection.
    fields::strip_hop_by_hop(&mut head.headers);
    fields::host_into_header(head);
    let added = all(worker, view, inlet, filters, head, body).await?;
    // Routes may ask for it.
    if let Some(protocol) = protocol {
        upgrade::say(protocol, &mut head.headers);
    }
    Ok(added)
}

/// Asks one after another until one refuses; gives what they add to the response.
pub(super) async fn all<'a>(
    worker: &Rc<Worker>,
    view: &MeshView,
    inlet: &Rc<Inlet>,
    filters: impl IntoIterator<Item = &'a ExternalAuth>,
    head: &mut Parts,
    body: &mut Incoming,
) -> Result<Changes, Refusal> {
    let mut added = Changes::default();
    for auth in filters {
        // What it takes is large, and seldom needed.
        added.extend(Box::pin(ask(worker, view, inlet, auth, head, body)).await?);
    }
    Ok(added)
}

/// Asks one server. What it changes in the request is done to `head`; what it adds to the response is given back.
pub(super) async fn ask(
    worker: &Rc<Worker>,
    view: &MeshView,
    inlet: &Rc<Inlet>,
    auth: &ExternalAuth,
    head: &mut Parts,
    body: &mut Incoming,
) -> Result<Changes, Refusal> {
    let (service, port) = match &auth.target {
        BackendTarget::Service { service, port } => (service, *port),
        BackendTarget::Invalid { reason } => return Err(Refusal::Unresolved(reason.clone())),
    };
    let told = match auth.max_body {
        0 => Bytes::new(),
        max => kept(worker, head, body, max).await?,
    };
    let limit = worker.state.settings.limits.authorization_timeout;
    let mut exchange = Exchange::authorization(worker, inlet);
    let mut server = Server { worker, view, inlet, service, port, exchange: &mut exchange };
    let asking = async {
        match &auth.protocol {
            AuthProtocol::Http { path_prefix, allowed_headers, allowed_response_headers } => {
                let copied = (&allowed_headers[..], &allowed_response_headers[..]);
                server.by_http(path_prefix, copied, head, told).await
            }
            AuthProtocol::Grpc { allowed_headers } => {
                let until = Instant::now() + limit;
                server.by_call(allowed_headers, head, body, told, until).await
            }
        }
    };
    match timeout(limit, asking).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let refusal = Refusal::Timeout { service: service.clone(), limit };
            exchange.broken(&refusal);
            Err(refusal)
        }
    }
}

/// Reads a body that is to go to the server first, and leaves it in place.
async fn kept(worker: &Worker, head: &mut Parts, body: &mut Incoming, max: u32) -> Result<Bytes, Refusal> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let most = usize::try_from(max).unwrap_or(usize::MAX);
    if body.size_hint().lower() > u64::from(max) {
        return Err(Refusal::TooLarge(max));
    }
    let reading = async {
        let mut held = worker.held_bodies.none();
        let (mut data, mut trailers) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.map_err(Refusal::Body)?.into_data() {
                Ok(piece) if data.len() + piece.len() > most => return Err(Refusal::TooLarge(max)),
                Ok(piece) => {
                    let may = worker.state.settings.limits.max_authorization_bytes;
                    if !held.take(piece.len(), may) {
                        return Err(Refusal::Full);
                    }
                    data.extend_from_slice(&piece);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok(Kept::new(data.freeze(), trailers, held))
    };
    let kept = timeout(BODY_TIMEOUT, reading).await.map_err(|_| Refusal::SlowBody)??;
    // The client has sent it, whatever the backend will say.
    head.headers.remove(EXPECT);
    let data = kept.data().clone();
    *body = Incoming::Kept(Box::new(kept));
    Ok(data)
}

/// The server that is asked, and who asks.
#[derive(Debug)]
struct Server<'a> {
    worker: &'a Rc<Worker>,
    view: &'a MeshView,
    inlet: &'a Rc<Inlet>,
    service: &'a ObjectName,
    port: u16,
    exchange: &'a mut Exchange,
}

impl Server<'_> {
    async fn by_http(
        &mut self,
        prefix: &str,
        (allowed, allowed_response): (&[String], &[String]),
        head: &mut Parts,
        told: Bytes,
    ) -> Result<Changes, Refusal> {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let path = external_auth::asked_path(prefix, path);
        let uri = Uri::try_from(&*path).map_err(|error| self.unreadable(format!("{path}: {error}")))?;
        let (mut asked, ()) = Request::new(()).into_parts();
        asked.method = head.method.clone();
        asked.uri = uri;
        asked.headers = external_auth::told_by_http(allowed, &head.headers, told.len());
        let response = self.send(&asked, &told, false).await?;
        let (mut answer, body) = response.into_parts();
        if external_auth::allows(answer.status) {
            fields::strip_hop_by_hop(&mut answer.headers);
            external_auth::copied(allowed_response, &answer.headers).apply(&mut head.headers);
            drain(body);
            return Ok(Changes::default());
        }
        let status = external_auth::refusal(answer.status);
        let answer = if status == answer.status {
            Response::from_parts(answer, body)
        } else {
            drain(body);
            let mut plain = Response::new(Body::whole(""));
            *plain.status_mut() = status;
            plain
        };
        Err(self.denied(answer))
    }

    async fn by_call(
        &mut self,
        allowed: &[String],
        head: &mut Parts,
        body: &Incoming,
        told: Bytes,
        until: Instant,
    ) -> Result<Changes, Refusal> {
        let message = check::question(self.inlet, allowed, head, body.size_hint().exact(), told);
        let (mut asked, ()) = Request::new(()).into_parts();
        asked.method = Method::POST;
        asked.uri = Uri::from_static(check::PATH);
        asked.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        asked.headers.insert(TE, HeaderValue::from_static("trailers"));
        let host = fields::own_host(self.view, self.service, self.port);
        asked.headers.extend(host.map(|host| (HOST, host)));
        grpc::limit(&mut asked.headers, Some(until));
        let response = self.send(&asked, &message, true).await?;
        let verdict =
            check::verdict(response, MAX_ANSWER).await.map_err(|problem| self.unreadable(problem))?;
        match verdict {
            Verdict::Allowed { request, response } => {
                request.apply(&mut head.headers);
                Ok(response)
            }
            Verdict::Denied(answer) => Err(self.denied(answer)),
        }
    }

    /// A connection that breaks before the answer is tried once more, on another: being asked changes nothing.
    async fn send(&mut self, asked: &Parts, body: &Bytes, call: bool) -> Result<Response<Body>, Refusal> {
        let mut again = true;
        loop {
            let mut head = asked.clone();
            head.version = Version::HTTP_11;
            let outgoing = Outgoing {
                head: &mut head,
                body: Body::whole(body.clone()),
                upgrade: None,
                call,
                interim: Interim::default(),
            };
            let (service, mut course) = ((self.service, self.port), Course::default());
            let sending =
                send(self.worker, self.view, self.inlet, service, outgoing, self.exchange, &mut course);
            match sending.await {
                Ok(response) => {
                    self.exchange.answered(response.status(), None);
                    return Ok(response);
                }
                Err(Failure::Exchange { .. }) if again => again = false,
                Err(failure) => {
                    self.exchange.failed(&failure);
                    return Err(Refusal::NotAsked(Box::new(failure)));
                }
            }
        }
    }

    fn denied(&self, answer: Response<Body>) -> Refusal {
        Refusal::Denied { service: self.service.clone(), answer: Box::new(answer) }
    }

    fn unreadable(&self, problem: String) -> Refusal {
        Refusal::Unreadable { service: self.service.clone(), problem }
    }
}

/// Reads on behind an answer, so that its connection can be used again; the request does not wait for it.
fn drain(mut body: Body) {
    if body.is_end_stream() {
        return;
    }
    tokio::task::spawn_local(async move {
        let draining = async {
            let mut read = 0;
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > MAX_ANSWER {
                    break;
                }
            }
        };
        // One that does not end costs its connection.
        let _ = timeout(BODY_TIMEOUT, draining).await;
    });
}
