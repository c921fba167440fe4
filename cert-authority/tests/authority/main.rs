//! The authority and its client over real sockets: who gets what, and how it lasts.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cert_authority::attest::lab::LabAttestor;
use cert_authority::keys::folder::Folder;
use cert_authority::keys::{Keys, KeysError, Store};
use cert_authority::serve::{Authority, Settings};
use futures_util::StreamExt;
use mesh_ir::name::Identity;
use mesh_trust::api::certificate_authority_client::CertificateAuthorityClient;
use mesh_trust::api::{BundleRequest, SignRequest};
use mesh_trust::{
    AcceptLimits, Bundle, ClientAuth, Expect, Program, client_config, connect, serve_incoming, server_config,
};
use rcgen::{CertificateParams, KeyPair};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

mod lab;

use lab::{DAY, Lab, token, trust_domain};

const ANY_PORT: &str = "127.0.0.1:0";
const CART: &str = "spiffe://cluster.local/ns/shop/sa/cart";
const SOON: Duration = Duration::from_secs(10);

/// A refusal is its code and some of its words.
type Verdict = Result<(), (Code, &'static str)>;

fn id(text: &str) -> Identity {
    text.parse().unwrap()
}

fn csr() -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
}

fn bundle(lab: &Lab) -> Arc<Bundle> {
    let pem = std::fs::read(lab.path("bundle.pem")).unwrap();
    Arc::new(Bundle::from_pem(trust_domain(), &pem).unwrap())
}

async fn channel(lab: &Lab, authority: std::net::SocketAddr) -> Channel {
    let expect = Expect::Exactly(Program::CertAuthority.identity(&trust_domain()));
    let config = client_config(None, &bundle(lab), expect, &[b"h2"]).unwrap();
    connect(authority, watch::channel(config).1).await.unwrap()
}

fn authorized<T>(authorization: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(authorization) = authorization {
        request.metadata_mut().insert("authorization", authorization.parse().unwrap());
    }
    request
}

async fn sign(
    channel: &Channel,
    authorization: Option<&str>,
    identity: &str,
    csr_der: Vec<u8>,
) -> Result<(), Status> {
    let message = SignRequest { csr_der, identity: identity.into() };
    CertificateAuthorityClient::new(channel.clone())
        .sign(authorized(authorization, message))
        .await
        .map(|_| ())
}

