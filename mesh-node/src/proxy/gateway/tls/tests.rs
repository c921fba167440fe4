use std::net::Ipv4Addr;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::proxy::pki::{Authority, Entity};

fn validation(authority: &Authority, allow_insecure: bool) -> Arc<ClientValidation> {
    Arc::new(ClientValidation { authorities: authority.pem(), allow_insecure })
}

fn client(authority: &Authority, shown: Option<&Entity>) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots());
    Arc::new(match shown {
        Some(entity) => builder.with_client_auth_cert(entity.chain(), entity.key()).unwrap(),
        None => builder.with_no_client_auth(),
    })
}

/// One connection, and what its server came to: how the handshake was done, and whether its client would be let in by
/// `again` as well.
async fn connect(
    config: &TlsConfig,
    client: &Arc<ClientConfig>,
    again: &TlsConfig,
) -> Result<(HandshakeKind, bool), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = config.server.clone();
    let serving = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut tls = TlsAcceptor::from(server).accept(tcp).await.map_err(|error| error.to_string())?;
        config.check_resumed(tls.get_ref().1).map_err(|error| error.to_string())?;
        tls.write_u8(1).await.map_err(|error| error.to_string())?;
        tls.shutdown().await.map_err(|error| error.to_string())?;
        let connection = tls.get_ref().1;
        Ok((connection.handshake_kind().unwrap(), again.check_resumed(connection).is_ok()))
    };
    let dialling = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("edge.example").unwrap();
        let mut tls = TlsConnector::from(client.clone()).connect(name, tcp).await?;
        // What it is told comes after the tickets.
        tls.read_u8().await
    };
    let (served, heard) = tokio::join!(serving, dialling);
    assert_eq!(served.is_ok(), heard.is_ok(), "{served:?} {heard:?}");
    served
}

#[test]
fn gateway_tls_takes_the_suites_of_the_cheap_hash_first() {
    let suites: Vec<_> = provider().cipher_suites.iter().map(|suite| suite.suite()).collect();
    assert_eq!(suites.len(), aws_lc_rs::default_provider().cipher_suites.len());
    let first = |name: &str| suites.iter().find(|suite| format!("{suite:?}").starts_with(name)).unwrap();
    assert_eq!(*first("TLS13"), CipherSuite::TLS13_AES_128_GCM_SHA256);
    assert_eq!(*first("TLS_ECDHE_ECDSA"), CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    assert_eq!(*first("TLS_ECDHE_RSA"), CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
}

#[tokio::test]
async fn gateway_tls_lets_in_whom_the_mode_says() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let own = authority.sign(&["edge.example"]);
    let (good, foreign) = (authority.sign(&["client.example"]), other.sign(&["client.example"]));
    let expired = authority.sign_expired(&["client.example"]);
    let strict = TlsConfig::new(own.shown(), Some(&validation(&authority, false)), true).unwrap();
    let insecure = TlsConfig::new(own.shown(), Some(&validation(&authority, true)), true).unwrap();
    let open = TlsConfig::new(own.shown(), None, true).unwrap();
    for (what, shown, is_good) in [
        ("good", Some(&good), true),
        ("of another authority", Some(&foreign), false),
        ("expired", Some(&expired), false),
        ("none", None, false),
    ] {
        let in_by =
            async |config: &TlsConfig| connect(config, &client(&authority, shown), config).await.is_ok();
        assert_eq!(in_by(&strict).await, is_good, "{what}");
        assert!(in_by(&insecure).await, "{what}");
        assert!(in_by(&open).await, "{what}");
    }
    let nobody = Arc::new(ClientValidation { authorities: String::new(), allow_insecure: false });
    assert!(TlsConfig::new(own.shown(), Some(&nobody), true).is_err());
}

#[tokio::test]
async fn gateway_tls_sessions_end_with_what_clients_had_to_prove() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let own = authority.sign(&["edge.example"]);
    let good = authority.sign(&["client.example"]);
    let mut configs = TlsConfigs::default();
    let mut of = |validation: &Arc<ClientValidation>| {
        configs.of((20_000, true), Some(validation), || own.shown()).unwrap()
    };
    let before = of(&validation(&authority, false));
    let client = client(&authority, Some(&good));
    assert_eq!(connect(&before, &client, &before).await.unwrap().0, HandshakeKind::Full);

    // The same said again keeps its sessions; whom they were verified for is looked at again.
    let same = of(&validation(&authority, false));
    let stricter = TlsConfig::new(own.shown(), Some(&validation(&other, false)), true).unwrap();
    let resumed = connect(&same, &client, &stricter).await;
    assert_eq!(resumed, Ok((HandshakeKind::Resumed, false)));

    let after = of(&validation(&other, false));
    assert!(connect(&after, &client, &after).await.is_err());
    let back = of(&validation(&authority, false));
    assert_eq!(connect(&back, &client, &back).await.unwrap().0, HandshakeKind::Full);
}
