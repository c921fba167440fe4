//! Handshakes over real sockets with the library's configurations: who is believed, and what resumption keeps.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mesh_ir::name::Identity;
use mesh_trust::{
    AcceptLimits, Bundle, ClientAuth, Expect, PeerError, Remote, Svid, client_config, connect, connect_tls,
    peer_identity, serve_incoming, server_config, verify_chain,
};
use rcgen::KeyUsagePurpose;
use rustls::{ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, ServerConfig};
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt;
use webpki::KeyUsage;

mod pki;

use pki::{Entity, HOUR, Template, authority, leaf};

const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const PAY: &str = "spiffe://cluster.local/ns/shop/sa/pay";
const ALPN: &[&[u8]] = &[b"weir/1"];

fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

fn exactly(text: &str) -> Expect {
    Expect::Exactly(id(text))
}

/// What both ends made of one connection over which a byte went each way.
#[derive(Debug)]
struct Met {
    client: io::Result<Side>,
    server: io::Result<Side>,
}

#[derive(Debug)]
struct Side {
    kind: HandshakeKind,
    version: ProtocolVersion,
    group: NamedGroup,
    now: Result<Identity, PeerError>,
    /// The same in two days, when every certificate here has expired.
    later: Result<Identity, PeerError>,
}

fn side(connection: &rustls::CommonState) -> Side {
    let later = UnixTime::since_unix_epoch(
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + 48 * HOUR,
    );
    Side {
        kind: connection.handshake_kind().unwrap(),
        version: connection.protocol_version().unwrap(),
        group: connection
            .negotiated_key_exchange_group()
            .map_or(NamedGroup::Unknown(0), |group| group.name()),
        now: peer_identity(connection, UnixTime::now()),
        later: peer_identity(connection, later),
    }
}

