//! Connections of Gateways' clients.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_ir::eval::Target;
use mesh_ir::eval::endpoints::Origin;
use mesh_ir::name::ObjectName;
use mesh_ir::resource::{Certificate, ListenerProtocol, Resource, ResourceKey};
use mesh_ir::view::{GatewayPort, ListenerView, MeshView};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

use super::choice::Client;
use super::conn::Conn;
use super::detect::{self, Spoken};
use super::http::{self, Inlet};
use super::{Worker, sockets, tcp};
use crate::state::State;

#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    #[error("the certificate chain is not PEM: {0}")]
    Chain(rustls_pki_types::pem::Error),
    #[error("the certificate chain is empty")]
    NoCertificate,
    #[error("the private key is not PEM: {0}")]
    Key(rustls_pki_types::pem::Error),
    #[error("the private key cannot be used, or does not belong to the certificate: {0}")]
    Unusable(rustls::Error),
}

/// A certificate ready to be shown.
pub fn certified_key(certificate: &Certificate) -> Result<CertifiedKey, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes()).collect();
    let chain = chain.map_err(CertificateError::Chain)?;
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate);
    }
    let key =
        PrivateKeyDer::from_pem_slice(certificate.key.expose().as_bytes()).map_err(CertificateError::Key)?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(CertificateError::Unusable)
}

pub(super) async fn serve(worker: Rc<Worker>, stream: TcpStream, target_port: u16) {
    let Ok(client) = stream.peer_addr().map(sockets::canonical) else { return };
    // Not the view: a long connection would keep all of it.
    let port = worker.state.view.load().gateway_port(target_port).cloned();
    let Some(port) = port else { return sockets::reset(stream) };
    let limits = &worker.state.settings.limits;
    let mut conn = Conn::from(stream);
    if port.is_tls() {
        return tls(worker, conn, client, &port).await;
    }
    if port.listeners().all(|listener| !listener.protocol.is_of_requests()) {
        let target = Target::Gateway { target_port, sni: None };
        return connection(&worker, conn, client, target).await;
    }
    let spoken = match detect::protocol(&mut conn, limits.header_timeout).await {
        Ok(Spoken::Undecided) | Err(_) => return,
        Ok(spoken) => spoken,
    };
    let inlet = Inlet::gateway(target_port, client, None, false);
    http::serve(worker, conn, spoken == Spoken::Http2, inlet).await;
}

/// The client's ClientHello chooses the listener, and that what becomes of the rest.
async fn tls(worker: Rc<Worker>, mut conn: Conn, client: SocketAddr, port: &GatewayPort) {
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
            return connection(&worker, conn, client, target).await;
        }
    }
    let handshake = async {
        let start = LazyConfigAcceptor::new(Acceptor::default(), conn).await?;
        let sni = start.client_hello().server_name().map(str::to_ascii_lowercase);
        let of_requests = port.listener(sni.as_deref()).is_none_or(|l| l.protocol.is_of_requests());
        let config = worker.gateway_tls.borrow_mut().of(&worker.state, (target_port, of_requests));
        let tls = start.into_stream(config.map_err(io::Error::other)?).await?;
        Ok::<_, io::Error>((tls, sni, of_requests))
    };
    let Ok(Ok((tls, sni, of_requests))) = tokio::time::timeout(limits.handshake_timeout, handshake).await
    else {
        return worker.state.telemetry.refused("tls-handshake");
    };
    let http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let conn = Conn::from(tls);
    if of_requests {
        let inlet = Inlet::gateway(target_port, client, sni, true);
        return http::serve(worker, conn, http2, inlet).await;
    }
    let target = Target::Gateway { target_port, sni: sni.as_deref() };
    connection(&worker, conn, client, target).await;
}

async fn connection(worker: &Rc<Worker>, conn: Conn, client: SocketAddr, target: Target<'_>) {
    let who = Client { address: Some(client.ip()), origin: Origin::Gateway, persistent: None };
    tcp::routed(worker, conn, &worker.state.node, who, target, client.is_ipv6()).await;
}

/// The TLS configurations of a worker's Gateway ports, for requests and for whole connections. They stay while the
/// certificates behind them change, and with them the sessions that clients may resume.
#[derive(Debug, Default)]
pub(super) struct TlsConfigs(HashMap<(u16, bool), Arc<ServerConfig>>);

impl TlsConfigs {
    fn of(
        &mut self,
        state: &Arc<State>,
        (target_port, of_requests): (u16, bool),
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        if let Some(config) = self.0.get(&(target_port, of_requests)) {
            return Ok(config.clone());
        }
        let resolver = BySni { state: state.clone(), target_port, prepared: Mutex::default() };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        if of_requests {
            config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        config.ticketer = aws_lc_rs::Ticketer::new()?;
        let config = Arc::new(config);
        self.0.insert((target_port, of_requests), config.clone());
        Ok(config)
    }

    pub(super) fn forget(&mut self, target_port: u16) {
        self.0.retain(|(port, _), _| *port != target_port);
    }
}

/// Shows the certificate of the listener that the client's SNI chooses.
#[derive(Debug)]
struct BySni {
    state: Arc<State>,
    target_port: u16,
    /// The certificates in use, each with the resource that it was made of.
    prepared: Mutex<HashMap<ObjectName, Prepared>>,
}

type Prepared = (Arc<Resource>, Arc<CertifiedKey>);

impl BySni {
    fn certificate(&self, view: &MeshView, name: &ObjectName) -> Option<Arc<CertifiedKey>> {
        let resource = view.config().resources.get(&ResourceKey::Certificate(name.clone()))?;
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made_of, key)) = prepared.get(name)
            && Arc::ptr_eq(made_of, resource)
        {
            return Some(key.clone());
        }
        let Resource::Certificate(certificate) = &**resource else { return None };
        let key = Arc::new(certified_key(certificate).ok()?);
        prepared
            .retain(|name, _| view.config().resources.contains_key(&ResourceKey::Certificate(name.clone())));
        prepared.insert(name.clone(), (resource.clone(), key.clone()));
        Some(key)
    }
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let view = self.state.view.load();
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let listener = view.gateway_port(self.target_port)?.listener(name.as_deref())?;
        let usable = listener.protocol.certificates().iter().filter_map(|name| self.certificate(&view, name));
        let mut fitting = usable.filter(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        fitting.next()
    }
}
