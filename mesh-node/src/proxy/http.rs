//! HTTP: requests come in from a pod's application or through a Gateway, `mesh_ir::eval` says what becomes of each,
//! and `forward` does it. What one request was is said once, when it is over, by its `Exchange`.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{HeaderValue, ORIGIN};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use mesh_ir::eval::endpoints::Origin;
use mesh_ir::eval::external_auth::Changes;
use mesh_ir::eval::{self, Target};
use mesh_ir::grpc::is_call;
use mesh_ir::name::{Identity, ObjectName};
use mesh_ir::resource::ClientCertificate;
use mesh_ir::view::{MeshView, RequestHead};

use super::Worker;
use super::conn::Conn;
use crate::state::LocalPod;
use crate::telemetry::Exchange;

mod answer;
mod authorize;
mod body;
pub(super) mod export;
mod fields;
mod forward;
mod grpc;
mod h1;
mod h2;
mod incoming;
mod mirror;
pub(super) mod pool;
mod retry;
mod sender;
mod session;
mod upgrade;

use body::Body;
use forward::Failure;
use h1::Interim;
pub use h1::relayed_head;
pub(super) use incoming::HeldBodies;
use incoming::Incoming;
use upgrade::Side;

/// Where requests of a connection come in.
#[derive(Clone, Debug)]
pub(crate) enum Inlet {
    /// A pod's application dialled a Service.
    Service { pod: Arc<LocalPod>, service: ObjectName, port: u16, v6: bool },
    /// A client dialled a Gateway.
    Gateway {
        target_port: u16,
        client: SocketAddr,
        /// The client's address as backends are told of it.
        forwarded_for: HeaderValue,
        sni: Option<String>,
        tls: bool,
    },
}

impl Inlet {
    pub(super) fn gateway(target_port: u16, client: SocketAddr, sni: Option<String>, tls: bool) -> Self {
        let forwarded_for = HeaderValue::try_from(client.ip().to_string());
        // An address holds nothing but digits, letters, dots and colons.
        let forwarded_for = forwarded_for.unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self::Gateway { target_port, client, forwarded_for, sni, tls }
    }

    fn target(&self) -> Target<'_> {
        match self {
            Self::Service { pod, service, port, .. } => {
                Target::Service { client: Some(&pod.identity.namespace), service, port: *port }
            }
            Self::Gateway { target_port, sni, .. } => {
                Target::Gateway { target_port: *target_port, sni: sni.as_deref() }
            }
        }
    }

    /// Whose request it is, for logs and metrics.
    pub(crate) fn source(&self) -> String {
        match self {
            Self::Service { pod, .. } => pod.name.clone(),
            Self::Gateway { target_port, .. } => format!("gateway port {target_port}"),
        }
    }

    pub(crate) fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Service { pod, .. } => Some(&pod.identity),
            Self::Gateway { .. } => None,
        }
    }

    fn origin(&self) -> Origin {
        match self {
            Self::Service { .. } => Origin::Pod,
            Self::Gateway { .. } => Origin::Gateway,
        }
    }

    /// What is shown to applications that are spoken to in TLS.
    fn client_certificate<'v>(&self, view: &'v MeshView) -> Option<&'v ClientCertificate> {
        match self {
            Self::Service { .. } => None,
            Self::Gateway { target_port, .. } => view.gateway_port(*target_port)?.client_certificate(),
        }
    }

    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Gateway { tls: true, .. } => "https",
            _ => "http",
        }
    }
}

/// Serves a connection until its client or an error ends it.
pub(super) async fn serve(worker: Rc<Worker>, conn: Conn, http2: bool, inlet: Inlet) {
    let inlet = Rc::new(inlet);
    if http2 {
        // What HTTP/2 takes is large: a connection of HTTP/1 holds no room for it.
        return Box::pin(serve_http2(worker, conn, inlet)).await;
    }
    let limits = &worker.state.settings.limits;
    // What a request takes is large: a connection that waits for its next holds no room for it.
    let answer = |request, interim| Box::pin(respond(worker.clone(), inlet.clone(), request, interim));
    match h1::serve(conn, limits, answer).await {
        h1::End::Quiet | h1::End::Broken => {}
        h1::End::Refused(error) => {
            tracing::debug!(%error, "a client sent what is no request");
            worker.state.telemetry.refused("malformed-request");
        }
        h1::End::Switched(client, backend, _held) => {
            if let Err(error) = Box::pin(upgrade::join(Side::Connection(client), backend)).await {
                tracing::debug!(%error, "an upgraded connection ended with an error");
            }
        }
    }
}

