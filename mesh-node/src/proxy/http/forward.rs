//! A request's way to a backend: which one, through its Service's breaker, to the least loaded endpoint, over a
//! connection that is kept or made.

use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_ir::eval::balance::by_weight;
use mesh_ir::eval::endpoints::Origin;
use mesh_ir::eval::filters::{edit_headers, rewritten_path};
use mesh_ir::eval::{Action, Decision};
use mesh_ir::name::{ObjectName, Uid};
use mesh_ir::resource::{AppProtocol, Backend, BackendTarget, Filter, Timeouts};
use mesh_ir::view::{MeshView, PortView};
use tokio::time::Instant;

use super::body::{Body, BodyError, deadline};
use super::pool::{Key, Single};
use super::upgrade::Requested;
use super::{Inlet, LocalExecutor, mirror};
use crate::proxy::Worker;
use crate::proxy::breaker::{Open, Permit};
use crate::proxy::choice::{self, Client};
use crate::proxy::dial::{self, DialError, Way};
use crate::proxy::load::UnderWay;
use crate::state::LocalPod;
use crate::telemetry::Exchange;

/// Endpoints that are tried while none has been sent anything of the request.
const ATTEMPTS: usize = 3;

#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Failure {
    #[error("the backend of {weight} parts cannot be resolved: {reason}")]
    InvalidBackend { weight: u32, reason: String },
    #[error("Service {0} has no port {1}")]
    NoPort(ObjectName, u16),
    #[error("Service {service} port {port} {why}")]
    NoEndpoint { service: ObjectName, port: u16, why: &'static str },
    #[error("Service {service}: {open}")]
    Breaker { service: ObjectName, open: Open },
    #[error("Service {service}: {source}")]
    Dial { service: ObjectName, source: Box<DialError> },
    #[error("the request's body is malformed or broke off: {0}")]
    RequestBody(hyper::Error),
    #[error("Service {service}: the connection broke before the response: {source}")]
    Exchange { service: ObjectName, source: hyper::Error },
    #[error("Service {service} did not answer within {} ms", limit.as_millis())]
    Timeout { service: ObjectName, limit: Duration },
}

impl Failure {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::InvalidBackend { .. } | Self::NoPort(..) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::NoEndpoint { .. } | Self::Breaker { .. } | Self::Dial { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::RequestBody(_) => StatusCode::BAD_REQUEST,
            Self::Exchange { .. } => StatusCode::BAD_GATEWAY,
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

/// Whether an exchange with a backend failed because the body that was to be sent could not be read.
fn is_of_client(error: &hyper::Error) -> bool {
    error.source().is_some_and(|source| source.is::<BodyError>())
}

/// A request as it came in.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) head: Parts,
    pub(super) body: Incoming,
    pub(super) upgrade: Option<Requested>,
}

/// What is counted as long as a request is under way.
#[derive(Debug)]
pub(in crate::proxy) struct Guards {
    _permit: Permit,
    _under_way: UnderWay,
}

pub(super) async fn forward(
    worker: &Rc<Worker>,
    view: &MeshView,
    inlet: &Inlet,
    decision: &Decision<'_>,
    inbound: Inbound,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Failure> {
    let rule = decision.matched.map(|matched| &matched.rule.rule);
    let timeouts = rule.map_or(Timeouts::default(), |rule| rule.timeouts);
    let (service, port, backend) = destination(worker, decision)?;
    let Inbound { mut head, body, upgrade } = inbound;
    let prefix = decision.matched.and_then(|matched| matched.matcher.prefix());
    let filters = || {
        let rule_filters = rule.map_or(&[][..], |rule| &rule.filters[..]);
        rule_filters.iter().chain(backend.map_or(&[][..], |backend| &backend.filters[..]))
    };
    for filter in filters() {
        match filter {
            Filter::RequestHeaders(edit) => edit_headers(edit, &mut head.headers),
            Filter::Rewrite(rewrite) => {
                if let Some(path) = &rewrite.path {
                    let path = rewritten_path(path, head.uri.path(), prefix);
                    set_path(&mut head, &path);
                }
                if let Some(value) = rewrite.hostname.as_ref().and_then(|h| HeaderValue::try_from(h).ok()) {
                    head.headers.insert(HOST, value);
                }
            }
            Filter::ResponseHeaders(_) | Filter::Redirect(_) | Filter::Mirror(_) => {}
        }
    }
    if let Inlet::Gateway { client, .. } = inlet {
        add_forwarded(&mut head, &client.ip().to_string(), inlet.scheme());
    }
    let mirrors: Vec<_> = filters().filter_map(mirror::wanted).collect();
    let body = mirror::copies(worker, inlet, &mirrors, &head, body);
    let whole = deadline(timeouts.request);
    let attempt = deadline(timeouts.backend_request);
    let sending = send(worker, view, inlet, (&service, port), Outgoing { head, body, upgrade }, exchange);
    let answered = match earliest(whole, attempt) {
        None => sending.await,
        Some(deadline) => tokio::time::timeout_at(deadline, sending).await.unwrap_or_else(|_| {
            let both = timeouts.request.into_iter().chain(timeouts.backend_request);
            Err(Failure::Timeout { service: service.clone(), limit: both.min().unwrap_or_default() })
        }),
    };
    let mut response = answered?;
    for filter in filters() {
        if let Filter::ResponseHeaders(edit) = filter {
            edit_headers(edit, response.headers_mut());
        }
    }
    Ok(response.map(|body| body.until(whole)))
}

/// The Service that a decision forwards to, and by which of the rule's backends.
fn destination<'d>(
    worker: &Worker,
    decision: &'d Decision<'_>,
) -> Result<(ObjectName, u16, Option<&'d Backend>), Failure> {
    match &decision.action {
        Action::Forward(backends) => {
            let backend = match backends {
                [only] => Some(only).filter(|only| only.weight > 0),
                _ => decision.matched.and_then(|m| by_weight(backends, worker.rolls.next(m.rule))),
            };
            match backend.map(|backend| (&backend.target, backend.weight)) {
                Some((BackendTarget::Service { service, port }, _)) => Ok((service.clone(), *port, backend)),
                Some((BackendTarget::Invalid { reason }, weight)) => {
                    Err(Failure::InvalidBackend { weight, reason: reason.clone() })
                }
                None => Err(Failure::InvalidBackend { weight: 0, reason: "there is none".into() }),
            }
        }
        Action::ForwardToService(service, port) => Ok((service.clone(), *port, None)),
        Action::Answer(_) | Action::Redirect(_) => {
            Err(Failure::InvalidBackend { weight: 0, reason: "the route does not forward".into() })
        }
    }
}

/// A request on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) head: Parts,
    pub(super) body: Body,
    pub(super) upgrade: Option<Requested>,
}

