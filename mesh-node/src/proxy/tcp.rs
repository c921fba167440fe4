//! Connections whose content the proxy does not look into.

use std::io;
use std::rc::Rc;
use std::time::Instant;

use mesh_ir::eval::balance::by_weight;
use mesh_ir::eval::{self, ConnectionDecision, Target};
use mesh_ir::name::ObjectName;
use mesh_ir::resource::{BackendTarget, RouteKind, Service, Workload};
use mesh_ir::view::MeshView;

use super::Worker;
use super::choice::{self, Client};
use super::conn::Conn;
use super::dial::{self, Way};
use crate::names;
use crate::state::LocalPod;
use crate::telemetry::{Connection, Direction};

mod flow;
mod pipe;

/// Endpoints that are tried before the client is told that the Service does not answer.
const ATTEMPTS: usize = 3;

/// What is in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// What the application is told. It goes to it in TLS where a BackendTLSPolicy asks for that.
    Plain,
    /// What its client makes of it, TLS maybe: it goes on as it is.
    Wrapped,
    /// The same, but that an XBackend says how it is to be spoken to by whoever routes to it: its TLS is outside of what the
    /// client says.
    Routed,
}

impl Content {
    /// A TCPRoute takes what its clients say for what it is; a TLSRoute knows it to be in TLS already.
    fn of_tcp_route(self) -> Self {
        match self {
            Self::Wrapped => Self::Routed,
            other => other,
        }
    }
}

/// Joins a client to what the routes of connections say. `pod` is who dials for it.
pub(super) async fn routed(
    worker: &Rc<Worker>,
    conn: Conn,
    pod: &LocalPod,
    client: Client<'_>,
    target: Target<'_>,
    content: Content,
    v6: bool,
) {
    let view = worker.state.view.load_full();
    let mut content = content;
    let (service, port) = match eval::connection(&view, target) {
        ConnectionDecision::ForwardToService(service, port) => (service, port),
        ConnectionDecision::Forward(rule) => {
            if rule.route.kind == RouteKind::Tcp {
                content = content.of_tcp_route();
            }
            let backend = by_weight(&rule.rule.backends, worker.rolls.next(rule));
            match backend.map(|backend| &backend.target) {
                Some(BackendTarget::Service { service, port }) => (service.clone(), *port),
                Some(BackendTarget::Invalid { reason }) => {
                    return refuse(worker, conn, pod, rule.route.to_string(), reason.clone());
                }
                None => {
                    let why = "no backend of the route has a weight above zero";
                    return refuse(worker, conn, pod, rule.route.to_string(), why.into());
                }
            }
        }
        ConnectionDecision::Refuse(answer) => {
            let destination = match target {
                Target::Service { service, port, .. } => format!("{service}:{port}"),
                Target::Gateway { target_port, .. } => format!("gateway port {target_port}"),
            };
            return refuse(worker, conn, pod, destination, answer.reason().into());
        }
    };
    drop(view);
    let gateway_port = match target {
        Target::Gateway { target_port, .. } => Some(target_port),
        Target::Service { .. } => None,
    };
    let destination = To { service: &service, port, content, gateway_port };
    to_service(worker, conn, pod, client, destination, v6).await;
}

/// The Service that a connection goes to.
#[derive(Clone, Copy, Debug)]
struct To<'a> {
    service: &'a ObjectName,
    port: u16,
    content: Content,
    /// Of the Gateway that it came in by.
    gateway_port: Option<u16>,
}

