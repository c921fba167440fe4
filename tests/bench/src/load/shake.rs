//! TLS handshakes, one connection after the other, each with one request so that a ticket arrives with its answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme, StreamOwned,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::Load;

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Shake {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    seconds: f64,
    #[arg(long)]
    name: String,
    /// Resume the session of the connection before.
    #[arg(long)]
    resume: bool,
}

/// The arguments that make this program do it.
pub(crate) fn arguments(to: SocketAddr, name: &str, resume: bool, length: Duration) -> Vec<String> {
    let seconds = length.as_secs_f64().to_string();
    let mut words: Vec<String> =
        ["load", "shake", "--to", &to.to_string(), "--seconds", &seconds, "--name", name]
            .map(str::to_owned)
            .into();
    if resume {
        words.push("--resume".to_owned());
    }
    words
}

pub(super) fn run(shake: &Shake) -> anyhow::Result<Load> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    if !shake.resume {
        config.resumption = Resumption::disabled();
    }
    let config = Arc::new(config);
    let name = ServerName::try_from(shake.name.clone()).context("the server's name")?;
    let request = format!("GET / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", shake.name);
    let begun = Instant::now();
    let mut load = Load::default();
    while begun.elapsed().as_secs_f64() < shake.seconds {
        let stream = TcpStream::connect(shake.to).context("connecting")?;
        stream.set_nodelay(true)?;
        let mut tls = StreamOwned::new(ClientConnection::new(config.clone(), name.clone())?, stream);
        tls.write_all(request.as_bytes()).context("a request")?;
        let mut answer = Vec::new();
        // A server that closes without saying so first has still answered.
        let _ = tls.read_to_end(&mut answer);
        anyhow::ensure!(
            answer.starts_with(b"HTTP/1.1 200"),
            "the answer: {}",
            String::from_utf8_lossy(&answer)
        );
        let resumed = tls.conn.handshake_kind() == Some(HandshakeKind::Resumed);
        // The first one has nothing to resume.
        if resumed == shake.resume || load.done == 0.0 {
            load.done += 1.0;
        } else {
            load.failed += 1.0;
        }
    }
    load.seconds = begun.elapsed().as_secs_f64();
    Ok(load)
}

/// Checks the signature, which is part of a handshake's cost, and trusts every certificate: who the server is was decided by
/// the address.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
