//! The way to a workload: within this node, over its pod network, by mutual TLS, or in clear to one outside the mesh.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use mesh_bpf_abi::{Bypass, OwnDial};
use mesh_ir::eval::admit::{Peer, Refusal, admit};
use mesh_ir::eval::external::{self, Refused};
use mesh_ir::eval::reach::{self, Reach, Source};
use mesh_ir::name::{Hostname, Identity};
use mesh_ir::resource::{SameNode, Workload};
use mesh_ir::view::{Endpoint, MeshView, PortView};
use mesh_trust::ConnectError;
use rustls::ClientConfig;
use rustls_pki_types::UnixTime;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::Worker;
use super::backend_tls::{Client, NotAsAsked};
use super::conn::Conn;
use super::expected::{Announced as Expecting, Full};
use super::tls::handshake;
use crate::datapath::{Announcement, address_of};
use crate::identity::CredentialError;
use crate::sockets;
use crate::state::LocalPod;

/// How a workload is reached from a source, decided before it is dialled: the key to a connection's reuse.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    pub(crate) reach: Reach,
}

/// What whoever is reached by mutual TLS says once its application has the connection, before the application's own bytes. So a
/// dial fails where the application could not be reached, and what was to be sent can go elsewhere.
pub(super) const LET_IN: u8 = 1;

#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{address} cannot be reached: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("{address} did not prove to be {expected}: {source}")]
    Handshake { address: SocketAddr, expected: Identity, source: Box<ConnectError> },
    #[error("the TLS handshake with {address} took longer than {} ms", limit.as_millis())]
    HandshakeTimeout { address: SocketAddr, limit: std::time::Duration },
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Full(#[from] Full),
    #[error("{expected} did not let the connection in at {address}: {why}")]
    NotLetIn { address: SocketAddr, expected: Identity, why: String },
    #[error(transparent)]
    NotAsAsked(#[from] NotAsAsked),
    #[error(
        "{address} speaks HTTP/2 and does not say that it takes WebSocket and the like (SETTINGS_ENABLE_CONNECT_PROTOCOL, RFC 8441): \
         let it do so, or declare the Service's port to speak HTTP/1.1 (appProtocol http or kubernetes.io/ws)"
    )]
    NoTunnels { address: SocketAddr },
    #[error("{0}, as a request beside this one has found")]
    Beside(Arc<str>),
    #[error("the workload has no address of the right family")]
    NoAddress,
    #[error("{hostname} resolves to {address}, which is not dialled: {source}")]
    External { hostname: Hostname, address: IpAddr, source: Refused },
}

impl Way {
    /// What secures a connection, for logs and metrics; `in_tls` is whether the application itself is spoken to in TLS.
    pub(crate) fn security(&self, in_tls: bool) -> &'static str {
        match &self.reach {
            Reach::Plaintext if in_tls => "tls",
            reach => reach.name(),
        }
    }
}

/// The way from `source` to an endpoint of a port. Where that is a host outside of the cluster, its address may have come to
/// be the cluster's own since it was resolved.
pub(super) fn way_to_endpoint(
    worker: &Worker,
    view: &MeshView,
    source: &LocalPod,
    (port, endpoint): (&PortView, &Endpoint),
    v6: bool,
) -> Result<Way, DialError> {
    let way = way(worker, view, source, endpoint.workload(), endpoint.port, v6)?;
    if let Some(hostname) = &port.external_hostname {
        let address = way.address.ip();
        let own = worker.state.own_addresses.load();
        external::admit(view, &own, address).map_err(|source| DialError::External {
            hostname: hostname.clone(),
            address,
            source,
        })?;
    }
    Ok(way)
}