async fn meet(listener: &TcpListener, client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> Met {
    let address = listener.local_addr().unwrap();
    let dialling = async {
        let tcp = TcpStream::connect(address).await?;
        let (mut stream, _) = connect_tls(tcp, address, client.clone()).await.map_err(io::Error::other)?;
        stream.write_all(b"?").await?;
        stream.read_u8().await?;
        Ok(side(stream.get_ref().1))
    };
    let answering = async {
        let (tcp, _) = listener.accept().await?;
        let mut stream = TlsAcceptor::from(server.clone()).accept(tcp).await?;
        stream.read_u8().await?;
        stream.write_all(b"!").await?;
        stream.shutdown().await?;
        Ok(side(stream.get_ref().1))
    };
    let both = async {
        let (client, server) = tokio::join!(dialling, answering);
        Met { client, server }
    };
    tokio::time::timeout(Duration::from_secs(10), both).await.expect("a handshake hangs")
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn client(svid: &Svid, bundle: &Arc<Bundle>, expect: Expect) -> Arc<ClientConfig> {
    client_config(Some(svid), bundle, expect, ALPN).unwrap()
}

fn server(svid: &Svid, bundle: &Arc<Bundle>) -> Arc<ServerConfig> {
    server_config(svid, bundle, ALPN, ClientAuth::Required).unwrap()
}

/// A root, an intermediate below it, and good SVIDs of the two workloads below that.
struct Mesh {
    root: Entity,
    intermediate: Entity,
    cart: Svid,
    pay: Svid,
}

fn mesh() -> Mesh {
    let root = authority().self_signed();
    let intermediate = authority().under_root(&root);
    let svid = |uri| leaf(uri).under(&intermediate).svid().unwrap();
    let (cart, pay) = (svid(CART), svid(PAY));
    Mesh { root, intermediate, cart, pay }
}

#[tokio::test]
async fn tls_good_peers_know_each_other_over_tls13_with_the_hybrid() {
    let mesh = mesh();
    let bundle = mesh.root.bundle();
    let met =
        meet(&listener().await, &client(&mesh.cart, &bundle, exactly(PAY)), &server(&mesh.pay, &bundle))
            .await;
    let (client, server) = (met.client.unwrap(), met.server.unwrap());
    assert_eq!(client.now.unwrap(), id(PAY));
    assert_eq!(server.now.unwrap(), id(CART));
    assert_eq!(client.version, ProtocolVersion::TLSv1_3);
    assert_eq!(client.group, NamedGroup::X25519MLKEM768);
    assert!(matches!(client.later, Err(PeerError::Expired(_))));
    assert!(matches!(server.later, Err(PeerError::Expired(_))));
}

/// Shows `bad` as a server and as a client; the other end must refuse it for a reason that has `reason` in it.
async fn refused(mesh: &Mesh, name: &str, bad: Entity, reason: &str) {
    let bundle = mesh.root.bundle();
    let (certificate, above) = bad.chain();
    let verdict = verify_chain(certificate, above, &bundle, KeyUsage::client_auth(), UnixTime::now());
    let verdict = verdict.expect_err(name).to_string();
    assert!(verdict.contains(reason), "{name}: {verdict}");
    // What no program of ours could load as its own SVID is not shown by our own TLS; the verdict above covers it.
    let Ok(bad) = bad.svid() else { return };
    let listener = listener().await;
    let as_server =
        meet(&listener, &client(&mesh.cart, &bundle, Expect::AnyOfTrustDomain), &server(&bad, &bundle)).await;
    as_server.client.expect_err(name);
    as_server.server.expect_err(name);
    let open = client(&bad, &bundle, Expect::AnyOfTrustDomain);
    let as_client = meet(&listener, &open, &server(&mesh.pay, &bundle)).await;
    as_client.client.expect_err(name);
    as_client.server.expect_err(name);
}

#[tokio::test]
async fn tls_bad_certificates_are_refused_by_both_ends() {
    let mesh = mesh();
    let stranger = authority().self_signed();
    let good = leaf(CART).under(&mesh.intermediate);
    let ago = |hours: u32| SystemTime::now() - hours * HOUR;
    let cases: Vec<(&str, Entity, &str)> = vec![
        ("self-signed", leaf(CART).self_signed(), "does not chain"),
        ("of another root", leaf(CART).under(&stranger), "does not chain"),
        ("signed by a workload", leaf(CART).under(&good), "does not chain"),
        (
            "signed by an intermediate that may not sign",
            leaf(CART).under(
                &Template { usages: vec![KeyUsagePurpose::CrlSign], ..authority() }.under_root(&mesh.root),
            ),
            "does not chain",
        ),
        (
            "of another trust domain",
            leaf("spiffe://elsewhere.test/ns/shop/sa/cart").under(&mesh.intermediate),
            "not of the trust domain cluster.local",
        ),
        (
            "with two SPIFFE IDs",
            Template { uris: vec![CART, PAY], ..leaf(CART) }.under(&mesh.intermediate),
            "names 2 URIs",
        ),
        ("without a SPIFFE ID", Template { uris: vec![], ..leaf(CART) }.under(&mesh.intermediate), "0 URIs"),
        (
            "with an ID that is no workload's",
            leaf("spiffe://cluster.local").under(&mesh.intermediate),
            "names no workload",
        ),
        (
            "expired",
            Template { from: ago(3), until: ago(2), ..leaf(CART) }.under(&mesh.intermediate),
            "expired",
        ),
        (
            "of the future",
            Template { from: SystemTime::now() + HOUR / 2, ..leaf(CART) }.under(&mesh.intermediate),
            "not valid yet",
        ),
        (
            "that is an authority's",
            Template { uris: vec![CART], ..authority() }.under(&mesh.intermediate),
            "certificate authority's",
        ),
        (
            "not for signatures",
            Template { usages: vec![KeyUsagePurpose::KeyAgreement], ..leaf(CART) }.under(&mesh.intermediate),
            "key usage",
        ),
    ];
    for (name, bad, reason) in cases {
        refused(&mesh, name, bad, reason).await;
    }
}

#[tokio::test]
async fn tls_peers_whose_roots_are_not_in_the_bundle_are_refused_until_they_are() {
    let (ours, theirs) = (mesh(), mesh());
    let (old, new) = (ours.root.bundle(), theirs.root.bundle());
    let both = Arc::new(old.union(&new).unwrap());
    let listener = listener().await;
    let met = meet(&listener, &client(&ours.cart, &old, exactly(PAY)), &server(&theirs.pay, &both)).await;
    met.client.expect_err("the new root is not known to the client");
    let met = meet(&listener, &client(&ours.cart, &both, exactly(PAY)), &server(&theirs.pay, &new)).await;
    met.server.expect_err("the old root is not known to the server");
    let met = meet(&listener, &client(&ours.cart, &both, exactly(PAY)), &server(&theirs.pay, &both)).await;
    met.client.expect("both roots are known");
}

#[tokio::test]
async fn tls_resumption_keeps_identities_and_never_crosses_expectations() {
    let mesh = mesh();
    let bundle = mesh.root.bundle();
    let listener = listener().await;
    let pay = server(&mesh.pay, &bundle);
    let to_pay = client(&mesh.cart, &bundle, exactly(PAY));

    let met = meet(&listener, &to_pay, &pay).await;
    assert_eq!(met.client.unwrap().kind, HandshakeKind::Full);
    let met = meet(&listener, &to_pay, &pay).await;
    let (client_side, server_side) = (met.client.unwrap(), met.server.unwrap());
    assert_eq!(client_side.kind, HandshakeKind::Resumed);
    assert_eq!(client_side.now.unwrap(), id(PAY));
    assert_eq!(server_side.now.unwrap(), id(CART));
    // A session outlives certificates; whoever asks for the peer's identity does not fall for it.
    assert!(matches!(client_side.later, Err(PeerError::Expired(_))));
    assert!(matches!(server_side.later, Err(PeerError::Expired(_))));

    // The same client, server and address with another expectation: no session to resume, and refused.
    let to_cart = client(&mesh.cart, &bundle, exactly(CART));
    for _ in 0..2 {
        let error = meet(&listener, &to_cart, &pay).await.client.expect_err("pay is not cart");
        assert!(error.to_string().contains("expected was"), "{error}");
    }

    // Another workload answers at the address where pay was: its server cannot open pay's ticket, and is refused.
    let error =
        meet(&listener, &to_pay, &server(&mesh.cart, &bundle)).await.client.expect_err("cart is not pay");
    assert!(error.to_string().contains("expected was"), "{error}");

    // Tickets die with the server's configuration.
    meet(&listener, &to_pay, &pay).await.client.unwrap();
    let rotated = server(&mesh.pay, &bundle);
    assert_eq!(meet(&listener, &to_pay, &rotated).await.client.unwrap().kind, HandshakeKind::Full);
    assert_eq!(meet(&listener, &to_pay, &rotated).await.client.unwrap().kind, HandshakeKind::Resumed);
}

#[tokio::test]
async fn tls_tickets_are_worth_nothing_once_trust_has_changed() {
    let (ours, theirs) = (mesh(), mesh());
    let (old, new) = (ours.root.bundle(), theirs.root.bundle());
    let both = Arc::new(old.union(&new).unwrap());
    let listener = listener().await;
    let (to_pay, pay) = (client(&ours.cart, &both, exactly(PAY)), server(&theirs.pay, &both));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        assert_eq!(meet(&listener, &to_pay, &pay).await.client.unwrap().kind, kind);
    }
    // The client's root goes: its ticket does not open the server's door any more.
    let distrusting = server(&theirs.pay, &new);
    meet(&listener, &to_pay, &distrusting).await.server.expect_err("cart's root is trusted no more");
    // The server's root goes: the client does not offer what the server proved under it.
    let distrusting = client(&ours.cart, &old, exactly(PAY));
    meet(&listener, &distrusting, &pay).await.client.expect_err("pay's root is trusted no more");
}

#[tokio::test]
async fn tls_a_full_handshake_is_enough_for_connections_beside_each_other() {
    let mesh = mesh();
    let bundle = mesh.root.bundle();
    let listener = listener().await;
    let (to_pay, pay) = (client(&mesh.cart, &bundle, exactly(PAY)), server(&mesh.pay, &bundle));
    assert_eq!(meet(&listener, &to_pay, &pay).await.client.unwrap().kind, HandshakeKind::Full);
    for _ in 0..2 {
        let meeting = || meet(&listener, &to_pay, &pay);
        let met = tokio::join!(meeting(), meeting(), meeting(), meeting());
        for met in [met.0, met.1, met.2, met.3] {
            assert_eq!(met.client.unwrap().kind, HandshakeKind::Resumed);
        }
    }
}

#[tokio::test]
async fn tls_a_client_without_a_certificate_is_as_the_server_says() {
    let mesh = mesh();
    let bundle = mesh.root.bundle();
    let listener = listener().await;
    let nobody = client_config(None, &bundle, exactly(PAY), ALPN).unwrap();
    meet(&listener, &nobody, &server(&mesh.pay, &bundle))
        .await
        .server
        .expect_err("a certificate is required");
    let optional = server_config(&mesh.pay, &bundle, ALPN, ClientAuth::Optional).unwrap();
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let server_side = meet(&listener, &nobody, &optional).await.server.unwrap();
        assert_eq!(server_side.kind, kind);
        assert!(matches!(server_side.now, Err(PeerError::NoCertificate)));
    }
    let met = meet(&listener, &client(&mesh.cart, &bundle, exactly(PAY)), &optional).await;
    assert_eq!(met.server.unwrap().now.unwrap(), id(CART));
    let stranger = leaf(CART).self_signed().svid().unwrap();
    let met = meet(&listener, &client(&stranger, &bundle, exactly(PAY)), &optional).await;
    met.server.expect_err("a bad certificate is worse than none");
}

