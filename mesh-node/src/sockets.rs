//! The proxy's sockets: listeners and connections inside a pod's network namespace, and the ending of a connection
//! in a way that its peer understands.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::netns::Netns;

pub mod datagrams;
pub mod options;

/// Connections that wait for `accept`; the kernel bounds it by net.core.somaxconn.
const BACKLOG: i32 = 4096;
/// The mark of the proxy's connections into a pod: a rule there sends what answers them back to the proxy, whatever
/// address it is for.
pub const MARK: u32 = 0x7765_6972;

/// Of connections that never leave the node: nothing is congested there, and what paces its packets (BBR, which is some hosts'
/// default) would only cost timers. Every kernel has this one, and lets everybody have it.
const LOCAL_CONGESTION_CONTROL: &[u8] = b"reno";

/// A listener of one worker; the other workers' share its address.
pub fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    if address.ip().is_loopback() {
        keep_local(&socket);
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Dials from within a namespace, as its pod would.
pub async fn dial(netns: &Netns, to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let socket = netns.enter(|| plain_socket(to))??;
    connect(socket, to, limit).await
}

/// A socket that will dial a pod of this node from `from`, an address of the namespace; its port is known before it dials.
pub fn bound_socket(netns: &Netns, from: IpAddr) -> io::Result<(Socket, SocketAddr)> {
    let from = SocketAddr::new(from, 0);
    let socket = netns.enter(|| -> io::Result<Socket> {
        let socket = plain_socket(from)?;
        keep_local(&socket);
        socket.bind(&SockAddr::from(from))?;
        Ok(socket)
    })??;
    let local = local_address(&socket)?;
    Ok((socket, local))
}

/// A socket that will dial an application in its own pod with the address of its client; `from` is that address, and
/// the local address of the socket is known before it dials.
pub fn application_socket(netns: &Netns, from: IpAddr, to: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = netns.enter(|| -> io::Result<Socket> {
        let socket = plain_socket(to)?;
        keep_local(&socket);
        socket.set_mark(MARK)?;
        options::set_transparent(&socket, to.is_ipv6())?;
        socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
        Ok(socket)
    })??;
    let local = local_address(&socket)?;
    Ok((socket, local))
}

pub async fn connect(socket: Socket, to: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let socket = TcpSocket::from_std_stream(socket.into());
    let timed_out = || {
        let text = format!("no answer from {to} within {} ms", limit.as_millis());
        io::Error::new(io::ErrorKind::TimedOut, text)
    };
    let stream = tokio::time::timeout(limit, socket.connect(to)).await.map_err(|_| timed_out())??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Prepares an accepted connection.
pub fn accepted(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive())
}

/// Ends a connection with a reset, as a closed port would.
pub fn reset(stream: TcpStream) {
    // Where this fails the connection is gone already.
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// An address in its own family: IPv4 that came through an IPv6 socket as IPv4.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

pub fn loopback(v6: bool) -> IpAddr {
    if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    Ok(socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?)
}

fn plain_socket(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_keepalive(&keepalive())?;
    Ok(socket)
}

/// For connections within the node; those that a listener accepts have it from the listener.
fn keep_local(socket: &Socket) {
    // With the host's default it works too.
    let _ = socket.set_tcp_congestion(LOCAL_CONGESTION_CONTROL);
}

fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4)
}
