//! Connections of Gateways' clients.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use mesh_ir::eval::Target;
use mesh_ir::eval::endpoints::Origin;
use mesh_ir::resource::ListenerProtocol;
use mesh_ir::view::{GatewayPort, ListenerView};
use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, TlsStream};

use super::choice::Client;
use super::conn::Conn;
use super::detect::{self, Spoken};
use super::http::{self, Inlet};
use super::tcp::Content;
use super::{Worker, sockets, tcp};

mod certificate;
mod tls;

pub use certificate::{CertificateError, certified_key};
use tls::BySni;
pub(super) use tls::TlsConfigs;

pub(super) async fn serve(worker: Rc<Worker>, stream: TcpStream, target_port: u16) {
    let Ok(client) = stream.peer_addr().map(sockets::canonical) else { return };
    // Not the view: a long connection would keep all of it.
    let port = worker.state.view.load().gateway_port(target_port).cloned();
    let Some(port) = port else { return sockets::reset(stream) };
    let limits = &worker.state.settings.limits;
    let mut conn = Conn::from(stream);
    if port.is_tls() {
        return secure(worker, conn, client, &port).await;
    }
    if port.listeners().all(|listener| !listener.protocol.is_of_requests()) {
        let target = Target::Gateway { target_port, sni: None };
        return connection(&worker, conn, client, target, Content::Plain).await;
    }
    let spoken = match detect::protocol(&mut conn, limits.header_timeout).await {
        Ok(Spoken::Undecided) | Err(_) => return,
        Ok(spoken) => spoken,
    };
    let inlet = Inlet::gateway(target_port, client, None, false);
    http::serve(worker, conn, spoken == Spoken::Http2, inlet).await;
}

/// The client's ClientHello chooses the listener, and that what becomes of the rest.
async fn secure(worker: Rc<Worker>, mut conn: Conn, client: SocketAddr, port: &GatewayPort) {
    let limits = &worker.state.settings.limits;
    let target_port = port.target_port;
    let passes_through = |listener: &ListenerView| listener.protocol == ListenerProtocol::TlsPassthrough;
    // Where TLS is ended for every client there is no need to read the ClientHello ahead.
    if port.listeners().any(passes_through) {
        let Ok(Some(sni)) = detect::server_name(&mut conn, limits.handshake_timeout).await else {
            return worker.state.telemetry.refused("tls-handshake");
        };
        if port.listener(sni.as_deref()).is_none_or(passes_through) {
            let target = Target::Gateway { target_port, sni: sni.as_deref() };
            return connection(&worker, conn, client, target, Content::Wrapped).await;
        }
    }
    let handshake = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), conn).await?;
        let sni = start.client_hello().server_name().map(str::to_ascii_lowercase);
        let listener = port.listener(sni.as_deref());
        let of_requests = listener.is_none_or(|l| l.protocol.is_of_requests());
        let validation = listener.and_then(|listener| listener.client_validation.as_ref());
        let certificates = || Arc::new(BySni::new(&worker.state, target_port)) as _;
        let config = worker.gateway_tls.borrow_mut().of((target_port, of_requests), validation, certificates);
        let config = config.map_err(io::Error::other)?;
        let tls = start.into_stream(config.server.clone()).await?;
        config.check_resumed(tls.get_ref().1).map_err(io::Error::other)?;
        Ok::<_, io::Error>((tls, sni, of_requests))
    };
    let Ok(Ok((tls, sni, of_requests))) = tokio::time::timeout(limits.handshake_timeout, handshake).await
    else {
        return worker.state.telemetry.refused("tls-handshake");
    };
    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let conn = Conn::from(TlsStream::from(tls));
    if of_requests {
        let inlet = Inlet::gateway(target_port, client, sni, true);
        return http::serve(worker, conn, http2, inlet).await;
    }
    let target = Target::Gateway { target_port, sni: sni.as_deref() };
    connection(&worker, conn, client, target, Content::Plain).await;
}

async fn connection(
    worker: &Rc<Worker>,
    conn: Conn,
    client: SocketAddr,
    target: Target<'_>,
    content: Content,
) {
    let who = Client { address: Some(client.ip()), origin: Origin::Gateway, persistent: None };
    tcp::routed(worker, conn, &worker.state.node, who, target, content, client.is_ipv6()).await;
}
