//! Connections that come in to a pod from other nodes, over the pod network of this one, and from outside the mesh. What
//! this node itself sends, its kubelet's probes above all, does not come by here: the kernel hands it to the application.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_ir::eval::admit::{Peer, admit};
use mesh_ir::eval::reach::Reach;
use mesh_ir::name::Identity;
use rustls_pki_types::UnixTime;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::conn::Conn;
use super::tls::handshake;
use super::{Worker, detect, dial, tcp};
use crate::sockets;
use crate::state::LocalPod;
use crate::telemetry::{Connection, Direction};

/// A peer that is in the mesh begins its TLS at once; it is given this long on a slow day.
const MESH_PEER_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn serve(worker: Rc<Worker>, stream: TcpStream, pod: Arc<LocalPod>) {
    let (Ok(peer), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else { return };
    let (peer, local) = (sockets::canonical(peer), sockets::canonical(local));
    if local.ip().is_loopback() {
        // Only the pod itself can dial the listener's own address, and has no business there.
        worker.state.telemetry.refused("no-origin");
        return sockets::reset(stream);
    }
    let mut record = Connection::begin(Direction::Inbound, &pod.name, peer, local);
    let result = accept(&worker, stream, &pod, peer, local, &mut record).await;
    if let Err(error) = result {
        record.failed(error);
    }
    worker.state.telemetry.connection(record);
}

async fn accept(
    worker: &Rc<Worker>,
    stream: TcpStream,
    pod: &Arc<LocalPod>,
    peer: SocketAddr,
    local: SocketAddr,
    record: &mut Connection,
) -> Result<(), String> {
    let mut conn = Conn::from(stream);
    let arrived = worker.state.expected.take(peer, local, &pod.identity);
    let came = match &arrived {
        Some(arrived) => Reach::PodNetwork(arrived.source.clone()),
        None => {
            let (unwrapped, came) = Box::pin(unwrap(worker, conn, pod, peer)).await?;
            conn = unwrapped;
            came
        }
    };
    let identity = came.identity();
    record.security(came.name(), identity);
    let application = Box::pin(enter(worker, pod, peer, local, identity)).await;
    if let Some(arrived) = arrived {
        arrived.answer(application.as_ref().map(|_| ()).map_err(Clone::clone));
    }
    let application = match application {
        Ok(application) => application,
        Err(why) => {
            conn.reset();
            return Err(why);
        }
    };
    if let Reach::MutualTls(_) = came {
        let said = async {
            conn.write_all(&[dial::LET_IN]).await?;
            conn.flush().await
        };
        said.await.map_err(|error| format!("the peer could not be told that it is let in: {error}"))?;
    }
    worker.state.telemetry.opened(record);
    let joined = tcp::join(conn, application, record);
    match identity {
        // Whoever proved an identity is let in under every mode.
        Some(_) => joined.await,
        None => tokio::select! {
            result = joined => result,
            refusal = revoked(worker, pod) => {
                worker.state.telemetry.refused("policy");
                Err(refusal)
            }
        },
    }
}

/// Finds out who came, by mutual TLS or not at all.
async fn unwrap(
    worker: &Worker,
    mut conn: Conn,
    pod: &LocalPod,
    peer: SocketAddr,
) -> Result<(Conn, Reach), String> {
    let in_mesh = {
        let view = worker.state.view.load();
        view.node(peer.ip()).is_none() && view.workload(peer.ip()).is_some_and(|workload| workload.meshed)
    };
    let wait = if in_mesh { MESH_PEER_TIMEOUT } else { worker.state.settings.limits.detect_timeout };
    if detect::mesh_tls(&mut conn, wait).await.map_err(|error| error.to_string())? {
        let (conn, identity) = shake_hands(worker, conn, pod).await?;
        return Ok((conn, Reach::MutualTls(identity)));
    }
    Ok((conn, Reach::Plaintext))
}

/// Dials the application, if the peer is let in to it.
async fn enter(
    worker: &Rc<Worker>,
    pod: &Arc<LocalPod>,
    peer: SocketAddr,
    local: SocketAddr,
    identity: Option<&Identity>,
) -> Result<Conn, String> {
    admitted(worker, pod, identity).inspect_err(|_| worker.state.telemetry.refused("policy"))?;
    let application = dial::application(worker, pod, peer.ip(), local).await;
    application.map_err(|error| format!("the application does not answer at {local}: {error}"))
}

fn admitted(worker: &Worker, pod: &LocalPod, identity: Option<&Identity>) -> Result<(), String> {
    let view = worker.state.view.load();
    let who = identity.map_or(Peer::Plaintext, Peer::Identity);
    match view.workload_by_uid(&pod.uid) {
        Some(workload) => admit(workload, who).map_err(|refusal| refusal.to_string()),
        None => Err("the configuration no longer knows this workload".to_owned()),
    }
}

/// Waits until a peer without identity that was let in would be let in no more.
async fn revoked(worker: &Worker, pod: &LocalPod) -> String {
    let mut mode = pod.mode.subscribe();
    while mode.changed().await.is_ok() {
        if let Err(refusal) = admitted(worker, pod, None) {
            return refusal;
        }
    }
    // The pod is gone, and its connections go with it.
    std::future::pending().await
}

async fn shake_hands(worker: &Worker, conn: Conn, pod: &LocalPod) -> Result<(Conn, Identity), String> {
    let config = pod.credentials.server().map_err(|error| error.to_string())?;
    let limit = worker.state.settings.limits.handshake_timeout;
    let shaken = tokio::time::timeout(limit, handshake::accept(conn, config)).await;
    let shaken = shaken
        .map_err(|_| format!("the TLS handshake took longer than {} ms", limit.as_millis()))?
        .map_err(|error| format!("the TLS handshake failed: {}", mesh_trust::handshake_problem(&error)))?;
    let identity = mesh_trust::peer_identity(shaken.state(), UnixTime::now())
        .map_err(|error| format!("the peer's certificate: {error}"))?;
    let tls = shaken.into_tls().map_err(|error| format!("the TLS connection cannot be kept: {error}"))?;
    Ok((tls.into(), identity))
}
