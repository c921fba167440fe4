//! HTTP: requests come in from a pod's application or through a Gateway, `mesh_ir::eval` says what becomes of each,
//! and `forward` does it. What one request was is said once, when it is over, by its `Exchange`.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HOST;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_ir::eval::{self, Target};
use mesh_ir::name::{Identity, ObjectName};

use super::Worker;
use super::conn::Conn;
use crate::state::LocalPod;
use crate::telemetry::Exchange;

mod answer;
mod body;
mod fields;
mod forward;
mod framing;
mod mirror;
pub(super) mod pool;
mod upgrade;

pub(super) use body::Body;

/// Streams that one HTTP/2 client may have open at once.
const MAX_STREAMS: u32 = 256;

/// Where requests of a connection come in.
#[derive(Clone, Debug)]
pub(crate) enum Inlet {
    /// A pod's application dialled a Service.
    Service { pod: Arc<LocalPod>, service: ObjectName, port: u16, v6: bool },
    /// A client dialled a Gateway.
    Gateway { target_port: u16, client: SocketAddr, sni: Option<String>, tls: bool },
}

impl Inlet {
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

    fn scheme(&self) -> &'static str {
        match self {
            Self::Gateway { tls: true, .. } => "https",
            _ => "http",
        }
    }
}

/// Serves a connection until its client or an error ends it.
pub(super) async fn serve(worker: Rc<Worker>, conn: Conn, http2: bool, inlet: Inlet) {
    let limits = worker.state.settings.limits.clone();
    let shared = (worker, Rc::new(inlet));
    let service = service_fn(move |request| {
        let (worker, inlet) = shared.clone();
        async move { Ok::<_, Infallible>(respond(worker, inlet, request).await) }
    });
    let result = if http2 {
        http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(limits.max_head_bytes).unwrap_or(u32::MAX))
            .auto_date_header(false)
            .serve_connection(TokioIo::new(conn), service)
            .await
    } else {
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_header_size(limits.max_head_bytes)
            .max_headers(limits.max_headers)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(framing::Guard::new(conn)), service)
            .with_upgrades()
            .await
    };
    if let Err(error) = result {
        // The client has had its answer, or is gone.
        tracing::debug!(%error, "an HTTP connection ended with an error");
    }
}

async fn respond(worker: Rc<Worker>, inlet: Rc<Inlet>, mut request: Request<Incoming>) -> Response<Body> {
    let mut exchange = Exchange::begin(&worker.state, &inlet, &request);
    let version = request.version();
    let host = match fields::host(&request) {
        Ok(host) => host,
        Err(problem) => return answer::text(StatusCode::BAD_REQUEST, problem, exchange),
    };
    let view = worker.state.view.load_full();
    let upgrade = upgrade::requested(&mut request);
    let (mut head, body) = request.into_parts();
    let flow = eval::Flow {
        target: inlet.target(),
        request: mesh_ir::view::RequestHead {
            method: &head.method,
            path: head.uri.path(),
            query: head.uri.query(),
            host: &host,
            headers: &head.headers,
        },
    };
    let decision = eval::route(&view, &flow);
    exchange.decided(&decision);
    fields::strip_hop_by_hop(&mut head.headers);
    let outcome = match &decision.action {
        eval::Action::Answer(reply) => {
            let status = StatusCode::from_u16(reply.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return answer::text(status, reply.reason(), exchange);
        }
        eval::Action::Redirect(redirect) => {
            return answer::redirect(redirect, &decision, &inlet, &head, &host, exchange);
        }
        eval::Action::Forward(_) | eval::Action::ForwardToService(..) => {
            if version == Version::HTTP_11 {
                // HTTP/1.1 upstream needs it, wherever the client said it.
                fields::set_host(&mut head.headers, HOST, &host, &head.uri);
            }
            let inbound = forward::Inbound { head, body, upgrade };
            forward::forward(&worker, &view, &inlet, &decision, inbound, &mut exchange).await
        }
    };
    match outcome {
        Ok(response) => answer::pass_on(response, version, exchange),
        Err(failure) => {
            exchange.failed(&failure);
            answer::text(failure.status(), &failure.to_string(), exchange)
        }
    }
}

/// Runs hyper's tasks beside the connection, on its worker.
#[derive(Clone, Copy, Debug)]
pub(super) struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
