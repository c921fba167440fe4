use std::sync::Arc;

use mesh_ir::config::Delta;
use mesh_ir::resource::{AppProtocol, Certificate, Service, ServicePort, SubjectAltName, TrafficPolicy};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::proxy::pki::{Authority, Entity, Seen, serve_one};

/// The policy of the port in a view.
fn view(tls: BackendTls, certificate: Option<&Entity>) -> MeshView {
    let port = ServicePort { port: 443, name: "https".into(), protocol: AppProtocol::Tcp, tls: Some(tls) };
    let service = Service {
        name: "shop/cart".parse().unwrap(),
        addresses: vec![],
        ports: vec![port],
        udp_ports: Vec::new(),
        session_affinity: None,
        internal_traffic_policy: TrafficPolicy::Cluster,
        circuit_breaker: None,
        retry_budget: None,
    };
    let certificate = certificate.map(|entity| {
        Resource::Certificate(Certificate {
            name: "edge/client".parse().unwrap(),
            chain_pem: entity.chain_pem.clone(),
            key: entity.key_pem.clone().into(),
        })
    });
    let resources = certificate.into_iter().chain([Resource::Service(service)]).map(Arc::new);
    MeshView::default().apply(&Delta { upserts: resources.collect(), removes: vec![] })
}

fn policy(trust: Trust, names: &[&str]) -> BackendTls {
    let name = |name: &&str| match name.contains(':') {
        true => SubjectAltName::Uri((*name).into()),
        false => SubjectAltName::Hostname(name.parse().unwrap()),
    };
    BackendTls::Client(Arc::new(TlsClient {
        policy: "shop/cart".parse().unwrap(),
        server_name: "cart.example".parse().unwrap(),
        subject_alt_names: names.iter().map(name).collect(),
        trust,
    }))
}

fn of(
    clients: &Clients,
    view: &MeshView,
    shown: Option<&ClientCertificate>,
) -> Result<Rc<Client>, TlsProblem> {
    let port = view.service_port(&"shop/cart".parse().unwrap(), 443).unwrap();
    clients.of(view, port, shown).map(|client| client.unwrap())
}

fn server(shown: &Entity, clients: Option<&Authority>) -> ServerConfig {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = match clients {
        None => builder.unwrap().with_no_client_auth(),
        Some(authority) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authority.roots()), provider);
            builder.unwrap().with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let mut config = builder.with_cert_resolver(shown.shown());
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Speaks to a server that shows a certificate; what went wrong is in the words of the access log.
async fn speak(client: &Client, server: ServerConfig, protocol: Option<&[u8]>) -> Result<Seen, String> {
    let (address, serving) = serve_one(server).await;
    let conn = Conn::from(TcpStream::connect(address).await.unwrap());
    let spoken = match client.connect(conn, address, protocol).await {
        Err(error) => Err(error.to_string()),
        Ok(mut conn) => {
            let spoken = async {
                conn.write_u8(7).await?;
                conn.read_u8().await
            };
            spoken.await.map_err(|error: io::Error| error.to_string())
        }
    };
    let seen = serving.await.unwrap();
    spoken.map(|byte| {
        assert_eq!(byte, 7);
        seen.unwrap()
    })
}

