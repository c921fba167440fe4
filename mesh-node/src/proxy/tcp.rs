//! Connections whose content the proxy does not look into.

use std::rc::Rc;

use mesh_ir::eval::balance::by_load;
use mesh_ir::name::ObjectName;
use mesh_ir::resource::Workload;
use mesh_ir::view::MeshView;
use tokio::io::copy_bidirectional_with_sizes;

use super::Worker;
use super::conn::Conn;
use super::dial::{self, Way};
use crate::state::LocalPod;
use crate::telemetry::{Connection, Direction};

/// What is read at once; each direction of a connection holds one such buffer while it lives.
const BUFFER: usize = 16 * 1024;
/// Endpoints that are tried before the client is told that the Service does not answer.
const ATTEMPTS: usize = 3;

/// Joins a client to an endpoint of a Service.
pub(super) async fn to_service(
    worker: &Rc<Worker>,
    conn: Conn,
    pod: &LocalPod,
    service: &ObjectName,
    port: u16,
    v6: bool,
) {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let view = worker.state.view.load_full();
        let Some(port) = view.service_port(service, port) else { break };
        let choice = by_load(port.endpoints.len(), fastrand_below, |at| worker.loads.of(&port.endpoints[at]));
        let Some(endpoint) = choice.map(|at| &port.endpoints[at]) else { break };
        let _permit = match worker.state.breakers.connection(&view, service) {
            Ok(permit) => permit,
            Err(error) => {
                last = Some(error.to_string());
                break;
            }
        };
        let under_way = worker.loads.begin(endpoint);
        let way = match dial::way(worker, &view, pod, endpoint.workload(), endpoint.port, v6) {
            Ok(way) => way,
            Err(error) => {
                last = Some(error.to_string());
                continue;
            }
        };
        match dial::dial(worker, &view, pod, &way).await {
            Ok(upstream) => {
                under_way.answered();
                return joined(worker, conn, upstream, pod, &way, Some(service)).await;
            }
            Err(error) => last = Some(error.to_string()),
        }
    }
    let why = last.unwrap_or_else(|| format!("Service {service} has no ready endpoint"));
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
    match dial::dial(worker, view, pod, way).await {
        Ok(upstream) => joined(worker, conn, upstream, pod, way, service).await,
        Err(error) => refuse(worker, conn, pod, way.address.to_string(), error.to_string()),
    }
}

async fn joined(
    worker: &Worker,
    conn: Conn,
    upstream: Conn,
    pod: &LocalPod,
    way: &Way,
    service: Option<&ObjectName>,
) {
    let mut record = Connection::outbound(&pod.name, way.address, service);
    record.security(way.reach.name(), way.reach.identity());
    if let Err(error) = join(conn, upstream, &mut record).await {
        record.failed(error);
    }
    worker.state.telemetry.connection(record);
}

/// Moves bytes both ways until both sides have closed; a half-closed side stays half-closed, and an error on one
/// side resets the other.
pub(super) async fn join(mut client: Conn, mut server: Conn, record: &mut Connection) -> Result<(), String> {
    match copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await {
        Ok((sent, received)) => {
            record.moved(sent, received);
            Ok(())
        }
        Err(error) => {
            client.reset();
            server.reset();
            Err(error.to_string())
        }
    }
}

fn refuse(worker: &Worker, conn: Conn, pod: &LocalPod, destination: String, why: String) {
    conn.reset();
    let mut record = Connection::refused(Direction::Outbound, &pod.name, destination);
    record.failed(why);
    worker.state.telemetry.connection(record);
}

pub(super) fn fastrand_below(end: usize) -> usize {
    fastrand::usize(..end)
}
