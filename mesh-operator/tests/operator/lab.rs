//! A cert-authority and an operator in this process, over real sockets and a real folder.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use cert_authority::attest::lab::LabAttestor;
use cert_authority::keys::folder::Folder;
use cert_authority::serve::{Authority, Settings as AuthoritySettings};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use mesh_ir::name::TrustDomain;
use mesh_operator::{Operator, RunError, STALL_TIMEOUT, Settings, Source};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Long enough for a machine that is busy; nothing below waits so long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) authority: SocketAddr,
    pub(crate) address: SocketAddr,
    /// Where the operator tells its health in clear.
    metrics: SocketAddr,
    /// For the next operator that is started.
    pub(crate) stall_timeout: Duration,
    source: Option<Source>,
    operator: Option<Running>,
    authority_task: Option<JoinHandle<()>>,
}

/// An operator with a runtime of its own, as the program has it. It ends when this is dropped.
struct Running {
    result: oneshot::Receiver<Result<(), RunError>>,
    end: oneshot::Sender<()>,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let mut lab = Self::without_authority().await;
        lab.start_authority().await;
        lab.wait_until("ready", async |lab| lab.admin("/readyz").await.0 == 200).await;
        lab
    }

    pub(crate) async fn without_authority() -> Self {
        Self::with_source(None).await
    }

    /// Without a source it is the folder `objects`.
    pub(crate) async fn with_source(source: Option<Source>) -> Self {
        let dir = TempDir::new().unwrap();
        for folder in ["objects", "tokens", "published"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        for name in ["mesh-operator", "node-1", "node-2"] {
            fs::write(dir.path().join("tokens").join(name), format!("token-of-{name}-0123456789abcdef"))
                .unwrap();
        }
        // Ports that are free now, and are taken later.
        let free = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let [authority, metrics] = [free(), free()].map(|listener| listener.local_addr().unwrap());
        let address = (Ipv4Addr::LOCALHOST, 0).into();
        let mut lab = Self {
            dir,
            authority,
            address,
            metrics,
            stall_timeout: STALL_TIMEOUT,
            source,
            operator: None,
            authority_task: None,
        };
        lab.start_operator().await;
        lab
    }

    pub(crate) async fn start_authority(&mut self) {
        let attestor = LabAttestor::start(&self.path("objects"), &self.path("tokens")).await.unwrap();
        let settings =
            AuthoritySettings { listen: self.authority, svid_life: Duration::from_secs(3600), metrics: None };
        let store = Folder::open(&self.path("ca"), trust_domain(), self.path("bundle.pem")).unwrap();
        let authority = Authority::start(settings, store, attestor).await.unwrap();
        self.authority_task =
            Some(tokio::spawn(async move { authority.run(std::future::pending()).await.unwrap() }));
    }

    pub(crate) async fn start_operator(&mut self) {
        let folders =
            Source::Folders { manifests: vec![self.path("objects")], output: self.path("published") };
        let settings = Settings {
            source: self.source.clone().unwrap_or(folders),
            listen: self.address,
            same_node: mesh_ir::resource::SameNode::Direct,
            admin: self.path("operator.sock"),
            metrics: Some(self.metrics),
            trust: self.trust("mesh-operator"),
            stall_timeout: self.stall_timeout,
        };
        let (end, ended) = oneshot::channel();
        let (address_sender, address) = oneshot::channel();
        let (result_sender, result) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let result = runtime.unwrap().block_on(async {
                let operator = Operator::start(settings).await.unwrap();
                address_sender.send(operator.address().unwrap()).unwrap();
                operator.run(async move { _ = ended.await }).await
            });
            _ = result_sender.send(result);
        });
        self.address = address.await.unwrap();
        self.operator = Some(Running { result, end });
    }

    pub(crate) async fn stop_operator(&mut self) {
        let Running { result, end } = self.operator.take().unwrap();
        end.send(()).unwrap();
        tokio::time::timeout(PATIENCE, result).await.unwrap().unwrap().unwrap();
        assert!(!self.path("operator.sock").exists());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn trust(&self, token: &str) -> mesh_trust::Settings {
        mesh_trust::Settings {
            authority: self.authority.into(),
            trust_domain: trust_domain(),
            bundle_file: self.path("bundle.pem"),
            token_file: self.path("tokens").join(token),
        }
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        let unfinished = self.path("unfinished");
        fs::write(&unfinished, text).unwrap();
        fs::rename(unfinished, self.path("objects").join(file)).unwrap();
    }

    pub(crate) fn remove(&self, file: &str) {
        fs::remove_file(self.path("objects").join(file)).unwrap();
    }

    /// The status document in the output folder; null until there is one.
    pub(crate) fn status(&self) -> Value {
        read_json(&self.path("published/status.json"))
    }

    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        get(UnixStream::connect(self.path("operator.sock")).await.unwrap(), path).await
    }

    /// What the operator answers in clear.
    pub(crate) async fn health(&self, path: &str) -> (u16, String) {
        get(TcpStream::connect(self.metrics).await.unwrap(), path).await
    }

    pub(crate) async fn admin_json(&self, path: &str) -> Value {
        let (status, body) = self.admin(path).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub(crate) async fn wait_until(&self, what: &str, condition: impl AsyncFn(&Self) -> bool) {
        let waiting = async {
            while !condition(self).await {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("not {what}: {} {}", self.status(), self.admin("/readyz").await.1);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(task) = &self.authority_task {
            task.abort();
        }
    }
}

async fn get(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, path: &str) -> (u16, String) {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::get(path).header("host", "localhost").body(Empty::<Bytes>::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    connection.abort();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

pub(crate) fn trust_domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

fn read_json(path: &Path) -> Value {
    fs::read(path).map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap())
}