/// The way from `source` to `workload`'s `port`, preferring the family that the client dialled.
pub(super) fn way(
    worker: &Worker,
    view: &MeshView,
    source: &LocalPod,
    workload: &Workload,
    port: u16,
    v6: bool,
) -> Result<Way, DialError> {
    let address =
        reach::address(workload, |v6| source.address(v6).is_some(), v6).ok_or(DialError::NoAddress)?;
    let here = worker.state.pods.load().get(&workload.uid).is_some();
    let from = if source.uid == worker.state.node.uid {
        Source::Gateway
    } else {
        // A pod that the configuration no longer knows is still where a NetworkPolicy may select it.
        let own = view.workload_by_uid(&source.uid).map_or(SameNode::Network, |own| own.same_node);
        Source::Workload(&source.uid, own)
    };
    let reach = reach::reach(from, workload, &worker.state.settings.trust_domain, here);
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
            let tcp = if source.uid == worker.state.node.uid && is_here(worker, view, address.ip()) {
                own_dial(worker, source, address).await
            } else {
                sockets::dial(&source.netns, address, limits.connect_timeout).await
            };
            let tcp = tcp.map_err(connect)?;
            let limit = limits.handshake_timeout;
            let shaken = tokio::time::timeout(limit, shake_hands(tcp.into(), address, config)).await;
            let shaken = shaken.map_err(|_| DialError::HandshakeTimeout { address, limit })?;
            let mut conn = shaken.map_err(|source| DialError::Handshake {
                address,
                expected: expected.clone(),
                source: Box::new(source),
            })?;
            let word = tokio::time::timeout(limits.connect_timeout, conn.read_u8()).await;
            let why = match word {
                Ok(Ok(LET_IN)) => return Ok(conn),
                Ok(Ok(other)) => format!("its first byte is {other}"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no word within {} ms", limits.connect_timeout.as_millis()),
            };
            Err(DialError::NotLetIn { address, expected: expected.clone(), why })
        }
        Reach::PodNetwork(expected) => {
            let from = own_address(worker, view, source, address.is_ipv6()).ok_or(DialError::NoAddress)?;
            let (socket, local) = sockets::bound_socket(&source.netns, from).map_err(connect)?;
            let (own, expected) = (source.identity.clone(), expected.clone());
            let announced = worker.state.expected.announce((local, address), own, expected.clone())?;
            let stream = sockets::connect(socket, address, limits.connect_timeout).await.map_err(connect)?;
            let answer = tokio::time::timeout(limits.connect_timeout, let_in(&stream, announced)).await;
            let why = || format!("no answer within {} ms", limits.connect_timeout.as_millis());
            let not_let_in = |why| DialError::NotLetIn { address, expected, why };
            answer.unwrap_or_else(|_| Err(why())).map_err(not_let_in)?;
            Ok(stream.into())
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

/// Dials, and speaks TLS to the application where a policy asks for it, which is then for `protocol` (ALPN).
pub(super) async fn dial_application(
    worker: &Rc<Worker>,
    view: &MeshView,
    source: &LocalPod,
    way: &Way,
    tls: Option<&Client>,
    protocol: Option<&[u8]>,
) -> Result<Conn, DialError> {
    let conn = dial(worker, view, source, way).await?;
    let Some(tls) = tls else { return Ok(conn) };
    let (address, limit) = (way.address, worker.state.settings.limits.handshake_timeout);
    let handshake = tokio::time::timeout(limit, tls.connect(conn, address, protocol)).await;
    Ok(handshake.map_err(|_| DialError::HandshakeTimeout { address, limit })??)
}

async fn shake_hands(
    conn: Conn,
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> Result<Conn, ConnectError> {
    let failed = |source| ConnectError::Handshake { address, source };
    let done = handshake::connect(conn, mesh_trust::server_name(address.ip()), config).await;
    let done = done.map_err(failed)?;
    // Who it is was checked in the handshake; of a resumed session the certificate may have expired since.
    let identity = mesh_trust::peer_identity(done.state(), UnixTime::now());
    identity.map_err(|source| ConnectError::Peer { address, source })?;
    Ok(done.into_tls().map_err(failed)?.into())
}

fn is_here(worker: &Worker, view: &MeshView, address: IpAddr) -> bool {
    let workload = view.workload(address);
    workload.is_some_and(|workload| workload.node.as_ref() == Some(&worker.state.settings.node))
}

/// Dials the proxy in a pod of this node from the node itself, whose connections the kernel otherwise hands to the
/// application.
async fn own_dial(worker: &Worker, node: &LocalPod, to: SocketAddr) -> io::Result<TcpStream> {
    let any = if to.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let (socket, from) = sockets::bound_socket(&node.netns, any)?;
    let dial = OwnDial {
        local: address_of(to.ip()),
        remote_port: u32::from(from.port()),
        local_port: u32::from(to.port()),
    };
    let announced = Announced::new(worker, Announcement::OwnDial(dial))?;
    let stream = sockets::connect(socket, to, worker.state.settings.limits.connect_timeout).await?;
    drop(announced);
    Ok(stream)
}

/// Waits until the other end, which is this process too, says that it has joined the connection to the application.
/// Should somebody else have accepted it there is no such word, and nothing is sent to them.
async fn let_in(stream: &TcpStream, mut announced: Expecting<'_>) -> Result<(), String> {
    let mut byte = [0];
    tokio::select! {
        biased;
        answer = announced.answer() => answer,
        // The answer comes before the application's first bytes do.
        ended = stream.peek(&mut byte) => announced.answered().unwrap_or_else(|| {
            Err(ended.err().map_or("it was closed".to_owned(), |error| error.to_string()))
        }),
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
        Announcement::Application(Bypass {
            remote: address_of(local.ip()),
            local: address_of(to.ip()),
            remote_port: u32::from(local.port()),
            local_port: u32::from(to.port()),
            slot: pod.slot,
        }),
    )?;
    let stream = sockets::connect(socket, to, worker.state.settings.limits.connect_timeout).await?;
    drop(announced);
    Ok(stream.into())
}

/// The kernel lets the announced connection in for as long as this lives.
struct Announced<'w> {
    worker: &'w Worker,
    connection: Announcement,
}

impl<'w> Announced<'w> {
    fn new(worker: &'w Worker, connection: Announcement) -> io::Result<Self> {
        worker.maps.borrow_mut().announce(connection).map_err(io::Error::other)?;
        Ok(Self { worker, connection })
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        self.worker.maps.borrow_mut().conclude(&self.connection);
    }
}