async fn serve_http2(worker: Rc<Worker>, conn: Conn, inlet: Rc<Inlet>) {
    let max_head = worker.state.settings.limits.max_head_bytes;
    let answer = |request: Request<_>| {
        let (worker, inlet) = (worker.clone(), inlet.clone());
        // hyper has no way to send interim responses.
        async move { respond(worker, inlet, request.map(Incoming::http2), Interim::default()).await }
    };
    let result = h2::serve(conn, max_head, answer).await;
    if let Err(error) = result {
        // The client has had its answer, or is gone.
        tracing::debug!(%error, "an HTTP connection ended with an error");
    }
}

async fn respond(
    worker: Rc<Worker>,
    inlet: Rc<Inlet>,
    mut request: Request<Incoming>,
    interim: Interim,
) -> Response<Body> {
    let tunnel = upgrade::Tunnel::of(&mut request);
    let mut exchange = Exchange::begin(&worker, &inlet, &request);
    let version = request.version();
    let call = is_call(request.headers());
    let refuse = if call { grpc::refusal } else { answer::text };
    let host = match fields::host(&request) {
        Ok(host) => host,
        Err(problem) => return refuse(StatusCode::BAD_REQUEST, problem, exchange),
    };
    if request.method() == Method::CONNECT {
        return refuse(StatusCode::NOT_IMPLEMENTED, "this proxy makes no tunnels", exchange);
    }
    let view = worker.state.view.load_full();
    let (mut head, mut body) = request.into_parts();
    let upgrade = match &tunnel {
        Some(tunnel) => Some(tunnel.protocol.clone()),
        None => upgrade::requested(&head),
    };
    let joined = |response| match tunnel {
        Some(tunnel) => tunnel.answer(response),
        None => response,
    };
    let flow = eval::Flow { target: inlet.target(), request: as_decided(&head, &host) };
    let mut decision = eval::route(&view, &flow);
    // What servers that were asked about the request add to the response.
    let mut added = Changes::default();
    if let (eval::Action::Authorize(filters), Some(listener)) = (&decision.action, decision.listener) {
        exchange.decided(&decision);
        let protocol = upgrade.as_ref();
        // What it takes is large, and seldom needed.
        let asking = Box::pin(authorize::before_routing(
            &worker, &view, &inlet, filters, &mut head, &mut body, protocol,
        ));
        match asking.await {
            Ok(changes) => added = changes,
            Err(refusal) => return joined(failed(Box::new(refusal).into(), version, call, exchange)),
        }
        decision = eval::route_of_listener(listener, &as_decided(&head, &host));
    }
    exchange.decided(&decision);
    fields::strip_hop_by_hop(&mut head.headers);
    if let Some(listener) = decision.listener {
        exchange.trace(listener, &mut head, &host);
    }
    let cors = decision.cors().map(|cors| (cors, head.headers.get(ORIGIN).cloned()));
    let mut response = match &decision.action {
        eval::Action::Answer(reply) => {
            let status = StatusCode::from_u16(reply.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            refuse(status, reply.reason(), exchange)
        }
        eval::Action::Preflight(cors) => return answer::preflight(cors, &head, exchange),
        eval::Action::Redirect(redirect) => {
            fields::host_into_header(&mut head);
            let authorizers = decision.authorizers();
            match authorize::all(&worker, &view, &inlet, authorizers, &mut head, &mut body).await {
                Ok(changes) => {
                    added.extend(changes);
                    answer::redirect(redirect, &decision, &inlet, &head, &host, exchange)
                }
                Err(refusal) => failed(Box::new(refusal).into(), version, call, exchange),
            }
        }
        // What asked there has been passed, and asks no more.
        eval::Action::Authorize(_) => {
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "the request was not authorized", exchange)
        }
        eval::Action::Forward(_) | eval::Action::ForwardToService(..) => {
            fields::host_into_header(&mut head);
            let inbound = forward::Inbound { head: &mut head, body, upgrade, interim };
            match forward::forward(&worker, &view, &inlet, &decision, inbound, &mut exchange).await {
                Ok(response) => answer::pass_on(response, version, call, exchange),
                Err(failure) => failed(failure, version, call, exchange),
            }
        }
    };
    added.apply(response.headers_mut());
    if let Some((cors, origin)) = cors {
        eval::cors::share(cors, origin.as_ref(), response.headers_mut());
    }
    joined(response)
}

/// A request as routes look at it.
fn as_decided<'r>(head: &'r Parts, host: &'r str) -> RequestHead<'r> {
    RequestHead {
        method: &head.method,
        path: head.uri.path(),
        query: head.uri.query(),
        host,
        headers: &head.headers,
    }
}

/// What a client is told of a request that went no further.
fn failed(failure: Failure, version: Version, call: bool, mut exchange: Exchange) -> Response<Body> {
    exchange.failed(&failure);
    let (status, reason) = (failure.status(), failure.to_string());
    if call {
        return grpc::refusal(status, &reason, exchange);
    }
    match failure.into_answer() {
        Some(answer) => answer::pass_on(answer, version, call, exchange),
        None => answer::text(status, &reason, exchange),
    }
}
