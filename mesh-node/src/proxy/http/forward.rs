//! A request's way to a backend: which one, through its Service's breaker, to the least loaded endpoint, over a
//! connection that is kept or made.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{Response, StatusCode, Version};
use mesh_ir::eval::balance::by_weight;
use mesh_ir::eval::external_auth::Changes;
use mesh_ir::eval::filters::{edit_headers, rewritten_path};
use mesh_ir::eval::{Action, Decision};
use mesh_ir::grpc::is_call;
use mesh_ir::name::{ObjectName, Uid};
use mesh_ir::resource::{AppProtocol, Backend, BackendTarget, Filter, Service, Timeouts};
use mesh_ir::view::{MeshView, PortView};
use tokio::time::{Instant, timeout_at};

use super::body::{Body, BodyError, deadline};
use super::h1::{HeadLimits, Interim};
use super::incoming::{Incoming, PeerError};
use super::pool::Key;
use super::sender::{SendFailure, Speech, Wanted};
use super::session::Session;
use super::upgrade::Connect;
use super::{Inlet, authorize, fields, grpc, mirror, retry, upgrade};
use crate::names;
use crate::proxy::Worker;
use crate::proxy::backend_tls::TlsProblem;
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
    #[error("{} has no port {port}", Service::titled(.service))]
    NoPort { service: ObjectName, port: u16 },
    #[error("{} port {port} {why}", Service::titled(.service))]
    NoEndpoint { service: ObjectName, port: u16, why: &'static str },
    #[error("{} did not answer as asked, and its XBackendTrafficPolicy allows no more retries now", Service::titled(.service))]
    RetryBudget { service: ObjectName },
    #[error("{}: {open}", Service::titled(.service))]
    Breaker { service: ObjectName, open: Open },
    #[error("{}: {source}", Service::titled(.service))]
    Tls { service: ObjectName, source: Box<TlsProblem> },
    #[error("{}: {source}", Service::titled(.service))]
    Dial { service: ObjectName, source: Box<DialError> },
    #[error(transparent)]
    Refused(#[from] Box<authorize::Refusal>),
    #[error("the request's body is malformed or broke off: {0}")]
    RequestBody(BodyError),
    #[error("{}: the connection broke before the response: {source}", Service::titled(.service))]
    Exchange { service: ObjectName, source: PeerError },
    #[error("{} did not answer within {} ms", Service::titled(.service), limit.as_millis())]
    Timeout { service: ObjectName, limit: Duration },
}

impl Failure {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::InvalidBackend { .. } | Self::NoPort { .. } | Self::Tls { .. } => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            Self::Dial { source, .. } if matches!(**source, DialError::NoTunnels { .. }) => {
                StatusCode::BAD_GATEWAY
            }
            Self::NoEndpoint { .. } | Self::Breaker { .. } | Self::RetryBudget { .. } | Self::Dial { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Refused(refusal) => refusal.status(),
            Self::RequestBody(_) => StatusCode::BAD_REQUEST,
            Self::Exchange { .. } => StatusCode::BAD_GATEWAY,
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// What the client is answered in somebody else's words.
    pub(super) fn into_answer(self) -> Option<Response<Body>> {
        match self {
            Self::Refused(refusal) => refusal.into_answer(),
            _ => None,
        }
    }
}

/// A request as it came in. Its head is large, and stays where it is all the way.
#[derive(Debug)]
pub(super) struct Inbound<'r> {
    pub(super) head: &'r mut Parts,
    pub(super) body: Incoming,
    pub(super) upgrade: Option<HeaderValue>,
    pub(super) interim: Interim,
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
    inlet: &Rc<Inlet>,
    decision: &Decision<'_>,
    inbound: Inbound<'_>,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Failure> {
    let rule = decision.matched.map(|matched| &matched.rule.rule);
    let timeouts = rule.map_or(Timeouts::default(), |rule| rule.timeouts);
    let (service, port, backend) = destination(worker, decision)?;
    let Inbound { head, mut body, upgrade, interim } = inbound;
    let prefix = decision.matched.and_then(|matched| matched.matcher.prefix());
    let filters = || {
        let rule_filters = rule.map_or(&[][..], |rule| &rule.filters[..]);
        rule_filters.iter().chain(backend.map_or(&[][..], |backend| &backend.filters[..]))
    };
    let begun = Instant::from_std(exchange.begun());
    // A caller's deadline is one of ours (gRPC over HTTP2, "Timeout"), and ours is the callee's.
    let limit_of = |head: &Parts| timeouts.request.into_iter().chain(grpc::timeout(&head.headers)).min();
    let mut added = Changes::default();
    for filter in filters() {
        match filter {
            Filter::RequestHeaders(edit) => edit_headers(edit, &mut head.headers),
            Filter::Rewrite(rewrite) => {
                if let Some(path) = &rewrite.path {
                    let path = rewritten_path(path, head.uri.path(), prefix);
                    set_path(head, &path);
                }
                if let Some(value) = rewrite.hostname.as_ref().and_then(|h| HeaderValue::try_from(h).ok()) {
                    head.headers.insert(HOST, value);
                }
            }
            Filter::ExternalAuth(auth) => {
                let limit = limit_of(head);
                let until = limit.map(|limit| begun + limit);
                let asked = match &auth.target {
                    BackendTarget::Service { service, .. } => service,
                    BackendTarget::Invalid { .. } => &service,
                };
                // What it takes is large, and seldom needed.
                let asking = Box::pin(async {
                    let asking = authorize::ask(worker, view, inlet, auth, head, &mut body);
                    asking.await.map_err(|refusal| Failure::from(Box::new(refusal)))
                });
                added.extend(in_time(asking, until, asked, limit).await?);
            }
            Filter::ResponseHeaders(_) | Filter::Redirect(_) | Filter::Mirror(_) | Filter::Cors(_) => {}
        }
    }
    if let Inlet::Gateway { forwarded_for, .. } = &**inlet {
        add_forwarded(head, forwarded_for, inlet.scheme());
    }
    let mirrors: Vec<_> = filters().filter_map(mirror::wanted).collect();
    let body = mirror::copies(worker, inlet, &mirrors, head, body);
    let limit = limit_of(head);
    let whole = limit.map(|limit| begun + limit);
    let destination = (&service, port);
    let mut course = Course::default();
    let session = backend.and_then(|backend| backend.session.as_ref());
    let session = session.map(|spec| Session::of(spec, destination, &head.headers));
    if let (Some(session), Some(port)) = (&session, view.service_port(&service, port)) {
        course.persistent = session.endpoint(port, inlet.origin());
    }
    let budget = worker.state.retry_budgets.of(view, &service);
    if let Some(budget) = &budget {
        budget.request(Instant::now().into_std());
    }
    let mut response = match rule.and_then(|rule| rule.retry.as_ref()).filter(|_| upgrade.is_none()) {
        None => {
            grpc::limit(&mut head.headers, whole);
            let call = is_call(&head.headers);
            let outgoing = Outgoing { head, body, upgrade, call, interim };
            // It is large, and so not moved.
            let sending = pin!(send(worker, view, inlet, destination, outgoing, exchange, &mut course));
            let until = earliest(whole, deadline(timeouts.backend_request));
            let both = limit.into_iter().chain(timeouts.backend_request);
            in_time(sending, until, &service, both.min()).await?
        }
        Some(retry) => {
            let take = || {
                if budget.as_ref().is_none_or(|budget| budget.retry(Instant::now().into_std())) {
                    return Ok(());
                }
                worker.state.telemetry.retry_over_budget(&service);
                Err(Failure::RetryBudget { service: service.clone() })
            };
            let tries = retry::tries(retry, head, body, take, async |head, body| {
                grpc::limit(&mut head.headers, whole);
                let call = is_call(&head.headers);
                // Interim responses bind nobody: those of a try that is not the last do no harm.
                let outgoing = Outgoing { head, body, upgrade: None, call, interim: interim.clone() };
                let until = deadline(timeouts.backend_request);
                let outcome = {
                    let sending =
                        pin!(send(worker, view, inlet, destination, outgoing, exchange, &mut course));
                    in_time(sending, until, &service, timeouts.backend_request).await
                };
                if let Err(failure) = &outcome {
                    exchange.tried(Err(failure));
                }
                outcome
            });
            in_time(Box::pin(tries), whole, &service, limit).await?
        }
    };
    added.apply(response.headers_mut());
    for filter in filters() {
        if let Filter::ResponseHeaders(edit) = filter {
            edit_headers(edit, response.headers_mut());
        }
    }
    if let (Some(session), Some(endpoint)) = (&session, course.new_endpoint()) {
        session.begin(endpoint, inlet.scheme() == "https", response.headers_mut());
    }
    Ok(response.map(|body| body.until(whole)))
}

/// What becomes of a request to a Service by this moment, which its limit has set.
async fn in_time<T>(
    sending: impl Future<Output = Result<T, Failure>> + Unpin,
    until: Option<Instant>,
    service: &ObjectName,
    limit: Option<Duration>,
) -> Result<T, Failure> {
    let Some(until) = until else { return sending.await };
    let late = |_| Failure::Timeout { service: service.clone(), limit: limit.unwrap_or_default() };
    timeout_at(until, sending).await.map_err(late)?
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
        Action::Answer(_) | Action::Redirect(_) | Action::Preflight(_) | Action::Authorize(_) => {
            Err(Failure::InvalidBackend { weight: 0, reason: "the route does not forward".into() })
        }
    }
}

