//! Dialling: TLS by the mesh's configurations, and gRPC channels over it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use mesh_ir::name::Identity;
use rustls::ClientConfig;
use rustls_pki_types::{ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::leaf::PeerError;
use crate::tls::peer_identity;
use crate::verify::handshake_problem;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot connect to {address}: {source}")]
    Dial { address: SocketAddr, source: io::Error },
    #[error("the TLS handshake with {address} failed: {}", handshake_problem(source))]
    Handshake { address: SocketAddr, source: io::Error },
    #[error("{address} is not believed: {source}")]
    Peer { address: SocketAddr, source: PeerError },
    #[error("no gRPC connection to {address}: {source}")]
    Channel { address: SocketAddr, source: tonic::transport::Error },
}

/// The server name that the mesh gives rustls: the address. An address is never sent in the ClientHello, so a mesh
/// handshake carries no name; it only keys the session cache, so that each server is offered its own tickets.
pub fn server_name(address: IpAddr) -> ServerName<'static> {
    ServerName::IpAddress(address.into())
}

/// Does the TLS handshake over `tcp` and says who the server is. The server's expected identity is in `config`.
pub async fn connect_tls(
    tcp: TcpStream,
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> Result<(TlsStream<TcpStream>, Identity), ConnectError> {
    let stream = TlsConnector::from(config)
        .connect(server_name(address.ip()), tcp)
        .await
        .map_err(|source| ConnectError::Handshake { address, source })?;
    let identity = peer_identity(stream.get_ref().1, UnixTime::now())
        .map_err(|source| ConnectError::Peer { address, source })?;
    Ok((stream, identity))
}

/// Connects a gRPC channel, or says why it cannot. `config` must offer the ALPN `h2`.
///
/// The channel reconnects by itself when it is used after a loss, each time with the configuration that is in `config`
/// then; a fixed one is `watch::channel(config).1`. A connection that stands is not closed when `config` changes.
pub async fn connect(
    address: SocketAddr,
    config: watch::Receiver<Arc<ClientConfig>>,
) -> Result<Channel, ConnectError> {
    endpoint(address)
        .connect_with_connector(service_fn(move |_: Uri| dial(address, config.clone())))
        .await
        .map_err(|source| ConnectError::Channel { address, source })
}

/// As [`connect`], but the channel connects when it is first used.
pub fn connect_lazily(address: SocketAddr, config: watch::Receiver<Arc<ClientConfig>>) -> Channel {
    endpoint(address).connect_with_connector_lazy(service_fn(move |_: Uri| dial(address, config.clone())))
}

fn endpoint(address: SocketAddr) -> Endpoint {
    // The scheme is `http` because tonic must not do TLS itself; the connector does.
    Endpoint::from_shared(format!("http://{address}"))
        .expect("a socket address is always a valid URI authority")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

async fn dial(
    address: SocketAddr,
    config: watch::Receiver<Arc<ClientConfig>>,
) -> Result<TokioIo<TlsStream<TcpStream>>, ConnectError> {
    let dialled = |source| ConnectError::Dial { address, source };
    let tcp = TcpStream::connect(address).await.map_err(dialled)?;
    tcp.set_nodelay(true).map_err(dialled)?;
    let config = config.borrow().clone();
    let (stream, _) = connect_tls(tcp, address, config).await?;
    Ok(TokioIo::new(stream))
}
