//! Listening, accepting and stopping. On SIGTERM the listener closes at once, requests in flight are finished, and
//! what is not done after [`DRAIN`] is cut off.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::{Map, Value};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

/// How long requests in flight may take after SIGTERM.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
/// Connections beyond these wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1000;
const BACKLOG: i32 = 1024;
/// How long a connection may stay silent, at its start and between requests.
const IDLE: Duration = Duration::from_secs(75);
const MAX_STREAMS: u32 = 128;

/// Turns true when the server stops.
pub(crate) type Stopping = watch::Receiver<bool>;

/// The two ends of the connection on which a request came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) local: SocketAddr,
    pub(crate) peer: SocketAddr,
}

#[derive(Debug, Error)]
#[error("cannot listen on {address}: {source}")]
pub(crate) struct BindError {
    address: SocketAddr,
    source: io::Error,
}

/// Listens on the address; `::` means both families, and IPv4 alone on a machine without IPv6.
pub(crate) fn bind(listen: IpAddr, port: u16) -> Result<TcpListener, BindError> {
    with(listen, port, listener)
}

/// As [`bind`], by UDP.
pub(crate) fn bind_udp(listen: IpAddr, port: u16) -> Result<UdpSocket, BindError> {
    with(listen, port, |address| {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        UdpSocket::from_std(socket.into())
    })
}

fn with<S>(listen: IpAddr, port: u16, socket: impl Fn(SocketAddr) -> io::Result<S>) -> Result<S, BindError> {
    let address = SocketAddr::new(listen, port);
    let unspecified_v6 = listen.is_ipv6() && listen.is_unspecified();
    match socket(address) {
        Err(error) if unspecified_v6 && lacks_ipv6(&error) => {
            let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
            socket(address).map_err(|source| BindError { address, source })
        }
        outcome => outcome.map_err(|source| BindError { address, source }),
    }
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn lacks_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT has no kind of its own; 97 is its number on Linux.
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}

/// A future that is ready once the process is asked to end. The signals are caught from this call on.
pub(crate) fn terminated() -> Result<impl Future<Output = ()>, String> {
    let catch = |kind| signal(kind).map_err(|error| format!("cannot catch signals: {error}"));
    let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Accepts until `stop` is ready, then closes the listener and waits for the connections that stand.
pub(crate) async fn accept<H, F>(listener: TcpListener, stop: impl Future<Output = ()>, handle: H)
where
    H: Fn(TcpStream, Ends, Stopping) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                match accepted.and_then(|(stream, peer)| Ok((ends(&stream, peer)?, stream))) {
                    Ok((ends, stream)) => { connections.spawn(handle(stream, ends, stopped.clone())); }
                    // Out of descriptors, say; no event tells when the system has some again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        }
    }
    drop(listener);
    stopping.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        log("connections cut off", &[("reason", "requests in flight took too long")]);
    }
}

fn ends(stream: &TcpStream, peer: SocketAddr) -> io::Result<Ends> {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    stream.set_nodelay(true)?;
    Ok(Ends { local: canonical(stream.local_addr()?), peer: canonical(peer) })
}

/// Serves HTTP/1.1 and prior-knowledge HTTP/2 on each connection that [`accept`] takes.
pub(crate) async fn http(listener: TcpListener, stop: impl Future<Output = ()>, app: Router) {
    accept(listener, stop, |stream, ends, stopping| converse(app.clone(), stream, ends, stopping)).await;
}

async fn converse(app: Router, stream: TcpStream, ends: Ends, mut stopping: Stopping) {
    // A client that connects and says nothing would not be timed out below, where the protocol is still unknown.
    tokio::select! {
        spoke = tokio::time::timeout(IDLE, stream.readable()) => if !matches!(spoke, Ok(Ok(()))) { return },
        () = stopped(&mut stopping) => return,
    }
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ends);
        app.clone().oneshot(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(IDLE).max_concurrent_streams(MAX_STREAMS);
    builder.http2().enable_connect_protocol();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    // What goes wrong on a connection is its client's to notice; there is nobody here to tell.
    let _ = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = stopped(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}

async fn stopped(stopping: &mut Stopping) {
    // An error means that the server is gone, which is a stop as well.
    let _ = stopping.wait_for(|stop| *stop).await.is_ok();
}

/// One JSON line to stderr.
pub(crate) fn log(message: &str, fields: &[(&str, &str)]) {
    let mut line = Map::new();
    line.insert("message".to_owned(), Value::from(message));
    for (name, value) in fields {
        line.insert((*name).to_owned(), Value::from(*value));
    }
    eprintln!("{}", Value::Object(line));
}
