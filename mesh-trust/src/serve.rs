//! Accepting: TLS by the mesh's configurations as the incoming connections of a tonic server.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use mesh_ir::name::Identity;
use rustls::ServerConfig;
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use crate::leaf::PeerError;
use crate::tls::peer_identity;
use crate::verify::handshake_problem;

/// Finished handshakes that wait for the server to take them.
const READY_QUEUE: usize = 16;

/// How long accepting pauses after it failed, for want of descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The bounds of [`serve_incoming`].
#[derive(Clone, Copy, Debug)]
pub struct AcceptLimits {
    /// Handshakes under way at once.
    pub handshakes: usize,
    /// How long one may take.
    pub handshake_timeout: Duration,
    /// Connections open at once, handshakes included; more wait in the listen queue.
    pub connections: usize,
}

impl Default for AcceptLimits {
    fn default() -> Self {
        Self { handshakes: 256, handshake_timeout: Duration::from_secs(5), connections: 4096 }
    }
}

/// Who is at the other end of a connection; in the extensions of every request that comes over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    /// The verified identity; `None` where the server lets clients come without a certificate and this one did.
    pub identity: Option<Identity>,
}

/// An accepted connection whose peer is verified.
#[derive(Debug)]
pub struct TlsConnection {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    _open: OwnedSemaphorePermit,
}

impl TlsConnection {
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// The connections that `listener` accepts, each with its TLS handshake done and its peer verified, for tonic's
/// `serve_with_incoming`. Handlers find the [`Peer`] in the request's extensions.
///
/// Each handshake uses the configuration that is in `config` then; a fixed one is `watch::channel(config).1`. A failed
/// handshake is logged and concerns nobody else. Accepting ends when the stream is dropped. Must be called within a
/// tokio runtime.
pub fn serve_incoming(
    listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    limits: AcceptLimits,
) -> impl Stream<Item = io::Result<TlsConnection>> + Send + Unpin + 'static {
    let (ready, connections) = mpsc::channel(READY_QUEUE);
    tokio::spawn(async move {
        tokio::select! {
            () = accept(listener, config, limits, ready.clone()) => {}
            () = ready.closed() => {}
        }
    });
    ReceiverStream::new(connections)
}

async fn accept(
    listener: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    limits: AcceptLimits,
    ready: mpsc::Sender<io::Result<TlsConnection>>,
) {
    const NEVER_CLOSED: &str = "the semaphore is never closed";
    let open = Arc::new(Semaphore::new(limits.connections));
    let handshaking = Arc::new(Semaphore::new(limits.handshakes));
    // Dropping the set with this future cancels the handshakes under way.
    let mut handshakes = JoinSet::new();
    loop {
        let open = open.clone().acquire_owned().await.expect(NEVER_CLOSED);
        let handshake = handshaking.clone().acquire_owned().await.expect(NEVER_CLOSED);
        let (tcp, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // There is no event for "descriptors are free again".
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while handshakes.try_join_next().is_some() {}
        let config = config.borrow().clone();
        let ready = ready.clone();
        handshakes.spawn(async move {
            let shaken = tokio::time::timeout(limits.handshake_timeout, shake(tcp, address, config)).await;
            match shaken {
                Ok(Ok((stream, peer))) => {
                    // Fails only when the server is gone, and then the connection is to be closed.
                    let _ = ready.send(Ok(TlsConnection { stream, peer, _open: open })).await;
                }
                // Connecting and hanging up is how a TCP probe asks whether we listen.
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    tracing::debug!(peer = %address, "a client hung up before its handshake was done");
                }
                Ok(Err(error)) => {
                    let error = handshake_problem(&error);
                    tracing::info!(peer = %address, error, "refused a connection");
                }
                Err(_) => {
                    tracing::info!(peer = %address, "refused a connection: its handshake took too long")
                }
            }
            drop(handshake);
        });
    }
}

async fn shake(
    tcp: TcpStream,
    address: SocketAddr,
    config: Arc<ServerConfig>,
) -> io::Result<(TlsStream<TcpStream>, Peer)> {
    tcp.set_nodelay(true)?;
    let stream = TlsAcceptor::from(config).accept(tcp).await?;
    let identity = match peer_identity(stream.get_ref().1, UnixTime::now()) {
        Ok(identity) => Some(identity),
        // Only a configuration whose client certificates are optional lets a handshake get here without one.
        Err(PeerError::NoCertificate) => None,
        Err(error) => return Err(io::Error::new(io::ErrorKind::PermissionDenied, error)),
    };
    Ok((stream, Peer { address, identity }))
}

impl Connected for TlsConnection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for TlsConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TlsConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