#[tokio::test]
async fn serve_silent_clients_are_dropped_and_hold_nobody_up() {
    let mesh = mesh();
    let bundle = mesh.root.bundle();
    let listener = listener().await;
    let address = listener.local_addr().unwrap();
    let limits = AcceptLimits { handshake_timeout: Duration::from_millis(500), ..AcceptLimits::default() };
    let mut incoming = serve_incoming(listener, watch::channel(server(&mesh.pay, &bundle)).1, limits);
    let mut silent = TcpStream::connect(address).await.unwrap();
    let tcp = TcpStream::connect(address).await.unwrap();
    let config = client(&mesh.cart, &bundle, exactly(PAY));
    let (connected, accepted) = tokio::join!(connect_tls(tcp, address, config.clone()), incoming.next());
    assert_eq!(connected.unwrap().1, id(PAY));
    assert_eq!(accepted.unwrap().unwrap().peer().identity, Some(id(CART)));
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut byte)).await;
    assert_eq!(read.expect("the silent client is not dropped").unwrap(), 0);

    drop(incoming);
    let gone = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("the listener stays open");
}

#[test]
fn svid_debug_shows_no_key() {
    let entity = leaf(CART).self_signed();
    let shown = format!("{:?}", entity.svid().unwrap());
    assert!(shown.contains(CART) && !shown.contains("key"), "{shown}");
    let other = rcgen::KeyPair::generate().unwrap();
    let chain = vec![entity.certificate.clone()];
    Svid::new(chain, zeroize::Zeroizing::new(other.serialize_der()), SystemTime::now())
        .expect_err("a key that is not the certificate's");
}

