//! TLS to applications, where a BackendTLSPolicy asks for it. It is inside of whatever carries the connection to the
//! application's workload, mutual TLS of the mesh included.
//!
//! A connection is only used again for what it was made for: each policy, with the certificate that is shown, is a client of
//! its own, with sessions of its own, and its number is part of the pool's key.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use foldhash::fast::RandomState;
use mesh_ir::name::ObjectName;
use mesh_ir::resource::{BackendTls, ClientCertificate, Resource, ResourceKey, TlsClient, Trust};
use mesh_ir::view::{MeshView, PortView};
use mesh_trust::handshake_problem;
use rustls::crypto::aws_lc_rs;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::{TlsConnector, TlsStream};

use super::conn::Conn;
use super::gateway::{CertificateError, certified_key};

mod verify;

/// How many clients a worker keeps. Beyond that they are forgotten, and made anew with the next connection.
const MAX_CLIENTS: usize = 1024;

/// Why an application cannot be spoken to in TLS.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsProblem {
    #[error("{0}")]
    Policy(Arc<str>),
    #[error("the Gateway's spec.tls.backend.clientCertificateRef names no certificate that it can show")]
    Unresolved,
    #[error("the Gateway's client certificate {0} is not here")]
    Missing(ObjectName),
    #[error("the Gateway's client certificate cannot be used: {0}")]
    Certificate(#[from] CertificateError),
    #[error("BackendTLSPolicy {policy}: {source}")]
    Roots { policy: ObjectName, source: RootsError },
    #[error("BackendTLSPolicy {policy}: {source}")]
    Config { policy: ObjectName, source: rustls::Error },
    #[error("{0} is not the name of a server")]
    Name(String),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RootsError {
    #[error("the certificates of authorities are not PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    #[error("a certificate of an authority cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    #[error("there is no certificate of an authority")]
    None,
}

#[derive(Debug, thiserror::Error)]
#[error("{address} is not what BackendTLSPolicy {policy} asks for: {}", handshake_problem(source))]
pub(super) struct NotAsAsked {
    address: SocketAddr,
    policy: ObjectName,
    source: io::Error,
}

/// Who may have signed, in PEM.
pub(super) fn roots(pem: &str) -> Result<RootCertStore, RootsError> {
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(der?)?;
    }
    if roots.is_empty() { Err(RootsError::None) } else { Ok(roots) }
}

/// A worker's clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    known: RefCell<HashMap<Place, Rc<Client>, RandomState>>,
    made: Cell<u64>,
}

/// Where the configuration holds a policy, and the certificate to show. A client keeps both, so that nothing else comes to
/// be in their places.
type Place = (*const TlsClient, Option<*const Resource>);

/// Speaks TLS as one policy asks for.
#[derive(Debug)]
pub(super) struct Client {
    /// No other client of the worker has it, or had.
    pub(super) number: u64,
    policy: Arc<TlsClient>,
    certificate: Option<Arc<Resource>>,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
}

impl Clients {
    /// Who speaks to the applications behind a port; `None` where they are spoken to as they are.
    pub(super) fn of(
        &self,
        view: &MeshView,
        port: &PortView,
        shown: Option<&ClientCertificate>,
    ) -> Result<Option<Rc<Client>>, TlsProblem> {
        let policy = match &port.tls {
            None => return Ok(None),
            Some(BackendTls::Client(client)) => client,
            Some(BackendTls::Invalid { reason }) => return Err(TlsProblem::Policy(reason.clone())),
        };
        let certificate = match shown {
            None => None,
            Some(ClientCertificate::Unresolved) => return Err(TlsProblem::Unresolved),
            Some(ClientCertificate::Shown(name)) => {
                let found = view.config().resources.get(&ResourceKey::Certificate(name.clone()));
                Some(found.ok_or_else(|| TlsProblem::Missing(name.clone()))?)
            }
        };
        let place = (Arc::as_ptr(policy), certificate.map(Arc::as_ptr));
        let mut known = self.known.borrow_mut();
        if let Some(client) = known.get(&place) {
            return Ok(Some(client.clone()));
        }
        // A resource that changed holds all its parts anew, those too that are what they were.
        let same =
            |client: &&Rc<Client>| client.policy == *policy && client.certificate.as_ref() == certificate;
        let known_elsewhere = known.values().find(same).map(|client| (client.number, client.config.clone()));
        let (number, config) = match known_elsewhere {
            Some(known) => known,
            None => {
                self.made.set(self.made.get() + 1);
                (self.made.get(), config(policy, certificate)?)
            }
        };
        let name = policy.server_name.to_string();
        let name = ServerName::try_from(name.clone()).map_err(|_| TlsProblem::Name(name))?;
        let (policy, certificate) = (policy.clone(), certificate.cloned());
        let client = Rc::new(Client { number, policy, certificate, name, config });
        forget_gone(&mut known);
        if known.len() >= MAX_CLIENTS {
            known.clear();
        }
        known.insert(place, client.clone());
        Ok(Some(client))
    }
}

/// Forgets those whose policy or certificate nobody but clients holds any more: it is no longer in the configuration.
fn forget_gone(known: &mut HashMap<Place, Rc<Client>, RandomState>) {
    let mut policies: BTreeMap<*const TlsClient, usize> = BTreeMap::new();
    let mut certificates: BTreeMap<*const Resource, usize> = BTreeMap::new();
    for (policy, certificate) in known.keys() {
        *policies.entry(*policy).or_default() += 1;
        if let Some(certificate) = certificate {
            *certificates.entry(*certificate).or_default() += 1;
        }
    }
    known.retain(|(policy, certificate), client| {
        let of_certificate = certificate.map_or(0, |certificate| certificates[&certificate]);
        let mut shown = client.certificate.iter();
        Arc::strong_count(&client.policy) > policies[policy]
            && shown.all(|shown| Arc::strong_count(shown) > of_certificate)
    });
}

impl Client {
    /// Does the handshake over a connection that leads to the application.
    pub(super) async fn connect(
        &self,
        conn: Conn,
        address: SocketAddr,
        protocol: Option<&[u8]>,
    ) -> Result<Conn, NotAsAsked> {
        let connector = TlsConnector::from(self.config.clone());
        let protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
        let done = connector.with_alpn(protocols).connect(self.name.clone(), conn).await;
        done.map(|tls| Conn::from(TlsStream::from(tls))).map_err(|source| NotAsAsked {
            address,
            policy: self.policy.policy.clone(),
            source,
        })
    }
}

fn config(policy: &TlsClient, certificate: Option<&Arc<Resource>>) -> Result<Arc<ClientConfig>, TlsProblem> {
    static SYSTEM: LazyLock<Arc<RootCertStore>> =
        LazyLock::new(|| Arc::new(webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()));
    let named = || policy.policy.clone();
    let roots = match &policy.trust {
        Trust::System => SYSTEM.clone(),
        Trust::Authorities(pem) => {
            Arc::new(roots(pem).map_err(|source| TlsProblem::Roots { policy: named(), source })?)
        }
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = verify::Application::new(roots, policy.subject_alt_names.clone(), &provider);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|source| TlsProblem::Config { policy: named(), source })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match certificate.map(|certificate| &**certificate) {
        Some(Resource::Certificate(certificate)) => {
            let shown = SingleCertAndKey::from(certified_key(certificate)?);
            builder.with_client_cert_resolver(Arc::new(shown))
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