#[tokio::test]
async fn backend_tls_believes_the_names_that_the_policy_says() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let trusted = || Trust::Authorities(authority.pem());
    let long_gone = authority.sign_expired(&["cart.example"]);
    let uri = "spiffe://example/ns/shop/sa/cart";
    let both = authority.sign(&["cart.example", uri]);
    type Case<'c> = (Trust, &'c [&'c str], &'c Entity, Result<(), &'c str>);
    let cases: [Case<'_>; 13] = [
        (trusted(), &[], &both, Ok(())),
        (trusted(), &["a.shop.example"], &authority.sign(&["*.shop.example"]), Ok(())),
        (trusted(), &[], &authority.sign(&["other.example"]), Err("not valid for name \"cart.example\"")),
        (trusted(), &[], &authority.sign(&[uri]), Err("not valid for name")),
        (trusted(), &[], &other.sign(&["cart.example"]), Err("UnknownIssuer")),
        (trusted(), &[], &long_gone, Err("expired")),
        (Trust::System, &[], &both, Err("UnknownIssuer")),
        // With names of its own, the hostname only chooses the certificate.
        (trusted(), &["other.example"], &authority.sign(&["other.example"]), Ok(())),
        (trusted(), &["other.example"], &both, Err("its certificate is for cart.example, spiffe://example")),
        (trusted(), &["other.example", uri], &both, Ok(())),
        (
            trusted(),
            &["spiffe://example/ns/shop/sa/other"],
            &both,
            Err("none of the policy's subjectAltNames"),
        ),
        (trusted(), &["*.shop.example"], &authority.sign(&["a.shop.example"]), Ok(())),
        (trusted(), &["*.shop.example"], &both, Err("none of the policy's subjectAltNames")),
    ];
    for (i, (trust, names, shown, expected)) in cases.into_iter().enumerate() {
        let clients = Clients::default();
        let client = of(&clients, &view(policy(trust, names), None), None).unwrap();
        match (speak(&client, server(shown, None), None).await, expected) {
            (Ok(seen), Ok(())) => assert_eq!(seen.server_name.as_deref(), Some("cart.example"), "case {i}"),
            (Err(error), Err(expected)) => {
                assert!(error.contains(expected), "case {i}: {error}");
                assert!(error.contains("BackendTLSPolicy shop/cart"), "case {i}: {error}");
            }
            (result, expected) => panic!("case {i}: {result:?}, not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn backend_tls_asks_for_the_protocol_that_will_be_spoken() {
    let authority = Authority::new("one");
    let shown = authority.sign(&["cart.example"]);
    let view = view(policy(Trust::Authorities(authority.pem()), &[]), None);
    let clients = Clients::default();
    for protocol in [None, Some(&b"h2"[..]), Some(b"http/1.1")] {
        let client = of(&clients, &view, None).unwrap();
        let seen = speak(&client, server(&shown, None), protocol).await.unwrap();
        assert_eq!(seen.protocol.as_deref(), protocol);
    }
}

#[tokio::test]
async fn backend_tls_shows_the_gateways_certificate_or_nothing_is_said() {
    let authority = Authority::new("one");
    let (shown, own) = (authority.sign(&["cart.example"]), authority.sign(&["edge.example"]));
    let tls = || policy(Trust::Authorities(authority.pem()), &[]);
    let named = ClientCertificate::Shown("edge/client".parse().unwrap());
    let (with, without) = (view(tls(), Some(&own)), view(tls(), None));
    let clients = Clients::default();

    let client = of(&clients, &with, Some(&named)).unwrap();
    let seen = speak(&client, server(&shown, Some(&authority)), None).await.unwrap();
    assert_eq!(seen.certificate, own.chain().into_iter().next());

    let client = of(&clients, &with, None).unwrap();
    assert!(speak(&client, server(&shown, Some(&authority)), None).await.is_err());

    assert!(matches!(of(&clients, &without, Some(&named)), Err(TlsProblem::Missing(_))));
    let unresolved = Some(&ClientCertificate::Unresolved);
    assert!(matches!(of(&clients, &with, unresolved), Err(TlsProblem::Unresolved)));
    let invalid = view(BackendTls::Invalid { reason: "no ConfigMap".into() }, None);
    assert!(matches!(of(&clients, &invalid, None), Err(TlsProblem::Policy(_))));
    let nonsense = view(policy(Trust::Authorities("nonsense".into()), &[]), None);
    assert!(matches!(of(&clients, &nonsense, None), Err(TlsProblem::Roots { .. })));
}

#[test]
fn backend_tls_clients_are_told_apart_by_all_that_they_ask_and_show() {
    let authority = Authority::new("one");
    let (own, renewed) = (authority.sign(&["edge.example"]), authority.sign(&["edge.example"]));
    let tls = |names: &[&str]| policy(Trust::Authorities(authority.pem()), names);
    let named = ClientCertificate::Shown("edge/client".parse().unwrap());
    let clients = Clients::default();
    let number = |view: &MeshView, shown| of(&clients, view, shown).unwrap().number;

    let first = view(tls(&[]), Some(&own));
    let plain = number(&first, None);
    assert_eq!(number(&first, None), plain);
    // The same said again is the same.
    let again = view(tls(&[]), Some(&own));
    assert_eq!(number(&again, None), plain);
    let others = [
        number(&first, Some(&named)),
        number(&view(tls(&[]), Some(&renewed)), Some(&named)),
        number(&view(tls(&["a.example"]), None), None),
        number(&view(policy(Trust::Authorities(Authority::new("two").pem()), &[]), None), None),
        number(&view(policy(Trust::System, &[]), None), None),
    ];
    let numbers: std::collections::BTreeSet<u64> = others.into_iter().chain([plain]).collect();
    assert_eq!(numbers.len(), 6);
    // Of the views that are gone nothing is kept.
    let kept = view(tls(&["b.example"]), None);
    number(&kept, None);
    drop(first);
    drop(again);
    number(&view(tls(&["c.example"]), None), None);
    assert_eq!(clients.known.borrow().len(), 2);
}