#[test]
fn bundle_pem_is_read_as_it_is_written_and_leaves_are_no_roots() {
    let (a, b) = (authority().self_signed(), authority().self_signed());
    let bundle = a.bundle().union(&b.bundle()).unwrap();
    let read = Bundle::from_pem(bundle.trust_domain().clone(), bundle.to_pem().as_bytes()).unwrap();
    assert_eq!(read, bundle);
    assert_eq!(read.roots().len(), 2);
    let trust_domain = bundle.trust_domain().clone();
    for bad in ["", "no PEM at all", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        Bundle::from_pem(trust_domain.clone(), bad.as_bytes()).expect_err(bad);
    }
    Bundle::from_der(trust_domain, vec![leaf(CART).self_signed().certificate]).expect_err("a leaf");
}

#[tokio::test]
async fn connect_tries_each_address_of_a_name() {
    let mesh = mesh();
    let bundle = mesh.root.bundle();
    // `localhost` is ::1 too where the machine has IPv6; only 127.0.0.1 listens.
    let listener = listener().await;
    let port = listener.local_addr().unwrap().port();
    let config = server_config(&mesh.pay, &bundle, &[b"h2"], ClientAuth::Required).unwrap();
    let mut incoming = serve_incoming(listener, watch::channel(config).1, AcceptLimits::default());
    let serving = tokio::spawn(async move { incoming.next().await });
    let dialling = |expect| {
        let config = client_config(Some(&mesh.cart), &bundle, expect, &[b"h2"]).unwrap();
        let remote: Remote = format!("localhost:{port}").parse().unwrap();
        connect(remote, watch::channel(config).1)
    };
    let shown = dialling(exactly(CART)).await.unwrap_err().to_string();
    assert!(shown.contains(&format!("localhost:{port}")) && shown.contains("expected"), "{shown}");
    dialling(exactly(PAY)).await.unwrap();
    assert!(serving.await.unwrap().unwrap().is_ok());
    let nowhere: Remote = "nothing.invalid:1".parse().unwrap();
    let config = client_config(Some(&mesh.cart), &bundle, exactly(PAY), &[b"h2"]).unwrap();
    let shown = connect(nowhere, watch::channel(config).1).await.unwrap_err().to_string();
    assert!(shown.contains("cannot resolve nothing.invalid:1"), "{shown}");
}
