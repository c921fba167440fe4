//! Dialling: TLS by the mesh's configurations, and gRPC channels over it.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use mesh_ir::name::Identity;
use rustls::ClientConfig;
use rustls_pki_types::{ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::{Service, service_fn};

use crate::leaf::PeerError;
use crate::remote::Remote;
use crate::tls::peer_identity;
use crate::verify::handshake_problem;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Less than [`CONNECT_TIMEOUT`], so that what is said is which address did not answer.
const DIAL_TIMEOUT: Duration = Duration::from_millis(4500);
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
    #[error("cannot resolve {remote}: {source}")]
    Resolve { remote: Remote, source: io::Error },
    #[error("no gRPC connection to {remote}: {}", innermost(source))]
    Channel { remote: Remote, source: tonic::transport::Error },
}

/// The server name that the mesh gives rustls: the address. An address is never sent in the ClientHello, so a mesh
/// handshake carries no name; it only keys the session cache, so that each server is offered its own tickets.
pub fn server_name(address: IpAddr) -> ServerName<'static> {
    ServerName::IpAddress(address.into())
}

/// Does the TLS handshake over a connection to `address` and says who the server is. The server's expected identity is
/// in `config`.
pub async fn connect_tls<C: AsyncRead + AsyncWrite + Unpin>(
    connection: C,
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> Result<(TlsStream<C>, Identity), ConnectError> {
    let stream = TlsConnector::from(config)
        .connect(server_name(address.ip()), connection)
        .await
        .map_err(|source| ConnectError::Handshake { address, source })?;
    let identity = peer_identity(stream.get_ref().1, UnixTime::now())
        .map_err(|source| ConnectError::Peer { address, source })?;
    Ok((stream, identity))
}

/// Connects a gRPC channel, or says why it cannot. `config` must offer the ALPN `h2`.
///
/// The channel reconnects by itself when it is used after a loss, each time to the addresses that `remote` has and with
/// the configuration that is in `config` then; a fixed one is `watch::channel(config).1`. A connection that stands is
/// not closed when `config` changes.
pub async fn connect(
    remote: impl Into<Remote>,
    config: watch::Receiver<Arc<ClientConfig>>,
) -> Result<Channel, ConnectError> {
    let remote = remote.into();
    endpoint(&remote)
        .connect_with_connector(connector(remote.clone(), config))
        .await
        .map_err(|source| ConnectError::Channel { remote, source })
}

/// As [`connect`], but the channel connects when it is first used.
pub fn connect_lazily(remote: impl Into<Remote>, config: watch::Receiver<Arc<ClientConfig>>) -> Channel {
    let remote = remote.into();
    endpoint(&remote).connect_with_connector_lazy(connector(remote, config))
}

/// The cause that no other one lies behind; tonic shows only that there is one.
pub(crate) fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        // Our own errors tell the whole story, with the address that their causes do not know.
        if innermost.is::<ConnectError>() {
            break;
        }
        innermost = source;
    }
    innermost.to_string()
}

fn endpoint(remote: &Remote) -> Endpoint {
    // The scheme is `http` because tonic must not do TLS itself; the connector does.
    Endpoint::from_shared(format!("http://{remote}"))
        .expect("a name or an address with its port is always a valid URI authority")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}

type Stream = TokioIo<TlsStream<TcpStream>>;

fn connector(
    remote: Remote,
    config: watch::Receiver<Arc<ClientConfig>>,
) -> impl Service<
    Uri,
    Response = Stream,
    Error = ConnectError,
    Future = impl Future<Output = Result<Stream, ConnectError>> + Send,
> + Send
+ 'static {
    service_fn(move |_: Uri| dial_any(remote.clone(), config.clone()))
}

/// Tries the addresses in their order, each with its share of the time that is left, so that one that does not answer
/// leaves time for the others.
async fn dial_any(
    remote: Remote,
    config: watch::Receiver<Arc<ClientConfig>>,
) -> Result<Stream, ConnectError> {
    let deadline = Instant::now() + DIAL_TIMEOUT;
    let addresses = remote.addresses().await;
    let addresses = addresses.map_err(|source| ConnectError::Resolve { remote: remote.clone(), source })?;
    let mut last = None;
    for (index, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
        match tokio::time::timeout(share, dial(*address, &config)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {
                let source = io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
                last = Some(ConnectError::Dial { address: *address, source });
            }
        }
    }
    Err(last.expect("a remote has at least one address"))
}

async fn dial(
    address: SocketAddr,
    config: &watch::Receiver<Arc<ClientConfig>>,
) -> Result<Stream, ConnectError> {
    let dialled = |source| ConnectError::Dial { address, source };
    let tcp = TcpStream::connect(address).await.map_err(dialled)?;
    tcp.set_nodelay(true).map_err(dialled)?;
    let config = config.borrow().clone();
    let (stream, _) = connect_tls(tcp, address, config).await?;
    Ok(TokioIo::new(stream))
}