/// Repeats `attempt` until it says yes; the authority learns of a changed folder by an event that takes its time.
async fn eventually<F: Future<Output = bool>>(what: &str, attempt: impl Fn() -> F) {
    let trying = async {
        while !attempt().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, trying).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn authority_gives_each_caller_what_it_is_entitled_to_and_says_why_not() {
    let lab = Lab::new();
    lab.pod("cart-1", "node-1", "cart");
    let authority = lab.serve(ANY_PORT, DAY).await;
    let channel = channel(&lab, authority.address).await;
    let program = |program: Program| program.identity(&trust_domain()).to_string();
    let (node, operator) = (program(Program::MeshNode), program(Program::MeshOperator));
    let own = program(Program::CertAuthority);
    let bearer = |caller: &str| format!("Bearer {}", token(caller));
    let (node_1, node_2, op) = (bearer("node-1"), bearer("node-2"), bearer("mesh-operator"));
    let other = "spiffe://elsewhere.test/ns/shop/sa/cart";
    let cases: Vec<(Option<&str>, &str, Vec<u8>, Verdict)> = vec![
        (Some(&node_1), CART, csr(), Ok(())),
        (Some(&node_1), &node, csr(), Ok(())),
        (Some(&op), &operator, csr(), Ok(())),
        (None, CART, csr(), Err((Code::Unauthenticated, "Bearer TOKEN"))),
        (Some("Bearer "), CART, csr(), Err((Code::Unauthenticated, "token is not known"))),
        (Some("Bearer guess"), CART, csr(), Err((Code::Unauthenticated, "token is not known"))),
        (Some("Basic eDp5"), CART, csr(), Err((Code::Unauthenticated, "Bearer TOKEN"))),
        (
            Some(&node_2),
            CART,
            csr(),
            Err((
                Code::PermissionDenied,
                "node node-2 may not have spiffe://cluster.local/ns/shop/sa/cart: no running pod of service \
                 account shop/cart is on that node",
            )),
        ),
        (Some(&node_1), other, csr(), Err((Code::PermissionDenied, "not of the trust domain cluster.local"))),
        (Some(&node_1), &operator, csr(), Err((Code::PermissionDenied, "only mesh-operator itself may"))),
        (Some(&node_1), &own, csr(), Err((Code::PermissionDenied, "only cert-authority itself may"))),
        (Some(&op), CART, csr(), Err((Code::PermissionDenied, "its own identity only"))),
        (Some(&op), &node, csr(), Err((Code::PermissionDenied, "its own identity only"))),
        (Some(&node_1), CART, vec![1, 2, 3], Err((Code::InvalidArgument, "cannot be read as PKCS#10"))),
        (Some(&node_1), CART, vec![0; 70_000], Err((Code::OutOfRange, "message"))),
        (Some(&node_1), "cart", csr(), Err((Code::InvalidArgument, "does not begin with spiffe://"))),
    ];
    for (authorization, identity, csr_der, expected) in cases {
        let got = sign(&channel, authorization, identity, csr_der).await;
        match (&got, expected) {
            (Ok(()), Ok(())) => {}
            (Err(status), Err((code, words)))
                if status.code() == code && status.message().contains(words) => {}
            (_, expected) => panic!("{authorization:?} {identity}: {got:?}, not {expected:?}"),
        }
    }
    let mut client = CertificateAuthorityClient::new(channel);
    let sent = client.bundle(authorized(Some(&node_1), BundleRequest {})).await.unwrap().into_inner();
    assert_eq!(sent.bundle_der, bundle(&lab).roots().iter().map(|root| root.to_vec()).collect::<Vec<_>>());
    let refused = client.bundle(authorized(None, BundleRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    authority.stop().await;
}

#[tokio::test]
async fn authority_follows_pods_and_tokens() {
    let lab = Lab::new();
    let authority = lab.serve(ANY_PORT, DAY).await;
    let client = lab.client(authority.address, "node-1").await;
    client.obtain(&id(CART)).await.expect_err("no pod yet");
    lab.pod("cart-1", "node-1", "cart");
    let svid = client.obtain(&id(CART)).await.expect("a new pod's identity is had at once");
    assert_eq!(*svid.identity(), id(CART));
    let left = svid.expires().duration_since(SystemTime::now()).unwrap();
    assert!(left <= DAY && left > DAY - SOON, "{left:?}");

    std::fs::remove_file(lab.path("objects/cart-1.yaml")).unwrap();
    eventually("a deleted pod's identity is refused", || async { client.obtain(&id(CART)).await.is_err() })
        .await;

    let node = Program::MeshNode.identity(&trust_domain());
    lab.write("tokens/node-1", "a-new-token-of-node-1-0123456789");
    eventually("the new token is known", || async { client.obtain(&node).await.is_ok() }).await;
    let channel = channel(&lab, authority.address).await;
    let old = format!("Bearer {}", token("node-1"));
    let refused = sign(&channel, Some(&old), &node.to_string(), csr()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    authority.stop().await;
}

#[tokio::test]
async fn renewal_happens_at_half_life_and_outlasts_a_restart_of_the_authority() {
    let lab = Lab::new();
    lab.pod("cart-1", "node-1", "cart");
    let life = Duration::from_secs(10);
    let authority = lab.serve(ANY_PORT, life).await;
    let address = authority.address;
    let roots = bundle(&lab);
    let client = lab.client(address, "node-1").await;
    let renewing = client.renewing(id(CART));
    let mut svids = renewing.svid();
    let mut problems = renewing.problem();
    let first = tokio::time::timeout(SOON, renewing.ready()).await.unwrap();
    let mut configs = renewing.server_configs(&[b"weir/1"], ClientAuth::Required).await.unwrap();

    svids.borrow_and_update();
    tokio::time::timeout(life * 6 / 10, svids.changed()).await.expect("no renewal at half-life").unwrap();
    let second = svids.borrow_and_update().clone().unwrap();
    let early = first.expires() - life;
    assert!(SystemTime::now().duration_since(early).unwrap() >= life * 3 / 10, "renewed too early");
    assert!(second.expires() > first.expires());
    assert_ne!(second.key_der(), first.key_der(), "each certificate has a new key");
    tokio::time::timeout(SOON, configs.changed())
        .await
        .expect("the TLS configuration is not renewed")
        .unwrap();

    authority.stop().await;
    tokio::time::timeout(life, problems.wait_for(Option::is_some))
        .await
        .expect("no problem is told")
        .unwrap();
    let told = problems.borrow().clone().unwrap();
    assert!(told.contains(&address.to_string()) && told.contains(CART), "{told}");
    assert!(Arc::ptr_eq(&second, svids.borrow().as_ref().unwrap()), "the certificate is kept meanwhile");

    let authority = lab.serve(&address.to_string(), life).await;
    assert_eq!(bundle(&lab), roots, "the root survives a restart");
    tokio::time::timeout(life * 2, svids.changed()).await.expect("no renewal after the restart").unwrap();
    assert_eq!(*renewing.problem().borrow(), None);

    drop(renewing);
    tokio::time::timeout(SOON, svids.changed()).await.unwrap().expect_err("the renewal ends with its owner");
    authority.stop().await;
}

#[tokio::test]
async fn roots_that_a_person_adds_reach_clients_while_they_run() {
    let (lab, next) = (Lab::new(), Lab::new());
    let (authority, other) = (lab.serve(ANY_PORT, DAY).await, next.serve(ANY_PORT, DAY).await);
    let client = lab.client(authority.address, "node-1").await;
    let mut bundles = client.bundle();
    assert_eq!(bundles.borrow().roots().len(), 1);
    lab.write("ca/roots/next.pem", &bundle(&next).to_pem());
    tokio::time::timeout(SOON, bundles.wait_for(|bundle| bundle.roots().len() == 2)).await.unwrap().unwrap();
    assert_eq!(bundle(&lab).roots().len(), 2);
    authority.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn clients_do_not_send_their_token_to_an_impostor() {
    let lab = Lab::new();
    let authority = lab.serve(ANY_PORT, DAY).await;
    let node = lab.client(authority.address, "node-1").await;
    let svid = node.obtain(&Program::MeshNode.identity(&trust_domain())).await.unwrap();
    // A node that was taken over answers where the authority should be.
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = server_config(&svid, &bundle(&lab), &[b"h2"], ClientAuth::Optional).unwrap();
    let mut incoming = serve_incoming(listener, watch::channel(config).1, AcceptLimits::default());
    let client = lab.client(address, "node-2").await;
    let refused = client.obtain(&Program::MeshNode.identity(&trust_domain())).await.unwrap_err().to_string();
    assert!(refused.contains("mesh-node") && refused.contains("expected was"), "{refused}");
    let accepted = tokio::time::timeout(Duration::from_millis(200), incoming.next()).await;
    assert!(accepted.is_err(), "no connection came to stand");
    authority.stop().await;
}

#[tokio::test]
async fn program_serves_from_its_flags_and_ends_on_sigterm() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    use tokio::io::{AsyncBufReadExt, BufReader};

    let lab = Lab::new();
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_cert-authority"))
        .args(["--listen", ANY_PORT, "--trust-domain", "cluster.local", "--svid-ttl", "60"])
        .arg("--state")
        .arg(lab.path("ca"))
        .arg("--bundle-out")
        .arg(lab.path("bundle.pem"))
        .arg("--lab-objects")
        .arg(lab.path("objects"))
        .arg("--lab-tokens")
        .arg(lab.path("tokens"))
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut log = BufReader::new(program.stderr.take().unwrap()).lines();
    let mut seen = String::new();
    let address = loop {
        let line = tokio::time::timeout(SOON, log.next_line()).await.unwrap().unwrap().expect("it ended");
        let entry: serde_yaml_ng::Value = serde_yaml_ng::from_str(&line).expect("a log line is JSON");
        seen += &line;
        if let Some(address) = entry["fields"]["address"].as_str() {
            break address.parse().unwrap();
        }
    };
    let client = lab.client(address, "node-1").await;
    client.obtain(&Program::MeshNode.identity(&trust_domain())).await.unwrap();
    let pid = i32::try_from(program.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let status = tokio::time::timeout(SOON, program.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
    while let Some(line) = log.next_line().await.unwrap() {
        seen += &line;
    }
    assert!(seen.contains("issued a certificate") && seen.contains("node node-1"), "{seen}");
    assert!(!seen.contains(&token("node-1")) && !seen.contains("PRIVATE KEY"), "{seen}");
}

/// A store that cannot be reached at first.
struct Away {
    folder: Folder,
    there: watch::Sender<bool>,
}

impl Store for Away {
    async fn keys(&self, now: SystemTime) -> Result<Keys, KeysError> {
        if !*self.there.borrow() {
            let problem = "the API server does not answer".to_owned();
            return Err(KeysError::Api {
                action: "read",
                object: "Secret weir-system/weir-ca".into(),
                problem,
            });
        }
        self.folder.keys(now).await
    }

    async fn publish(&self, bundle: &Bundle) -> Result<(), KeysError> {
        self.folder.publish(bundle).await
    }

    async fn changed(&self) {
        let mut there = self.there.subscribe();
        _ = there.changed().await;
    }
}

#[tokio::test]
async fn authority_without_its_keys_is_alive_and_says_what_it_waits_for() {
    let lab = Lab::new();
    let there = watch::Sender::new(false);
    let folder = Folder::open(&lab.path("ca"), trust_domain(), lab.path("bundle.pem")).unwrap();
    let store = Away { folder, there: there.clone() };
    let attestor = LabAttestor::start(&lab.path("objects"), &lab.path("tokens")).await.unwrap();
    let port = TcpListener::bind(ANY_PORT).await.unwrap().local_addr().unwrap();
    let settings = Settings { listen: ANY_PORT.parse().unwrap(), svid_life: DAY, metrics: Some(port) };
    let starting = tokio::spawn(Authority::start(settings, store, attestor));

    let why = "cannot sign yet: cannot read Secret weir-system/weir-ca: the API server does not answer\n";
    let waiting = async {
        while lab::health(port, "/readyz").await != Some((503, why.into())) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.expect("the reason is told");
    assert_eq!(lab::health(port, "/healthz").await, Some((200, "ok\n".into())));
    assert!(!starting.is_finished());

    there.send_replace(true);
    let authority = tokio::time::timeout(SOON, starting).await.unwrap().unwrap().unwrap();
    let address = authority.address().unwrap();
    let running = tokio::spawn(authority.run(std::future::pending()));
    assert_eq!(lab::health(port, "/readyz").await, Some((200, "ok\n".into())));
    let client = lab.client(address, "node-1").await;
    let renewing = client.renewing(Program::MeshNode.identity(&trust_domain()));
    let mut svid = renewing.svid();
    tokio::time::timeout(SOON, svid.wait_for(Option::is_some)).await.unwrap().unwrap();
    let (_, metrics) = lab::health(port, "/metrics").await.unwrap();
    for line in ["weir_ca_certificates_issued_total 1", "weir_ca_roots 1"] {
        assert!(metrics.contains(line), "{metrics}");
    }
    running.abort();
}