/// A request on its way out.
#[derive(Debug)]
pub(super) struct Outgoing<'r> {
    pub(super) head: &'r mut Parts,
    pub(super) body: Body,
    pub(super) upgrade: Option<HeaderValue>,
    /// Whether it is a call of gRPC.
    pub(super) call: bool,
    /// Where interim responses go.
    pub(super) interim: Interim,
}

/// The endpoints of a request.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// The one that its session persists with.
    persistent: Option<Uid>,
    /// The one that was chosen last, for the request itself or an earlier try of it.
    tried: Option<Uid>,
}

impl Course {
    /// The endpoint that answered, where it is not the one that the client had.
    fn new_endpoint(&self) -> Option<&Uid> {
        self.tried.as_ref().filter(|tried| self.persistent.as_ref() != Some(tried))
    }
}

/// Sends a request to an endpoint of a Service. The one that an earlier try chose is gone around where there is another.
pub(super) async fn send(
    worker: &Rc<Worker>,
    view: &MeshView,
    inlet: &Inlet,
    (service, port): (&ObjectName, u16),
    mut outgoing: Outgoing<'_>,
    exchange: &mut Exchange,
    Course { persistent, tried }: &mut Course,
) -> Result<Response<Body>, Failure> {
    let no_port = || Failure::NoPort { service: service.clone(), port };
    let port = view.service_port(service, port).ok_or_else(no_port)?;
    exchange.backend(service, port.port, outgoing.head);
    let answered;
    let (view, port) = match port.awaits_answer() {
        false => (view, port),
        // What it takes is large, and seldom needed.
        true => {
            answered = Box::pin(names::first_answer(&worker.state, service, port.port)).await;
            (&*answered, answered.service_port(service, port.port).ok_or_else(no_port)?)
        }
    };
    let shown = inlet.client_certificate(view);
    let tls = worker.backend_tls.of(view, port, shown);
    let tls = tls.map_err(|source| Failure::Tls { service: service.clone(), source: Box::new(source) })?;
    let permit = worker.state.breakers.request(view, service).await;
    let permit = permit.map_err(|open| Failure::Breaker { service: service.clone(), open })?;
    let (source, v6, address) = match inlet {
        Inlet::Service { pod, v6, .. } => (pod, *v6, pod.address(*v6)),
        Inlet::Gateway { client, .. } => (&worker.state.node, client.is_ipv6(), Some(client.ip())),
    };
    let client = Client { address, origin: inlet.origin(), persistent: persistent.as_ref() };
    let (speech, tunnel) = prepare(port, inlet, &mut outgoing);
    let Outgoing { head, mut body, interim, .. } = outgoing;
    let limits = HeadLimits::of(&worker.state.settings.limits);
    let (mut attempts, mut kept) = (0, true);
    let mut failed = tried.take();
    let (response, under_way) = loop {
        attempts += 1;
        let (uid, way, under_way) = choose(worker, view, port, client, failed.as_ref(), source, v6)?;
        *tried = Some(uid);
        exchange.endpoint(&way, tls.is_some());
        let key = Key { source: source.uid.clone(), way, tls: tls.as_ref().map(|tls| tls.number) };
        let tls = tls.as_deref();
        let wanted = Wanted { worker, view, source, key, tls, speech, again: kept };
        let made = wanted.get().await;
        let sender = match made {
            Ok(sender) => sender,
            Err(error) if attempts < ATTEMPTS && port.endpoints(client.origin).len() > 1 => {
                tracing::debug!(%error, "trying another endpoint");
                failed = tried.take();
                continue;
            }
            Err(source) => {
                return Err(Failure::Dial { service: service.clone(), source: Box::new(source) });
            }
        };
        match sender.send(head, &mut body, limits, &interim).await {
            Ok(response) => break (response, under_way),
            // The connection had been closed meanwhile, and others that are kept may have been too.
            Err((_, true)) if attempts < ATTEMPTS => kept = false,
            Err((SendFailure::Body(error), _)) => return Err(Failure::RequestBody(error)),
            Err((SendFailure::Peer(source), _)) => {
                return Err(Failure::Exchange { service: service.clone(), source });
            }
        }
    };
    let response = match tunnel {
        Some(tunnel) => tunnel
            .answer(response)
            .await
            .map_err(|error| Failure::Exchange { service: service.clone(), source: error.into() })?,
        None => response,
    };
    under_way.answered(Instant::now().into_std());
    exchange.tried::<Failure>(Ok(response.status()));
    let guards = Guards { _permit: permit, _under_way: under_way };
    Ok(response.map(|incoming| {
        let mut body = Body::peer(incoming);
        body.held().guards = Some(guards);
        body
    }))
}

