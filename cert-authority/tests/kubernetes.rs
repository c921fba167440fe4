//! The authority in a cluster: a real API server reviews tokens, binds Pods and keeps the Secret and the ConfigMap. Each
//! test has a namespace of its own, which stands for weir-system. Without a cluster they are skipped, and say so.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use cert_authority::attest::kubernetes::KubernetesAttestor;
use cert_authority::keys::Store;
use cert_authority::keys::cluster::{BUNDLE_KEY, CONFIG_MAP, Cluster, SECRET};
use cert_authority::kubernetes;
use cert_authority::serve::{Authority, Settings};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use mesh_ir::name::{Identity, TrustDomain};
use mesh_trust::{Bundle, CertificateClient, Program, Settings as ClientSettings};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

const SOON: Duration = Duration::from_secs(20);

/// A namespace of the cluster, and a folder for files.
struct Place {
    client: Client,
    namespace: String,
    files: tempfile::TempDir,
}

struct Running {
    address: SocketAddr,
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// `None`, said on stderr, where the test cannot run.
async fn place() -> Option<Place> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    if std::env::var_os("KUBECONFIG").is_none() {
        eprintln!("skipped: needs KUBECONFIG");
        return None;
    }
    let client = kubernetes::client().await.unwrap();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let namespace = format!("weir-ca-test-{}-{count}", std::process::id());
    let place = Place { client, namespace, files: tempfile::tempdir().unwrap() };
    let made: Namespace = serde_json::from_value(json!({ "metadata": { "name": place.namespace } })).unwrap();
    Api::all(place.client.clone()).create(&PostParams::default(), &made).await.unwrap();
    for account in ["mesh-node", "mesh-operator", "cart", "idle"] {
        place.create::<ServiceAccount>(json!({ "metadata": { "name": account } })).await;
    }
    Some(place)
}

impl Place {
    fn api<K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let object: K = serde_json::from_value(object).unwrap();
        self.api::<K>().create(&PostParams::default(), &object).await.unwrap()
    }

    /// The first node of the cluster, or another one.
    async fn nodes(&self) -> Vec<String> {
        let nodes = Api::<Node>::all(self.client.clone()).list(&ListParams::default()).await.unwrap();
        nodes.items.into_iter().filter_map(|node| node.metadata.name).collect()
    }

    /// A Pod that is bound to a node and whose image is nowhere: it need not run to be the API server's word.
    async fn pod(&self, name: &str, account: &str, node: &str) {
        self.create::<Pod>(json!({
            "metadata": { "name": name },
            "spec": {
                "nodeName": node,
                "serviceAccountName": account,
                "terminationGracePeriodSeconds": 0,
                "containers": [{ "name": "none", "image": "none.invalid/none", "imagePullPolicy": "Never" }],
            },
        }))
        .await;
    }

    /// A token as the kubelet projects it, into a file.
    async fn token(&self, account: &str, audience: &str, pod: Option<&str>) -> PathBuf {
        let bound = pod.map(|pod| json!({ "apiVersion": "v1", "kind": "Pod", "name": pod }));
        let request: TokenRequest = serde_json::from_value(json!({
            "spec": { "audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound },
        }))
        .unwrap();
        let accounts = self.api::<ServiceAccount>();
        let answer = accounts.create_token_request(account, &PostParams::default(), &request).await.unwrap();
        let path = self.files.path().join(format!("{account}-{audience}-{}", pod.unwrap_or("unbound")));
        std::fs::write(&path, answer.status.unwrap().token.unwrap()).unwrap();
        path
    }

    async fn serve(&self) -> Running {
        let attestor = KubernetesAttestor::start(self.client.clone(), &self.namespace);
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            svid_life: Duration::from_secs(3600),
            metrics: None,
        };
        let authority = Authority::start(settings, self.store(), attestor).await.unwrap();
        let address = authority.address().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            authority.run(async { ended.await.unwrap_or(()) }).await.unwrap();
        });
        Running { address, end, serving }
    }

    fn store(&self) -> Cluster {
        Cluster::start(self.client.clone(), &self.namespace, trust_domain())
    }

    async fn bundle(&self) -> Option<String> {
        let map = self.api::<ConfigMap>().get_opt(CONFIG_MAP).await.unwrap()?;
        map.data.unwrap_or_default().remove(BUNDLE_KEY)
    }

    async fn client(&self, authority: SocketAddr, token_file: PathBuf) -> CertificateClient {
        let bundle_file = self.files.path().join("bundle.pem");
        std::fs::write(&bundle_file, self.bundle().await.unwrap()).unwrap();
        let trust_domain = trust_domain();
        let settings = ClientSettings { authority: authority.into(), trust_domain, bundle_file, token_file };
        CertificateClient::open(settings, SOON).await.unwrap()
    }

    fn identity(&self, account: &str) -> Identity {
        format!("spiffe://cluster.local/ns/{}/sa/{account}", self.namespace).parse().unwrap()
    }

    async fn remove(self) {
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }
}

impl Running {
    async fn stop(self) {
        let _ = self.end.send(());
        self.serving.await.unwrap();
    }
}

fn trust_domain() -> TrustDomain {
    TrustDomain::new("cluster.local").unwrap()
}

