//! The way to a workload: within this node, by mutual TLS, or in clear to one outside the mesh.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use mesh_bpf_abi::Bypass;
use mesh_ir::eval::admit::{Peer, Refusal, admit};
use mesh_ir::eval::reach::{self, Reach};
use mesh_ir::name::Identity;
use mesh_ir::resource::Workload;
use mesh_ir::view::MeshView;

use super::Worker;
use super::conn::Conn;
use crate::datapath::address_of;
use crate::identity::CredentialError;
use crate::sockets;
use crate::state::LocalPod;

/// How a workload is reached from a source, decided before it is dialled: the key to a connection's reuse.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    pub(crate) reach: Reach,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{address} cannot be reached: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("{address} did not prove to be {expected}: {source}")]
    Handshake { address: SocketAddr, expected: Identity, source: Box<mesh_trust::ConnectError> },
    #[error("the TLS handshake with {address} took longer than {} ms", limit.as_millis())]
    HandshakeTimeout { address: SocketAddr, limit: std::time::Duration },
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("the workload has no address of the right family")]
    NoAddress,
}

/// The way from `source` to `workload`'s `port`, preferring the family that the client dialled.
pub(super) fn way(
    worker: &Worker,
    source: &LocalPod,
    workload: &Workload,
    port: u16,
    v6: bool,
) -> Result<Way, DialError> {
    let address =
        reach::address(workload, |v6| source.address(v6).is_some(), v6).ok_or(DialError::NoAddress)?;
    let here = worker.state.pods.load().get(&workload.uid).is_some();
    let reach = reach::reach(workload, &worker.state.settings.trust_domain, here);
    Ok(Way { address: SocketAddr::new(address, port), reach })
}

pub(super) async fn dial(
    worker: &Rc<Worker>,
    view: &MeshView,
    source: &LocalPod,
    way: &Way,
) -> Result<Conn, DialError> {
    let address = way.address;
    let limits = &worker.state.settings.limits;
    let connect = |source| DialError::Connect { address, source };
    match &way.reach {
        Reach::Plaintext => {
            let tcp = sockets::dial(&source.netns, address, limits.connect_timeout).await.map_err(connect)?;
            Ok(tcp.into())
        }
        Reach::MutualTls(expected) => {
            let config = source.credentials.client(expected)?;
            let tcp = sockets::dial(&source.netns, address, limits.connect_timeout).await.map_err(connect)?;
            let limit = limits.handshake_timeout;
            let handshake = tokio::time::timeout(limit, mesh_trust::connect_tls(tcp, address, config));
            let done = handshake.await.map_err(|_| DialError::HandshakeTimeout { address, limit })?;
            let (tls, _) = done.map_err(|source| DialError::Handshake {
                address,
                expected: expected.clone(),
                source: Box::new(source),
            })?;
            Ok(tls.into())
        }
        Reach::WithinNode(_) => {
            let workload = view.workload(address.ip()).ok_or(DialError::NoAddress)?;
            admit(workload, Peer::Identity(&source.identity))?;
            let pod = worker.state.pods.load().get(&workload.uid).cloned().ok_or(DialError::NoAddress)?;
            let from = own_address(worker, view, source, address.is_ipv6()).ok_or(DialError::NoAddress)?;
            application(worker, &pod, from, address).await.map_err(connect)
        }
    }
}

/// The address that a source is known by. The node itself may have been told only one of its own: the configuration
/// knows the others.
fn own_address(worker: &Worker, view: &MeshView, source: &LocalPod, v6: bool) -> Option<IpAddr> {
    let own = source.address(v6)?;
    if !own.is_unspecified() {
        return Some(own);
    }
    let addresses = view.node_addresses(&worker.state.settings.node);
    addresses.iter().copied().find(|address| address.is_ipv6() == v6)
}

/// Dials an application in a pod of this node, with the address of its client.
pub(super) async fn application(
    worker: &Rc<Worker>,
    pod: &Arc<LocalPod>,
    from: IpAddr,
    to: SocketAddr,
) -> io::Result<Conn> {
    let (socket, local) = sockets::application_socket(&pod.netns, from, to)?;
    let announced = Announced::new(
        worker,
        Bypass {
            remote: address_of(local.ip()),
            local: address_of(to.ip()),
            remote_port: u32::from(local.port()),
            local_port: u32::from(to.port()),
            slot: pod.slot,
        },
    )?;
    let stream = sockets::connect(socket, to, worker.state.settings.limits.connect_timeout).await?;
    drop(announced);
    Ok(stream.into())
}

/// The kernel lets the announced connection in for as long as this lives.
struct Announced<'w> {
    worker: &'w Worker,
    bypass: Bypass,
}

impl<'w> Announced<'w> {
    fn new(worker: &'w Worker, bypass: Bypass) -> io::Result<Self> {
        worker.maps.borrow_mut().announce(bypass).map_err(io::Error::other)?;
        Ok(Self { worker, bypass })
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.worker.maps.borrow_mut().conclude(&self.bypass);
    }
}