/// Gives a request the form in which it goes out, with its wish for another protocol.
fn prepare(port: &PortView, inlet: &Inlet, outgoing: &mut Outgoing<'_>) -> (Speech, Option<Connect>) {
    let Outgoing { head, body, upgrade, call, .. } = outgoing;
    let http2 = match port.protocol {
        AppProtocol::Http2 => true,
        // There is no gRPC over HTTP/1.
        _ if *call => true,
        // A client that speaks HTTP/2 with prior knowledge speaks it to its server; a Gateway's client to us.
        _ => head.version == Version::HTTP_2 && matches!(inlet, Inlet::Service { .. }) && upgrade.is_none(),
    };
    let mut tunnel = None;
    match upgrade {
        Some(protocol) if http2 => tunnel = Connect::of(protocol, head, body),
        Some(protocol) => upgrade::say(protocol, &mut head.headers),
        None => {}
    }
    fields::in_version(head, if http2 { Version::HTTP_2 } else { Version::HTTP_11 });
    let speech = match http2 {
        true if tunnel.is_some() => Speech::Tunnel,
        true => Speech::Http2,
        false => Speech::Http1,
    };
    (speech, tunnel)
}

fn choose(
    worker: &Worker,
    view: &MeshView,
    port: &PortView,
    client: Client<'_>,
    failed: Option<&Uid>,
    source: &LocalPod,
    v6: bool,
) -> Result<(Uid, Way, UnderWay), Failure> {
    let service = || port.service.clone();
    let now = Instant::now().into_std();
    let endpoint = choice::endpoint(worker, port, client, failed, now).ok_or_else(|| {
        Failure::NoEndpoint { service: service(), port: port.port, why: port.why_none(client.origin) }
    })?;
    let way = dial::way_to_endpoint(worker, view, source, (port, endpoint), v6)
        .map_err(|source| Failure::Dial { service: service(), source: Box::new(source) })?;
    Ok((endpoint.workload().uid.clone(), way, worker.loads.begin(endpoint, now)))
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
fn add_forwarded(head: &mut Parts, client: &HeaderValue, scheme: &'static str) {
    const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    // No proxy before the Gateway is trusted, so what a client claims is not passed on.
    head.headers.insert(FOR, client.clone());
    head.headers.insert(PROTO, HeaderValue::from_static(scheme));
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}