pub(super) async fn send(
    worker: &Rc<Worker>,
    view: &MeshView,
    inlet: &Inlet,
    (service, port): (&ObjectName, u16),
    outgoing: Outgoing,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Failure> {
    let port = view.service_port(service, port).ok_or_else(|| Failure::NoPort(service.clone(), port))?;
    exchange.backend(service, port.port);
    let permit = worker.state.breakers.request(view, service).await;
    let permit = permit.map_err(|open| Failure::Breaker { service: service.clone(), open })?;
    let (source, v6) = match inlet {
        Inlet::Service { pod, v6, .. } => (pod, *v6),
        Inlet::Gateway { client, .. } => (&worker.state.node, client.is_ipv6()),
    };
    let client = match inlet {
        Inlet::Service { pod, v6, .. } => Client { address: pod.address(*v6), origin: Origin::Pod },
        Inlet::Gateway { client, .. } => Client { address: Some(client.ip()), origin: Origin::Gateway },
    };
    let Outgoing { head, body, upgrade } = outgoing;
    let http2 = match port.protocol {
        AppProtocol::Http2 => true,
        // A client that speaks HTTP/2 with prior knowledge speaks it to its server; a Gateway's client to us.
        _ => head.version == Version::HTTP_2 && matches!(inlet, Inlet::Service { .. }) && upgrade.is_none(),
    };
    let mut request = Request::from_parts(head, body);
    if let Some(upgrade) = &upgrade {
        upgrade.say(request.headers_mut());
    }
    prepare(&mut request, http2);
    let mut attempts = 0;
    let mut failed = None;
    let (mut response, under_way) = loop {
        attempts += 1;
        let (uid, way, under_way) = choose(worker, view, port, client, failed.as_ref(), source, v6)?;
        exchange.endpoint(&way);
        let key = Key { source: source.uid.clone(), way };
        let sender = match connect(worker, view, source, &key, http2).await {
            Ok(sender) => sender,
            Err(error) if attempts < ATTEMPTS && port.endpoints(client.origin).len() > 1 => {
                tracing::debug!(%error, "trying another endpoint");
                failed = Some(uid);
                continue;
            }
            Err(source) => {
                return Err(Failure::Dial { service: service.clone(), source: Box::new(source) });
            }
        };
        match sender.send(worker, key, request).await {
            Ok(response) => break (response, under_way),
            // The connection had been closed meanwhile, and nothing of the request was sent.
            Err((_, Some(back))) if attempts < ATTEMPTS => request = back,
            Err((source, _)) if is_of_client(&source) => return Err(Failure::RequestBody(source)),
            Err((source, _)) => return Err(Failure::Exchange { service: service.clone(), source }),
        }
    };
    under_way.answered();
    let guards = Guards { _permit: permit, _under_way: under_way };
    if let Some(upgrade) = upgrade.filter(|_| response.status() == StatusCode::SWITCHING_PROTOCOLS) {
        upgrade.join(worker, &mut response, guards);
        return Ok(response.map(Body::peer));
    }
    Ok(response.map(|incoming| {
        let mut body = Body::peer(incoming);
        body.held().guards = Some(guards);
        body
    }))
}

fn choose(
    worker: &Worker,
    view: &MeshView,
    port: &PortView,
    client: Client,
    failed: Option<&Uid>,
    source: &LocalPod,
    v6: bool,
) -> Result<(Uid, Way, UnderWay), Failure> {
    let service = || port.service.clone();
    let endpoint = choice::endpoint(worker, port, client, failed).ok_or_else(|| Failure::NoEndpoint {
        service: service(),
        port: port.port,
        why: port.why_none(client.origin),
    })?;
    let way = dial::way(worker, view, source, endpoint.workload(), endpoint.port, v6)
        .map_err(|source| Failure::Dial { service: service(), source: Box::new(source) })?;
    Ok((endpoint.workload().uid.clone(), way, worker.loads.begin(endpoint)))
}

enum Sender {
    Http1(Single),
    Http2(http2::SendRequest<Body>),
}

async fn connect(
    worker: &Rc<Worker>,
    view: &MeshView,
    source: &LocalPod,
    key: &Key,
    http2: bool,
) -> Result<Sender, DialError> {
    let kept = if http2 {
        worker.pool.shared(key).map(Sender::Http2)
    } else {
        worker.pool.take(key).map(Sender::Http1)
    };
    if let Some(sender) = kept {
        return Ok(sender);
    }
    let conn = TokioIo::new(dial::dial(worker, view, source, &key.way).await?);
    let address = key.way.address;
    let broken = |error: hyper::Error| DialError::Connect { address, source: std::io::Error::other(error) };
    if http2 {
        let mut builder = http2::Builder::new(LocalExecutor);
        builder.timer(TokioTimer::new()).adaptive_window(true);
        let (sender, connection) = builder.handshake(conn).await.map_err(broken)?;
        tokio::task::spawn_local(connection);
        worker.pool.share(key.clone(), &sender);
        Ok(Sender::Http2(sender))
    } else {
        let limits = &worker.state.settings.limits;
        let mut builder = http1::Builder::new();
        builder.max_headers(limits.max_headers).max_header_size(limits.max_head_bytes);
        let (sender, connection) = builder.handshake(conn).await.map_err(broken)?;
        tokio::task::spawn_local(connection.with_upgrades());
        Ok(Sender::Http1(Single::new(sender)))
    }
}

impl Sender {
    /// On failure gives the request back if nothing of it was sent.
    async fn send(
        self,
        worker: &Rc<Worker>,
        key: Key,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Request<Body>>)> {
        match self {
            Self::Http1(mut connection) => {
                let result = connection.sender.try_send_request(request).await;
                let response =
                    result.map_err(|mut error| (error.take_message(), error.into_error())).map_err(flip)?;
                // It is ready again when the response has been read to its end.
                let worker = worker.clone();
                tokio::task::spawn_local(async move {
                    if connection.sender.ready().await.is_ok() {
                        worker.pool.give_back(key, connection);
                    }
                });
                Ok(response)
            }
            Self::Http2(mut sender) => {
                let result = sender.try_send_request(request).await;
                result.map_err(|mut error| (error.take_message(), error.into_error())).map_err(flip)
            }
        }
    }
}

fn flip<A, B>((a, b): (A, B)) -> (B, A) {
    (b, a)
}

/// Gives the request the form of the version that goes out: HTTP/2 names the host in the URI, HTTP/1 in a header.
fn prepare(request: &mut Request<Body>, http2: bool) {
    let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    if http2 {
        let authority = request.headers_mut().remove(HOST);
        let authority = authority.as_ref().and_then(|host| host.to_str().ok());
        let authority = authority.or(request.uri().authority().map(http::uri::Authority::as_str));
        let uri = Uri::builder().scheme("http").authority(authority.unwrap_or("localhost"));
        if let Ok(uri) = uri.path_and_query(path).build() {
            *request.uri_mut() = uri;
        }
        *request.version_mut() = Version::HTTP_2;
    } else {
        let authority = request.uri().authority().and_then(|a| HeaderValue::try_from(a.as_str()).ok());
        if let (Some(authority), false) = (authority, request.headers().contains_key(HOST)) {
            request.headers_mut().insert(HOST, authority);
        }
        *request.uri_mut() = Uri::from(path);
        *request.version_mut() = Version::HTTP_11;
    }
}

fn set_path(head: &mut Parts, path: &str) {
    let whole = match head.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = head.uri.clone().into_parts();
    if let Ok(path) = PathAndQuery::try_from(whole) {
        parts.path_and_query = Some(path);
        if let Ok(uri) = Uri::from_parts(parts) {
            head.uri = uri;
        }
    }
}

/// Tells a Gateway's backend who its client was.
fn add_forwarded(head: &mut Parts, client: &str, scheme: &'static str) {
    const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    // No proxy before the Gateway is trusted, so what a client claims is not passed on.
    if let Ok(client) = HeaderValue::try_from(client) {
        head.headers.insert(FOR, client);
    }
    head.headers.insert(PROTO, HeaderValue::from_static(scheme));
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}
