//! Certificates for the tests of this module, and the two ends of a TLS connection over a real socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub(super) struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

#[derive(Debug)]
pub(super) struct Entity {
    pub(super) chain_pem: String,
    pub(super) key_pem: String,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    pub(super) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }

    /// A certificate for these names; one with a `:` is a URI.
    pub(super) fn sign(&self, names: &[&str]) -> Entity {
        self.sign_until(names, rcgen::date_time_ymd(4000, 1, 1))
    }

    pub(super) fn sign_expired(&self, names: &[&str]) -> Entity {
        self.sign_until(names, rcgen::date_time_ymd(2000, 1, 1))
    }

    fn sign_until(&self, names: &[&str], until: time::OffsetDateTime) -> Entity {
        let mut params = CertificateParams::default();
        let name = |name: &&str| match name.contains(':') {
            true => SanType::URI((*name).try_into().unwrap()),
            false => SanType::DnsName((*name).try_into().unwrap()),
        };
        params.subject_alt_names = names.iter().map(name).collect();
        params.not_before = rcgen::date_time_ymd(1990, 1, 1);
        params.not_after = until;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Entity { chain_pem: certificate.pem(), key_pem: key.serialize_pem() }
    }
}

impl Entity {
    pub(super) fn chain(&self) -> Vec<CertificateDer<'static>> {
        use rustls_pki_types::pem::PemObject;
        CertificateDer::pem_slice_iter(self.chain_pem.as_bytes()).map(Result::unwrap).collect()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        use rustls_pki_types::pem::PemObject;
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).unwrap()
    }

    pub(super) fn shown(&self) -> Arc<dyn ResolvesServerCert> {
        let key = CertifiedKey::from_der(self.chain(), self.key(), &aws_lc_rs::default_provider()).unwrap();
        Arc::new(Always(Arc::new(key)))
    }
}

/// Shows one certificate to every client, whatever name it asks for.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// What a server learnt of one client.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) server_name: Option<String>,
    pub(super) protocol: Option<Vec<u8>>,
    pub(super) certificate: Option<CertificateDer<'static>>,
}

/// Serves one connection: takes a byte from it and sends it back.
pub(super) async fn serve_one(config: ServerConfig) -> (SocketAddr, JoinHandle<io::Result<Seen>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await?;
        let mut tls = TlsAcceptor::from(Arc::new(config)).accept(tcp).await?;
        let byte = tls.read_u8().await?;
        tls.write_u8(byte).await?;
        tls.shutdown().await?;
        let connection = tls.get_ref().1;
        Ok(Seen {
            server_name: connection.server_name().map(Into::into),
            protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
            certificate: connection.peer_certificates().and_then(|chain| chain.first().cloned()),
        })
    });
    (address, serving)
}