async fn eventually<F: Future<Output = bool>>(what: &str, attempt: impl Fn() -> F) {
    let trying = async {
        while !attempt().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, trying).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn kubernetes_callers_get_what_their_tokens_and_the_pods_on_their_node_entitle_them_to() {
    let Some(place) = place().await else { return };
    let nodes = place.nodes().await;
    place.pod("node-agent", "mesh-node", &nodes[0]).await;
    place.pod("operator", "mesh-operator", &nodes[0]).await;
    let authority = place.serve().await;
    let obtain = async |token: PathBuf, identity: Identity| {
        let client = place.client(authority.address, token).await;
        client.obtain(&identity).await.map(|svid| svid.identity().clone()).map_err(|error| error.to_string())
    };
    let refused = |result: Result<Identity, String>, words: &str| {
        let shown = result.unwrap_err();
        assert!(shown.contains(words), "{shown}");
    };
    let node_program = Program::MeshNode.identity(&trust_domain());
    let operator_program = Program::MeshOperator.identity(&trust_domain());

    let node = place.token("mesh-node", "weir", Some("node-agent")).await;
    assert_eq!(obtain(node.clone(), node_program.clone()).await, Ok(node_program.clone()));
    refused(obtain(node.clone(), place.identity("cart")).await, "no running pod of service account");
    place.pod("cart-1", "cart", &nodes[0]).await;
    let cart = place.identity("cart");
    assert_eq!(obtain(node.clone(), cart.clone()).await, Ok(cart.clone()), "a new Pod counts at once");
    refused(obtain(node.clone(), place.identity("idle")).await, "no running pod of service account");
    refused(obtain(node.clone(), operator_program.clone()).await, "only mesh-operator itself may");
    if let Some(other) = nodes.get(1) {
        place.pod("other-agent", "mesh-node", other).await;
        let other = place.token("mesh-node", "weir", Some("other-agent")).await;
        refused(obtain(other, cart.clone()).await, &format!("node {} may not have", nodes[1]));
    }

    let operator = place.token("mesh-operator", "weir", Some("operator")).await;
    assert_eq!(obtain(operator.clone(), operator_program.clone()).await, Ok(operator_program));
    refused(obtain(operator, cart.clone()).await, "its own identity only");

    let foreign = place.token("mesh-node", "vault", Some("node-agent")).await;
    refused(obtain(foreign, node_program.clone()).await, "audience `weir`");
    let account = place.token("cart", "weir", Some("cart-1")).await;
    refused(obtain(account, cart.clone()).await, "is neither");
    let unbound = place.token("mesh-node", "weir", None).await;
    refused(obtain(unbound, node_program.clone()).await, "does not say which node it is of");

    place.api::<Pod>().delete("cart-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    eventually("a deleted Pod's identity is refused", || async {
        obtain(node.clone(), cart.clone()).await.is_err()
    })
    .await;
    authority.stop().await;
    place.remove().await;
}

#[tokio::test]
async fn kubernetes_authorities_that_race_for_the_secret_agree() {
    let Some(place) = place().await else { return };
    let stores: Vec<Cluster> = (0..4).map(|_| place.store()).collect();
    let now = SystemTime::now();
    let (a, b, c, d) =
        tokio::join!(stores[0].keys(now), stores[1].keys(now), stores[2].keys(now), stores[3].keys(now));
    let first = a.unwrap();
    for other in [b.unwrap(), c.unwrap(), d.unwrap()] {
        assert_eq!(other.bundle, first.bundle);
        assert_ne!(other.signer.certificate, first.signer.certificate, "each has its own intermediate");
    }
    assert_eq!(first.bundle.roots().len(), 1);
    let secret = place.api::<Secret>().get(SECRET).await.unwrap();
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    assert!(secret.data.unwrap().keys().eq(["ca.crt", "ca.key"]));
    place.remove().await;
}

#[tokio::test]
async fn kubernetes_bundle_is_mended_and_follows_the_secret() {
    let Some(place) = place().await else { return };
    let authority = place.serve().await;
    let good = place.bundle().await.unwrap();
    let maps = place.api::<ConfigMap>();
    let merge = async |data: Value| {
        let patch = Patch::Merge(json!({ "data": data }));
        maps.patch(CONFIG_MAP, &PatchParams::default(), &patch).await.unwrap();
    };
    merge(json!({ BUNDLE_KEY: "nonsense", "other": "kept" })).await;
    eventually("an edited bundle is mended", || async { place.bundle().await.as_ref() == Some(&good) }).await;
    assert_eq!(maps.get(CONFIG_MAP).await.unwrap().data.unwrap()["other"], "kept");
    merge(json!({ BUNDLE_KEY: null })).await;
    eventually("a removed bundle is mended", || async { place.bundle().await.as_ref() == Some(&good) }).await;
    maps.delete(CONFIG_MAP, &DeleteParams::default()).await.unwrap();
    eventually("a deleted ConfigMap is made anew", || async { place.bundle().await.as_ref() == Some(&good) })
        .await;

    let key = rcgen::KeyPair::generate().unwrap();
    let life = cert_authority::issue::Validity::starting(SystemTime::now(), Duration::from_secs(86400));
    let next = cert_authority::issue::root(&trust_domain(), &key, [7; 16], life).unwrap();
    let next = Bundle::from_der(trust_domain(), vec![next]).unwrap();
    let patch = Patch::Merge(json!({ "stringData": BTreeMap::from([("roots.pem", next.to_pem())]) }));
    place.api::<Secret>().patch(SECRET, &PatchParams::default(), &patch).await.unwrap();
    let both = Bundle::from_pem(trust_domain(), good.as_bytes()).unwrap().union(&next).unwrap();
    eventually("a second root is published", || async { place.bundle().await == Some(both.to_pem()) }).await;
    authority.stop().await;
    place.remove().await;
}