/// Joins a client to an endpoint of a Service.
async fn to_service(
    worker: &Rc<Worker>,
    conn: Conn,
    pod: &LocalPod,
    client: Client<'_>,
    To { service, port, content, gateway_port }: To<'_>,
    v6: bool,
) {
    let mut last = None;
    let mut failed = None;
    for attempt in 0..ATTEMPTS {
        let view = worker.state.view.load_full();
        let Some(port) = view.service_port(service, port) else { break };
        let shown = gateway_port.and_then(|port| view.gateway_port(port)?.client_certificate());
        let tls = match content {
            Content::Plain => worker.backend_tls.of(&view, port, shown),
            Content::Routed if Service::backend_of(service).is_some() => {
                worker.backend_tls.of(&view, port, shown)
            }
            Content::Wrapped | Content::Routed => Ok(None),
        };
        let tls = match tls {
            Ok(tls) => tls,
            Err(error) => {
                last = Some(error.to_string());
                break;
            }
        };
        let now = Instant::now();
        let Some(endpoint) = choice::endpoint(worker, port, client, failed.as_ref(), now) else {
            if port.awaits_answer() && attempt == 0 {
                Box::pin(names::first_answer(&worker.state, service, port.port)).await;
                continue;
            }
            last.get_or_insert_with(|| {
                format!("{} {}", Service::titled(service), port.why_none(client.origin))
            });
            break;
        };
        let _permit = match worker.state.breakers.connection(&view, service) {
            Ok(permit) => permit,
            Err(error) => {
                last = Some(error.to_string());
                break;
            }
        };
        let under_way = worker.loads.begin(endpoint, now);
        let way = match dial::way_to_endpoint(worker, &view, pod, (port, endpoint), v6) {
            Ok(way) => way,
            Err(error) => {
                last = Some(error.to_string());
                failed = Some(endpoint.workload().uid.clone());
                continue;
            }
        };
        match Box::pin(dial::dial_application(worker, &view, pod, &way, tls.as_deref(), None)).await {
            Ok(upstream) => {
                under_way.answered(Instant::now());
                let security = way.security(tls.is_some());
                return joined(worker, conn, upstream, pod, (&way, security), Some(service)).await;
            }
            Err(error) => {
                last = Some(error.to_string());
                failed = Some(endpoint.workload().uid.clone());
            }
        }
    }
    let why = last
        .unwrap_or_else(|| format!("{} no longer exists or has no port {port}", Service::titled(service)));
    refuse(worker, conn, pod, service.to_string(), why);
}

/// Joins a client to the very workload that it dialled.
pub(super) async fn to_workload(
    worker: &Rc<Worker>,
    conn: Conn,
    pod: &LocalPod,
    workload: &Workload,
    port: u16,
    v6: bool,
    view: &MeshView,
) {
    match dial::way(worker, view, pod, workload, port, v6) {
        Ok(way) => along(worker, conn, pod, &way, view, None).await,
        Err(error) => refuse(worker, conn, pod, workload.name.to_string(), error.to_string()),
    }
}

pub(super) async fn along(
    worker: &Rc<Worker>,
    conn: Conn,
    pod: &LocalPod,
    way: &Way,
    view: &MeshView,
    service: Option<&ObjectName>,
) {
    match Box::pin(dial::dial(worker, view, pod, way)).await {
        Ok(upstream) => joined(worker, conn, upstream, pod, (way, way.security(false)), service).await,
        Err(error) => refuse(worker, conn, pod, way.address.to_string(), error.to_string()),
    }
}

async fn joined(
    worker: &Worker,
    conn: Conn,
    upstream: Conn,
    pod: &LocalPod,
    (way, security): (&Way, &'static str),
    service: Option<&ObjectName>,
) {
    let mut record = Connection::outbound(&pod.name, way.address, service);
    record.security(security, way.reach.identity());
    if let Err(error) = join(conn, upstream, &mut record).await {
        record.failed(error);
    }
    worker.state.telemetry.connection(record);
}

/// Moves bytes both ways until both sides have closed; a half-closed side stays half-closed, and an error on one
/// side resets the other.
pub(super) async fn join(client: Conn, server: Conn, record: &mut Connection) -> Result<(), String> {
    let (sent, received) = copy(client, server).await.map_err(|error| error.to_string())?;
    record.moved(sent, received);
    Ok(())
}

/// As [`join`]; gives the bytes that went from the client to the server, and back.
pub(super) async fn copy(mut client: Conn, mut server: Conn) -> io::Result<(u64, u64)> {
    let moved = flow::join(&mut client, &mut server).await;
    if moved.is_err() {
        client.reset();
        server.reset();
    }
    moved
}

fn refuse(worker: &Worker, conn: Conn, pod: &LocalPod, destination: String, why: String) {
    conn.reset();
    let mut record = Connection::refused(Direction::Outbound, &pod.name, destination);
    record.failed(why);
    worker.state.telemetry.connection(record);
}
