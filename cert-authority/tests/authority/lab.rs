//! A lab's folders in a temporary directory, and an authority over them on a real socket.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cert_authority::attest::lab::LabAttestor;
use cert_authority::keys::folder::Folder;
use cert_authority::serve::{Authority, Settings};
use mesh_ir::name::TrustDomain;
use mesh_trust::{CertificateClient, Settings as ClientSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const DAY: Duration = Duration::from_secs(86400);

pub(crate) struct Lab(tempfile::TempDir);

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    end: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self(tempfile::tempdir().unwrap());
        for folder in ["objects", "tokens", "new"] {
            fs::create_dir(lab.path(folder)).unwrap();
        }
        for caller in ["node-1", "node-2", "mesh-operator"] {
            lab.write(&format!("tokens/{caller}"), &token(caller));
        }
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file as the lab does, in one step.
    pub(crate) fn write(&self, name: &str, content: &str) {
        let new = self.path("new/file");
        fs::write(&new, content).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    pub(crate) fn pod(&self, name: &str, node: &str, account: &str) {
        self.write(
            &format!("objects/{name}.yaml"),
            &format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\n\
                 spec: {{nodeName: {node}, serviceAccountName: {account}}}\n"
            ),
        );
    }

    pub(crate) async fn serve(&self, listen: &str, svid_life: Duration) -> Running {
        let attestor = LabAttestor::start(&self.path("objects"), &self.path("tokens")).await.unwrap();
        let settings = Settings { listen: listen.parse().unwrap(), svid_life, metrics: None };
        let store = Folder::open(&self.path("ca"), trust_domain(), self.path("bundle.pem")).unwrap();
        let authority = Authority::start(settings, store, attestor).await.unwrap();
        let address = authority.address().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            authority.run(async { ended.await.unwrap_or(()) }).await.unwrap();
        });
        Running { address, end, serving }
    }

    pub(crate) async fn client(&self, authority: SocketAddr, caller: &str) -> CertificateClient {
        let settings = ClientSettings {
            authority: authority.into(),
            trust_domain: trust_domain(),
            bundle_file: self.path("bundle.pem"),
            token_file: self.path("tokens").join(Path::new(caller)),
        };
        CertificateClient::open(settings, Duration::from_secs(5)).await.unwrap()
    }
}

impl Running {
    pub(crate) async fn stop(self) {
        let _ = self.end.send(());
        self.serving.await.unwrap();
    }
}

/// Status and body; nothing while nobody listens.
pub(crate) async fn health(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: probe\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Some((head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned()))
}

pub(crate) fn token(caller: &str) -> String {
    format!("0123456789abcdef-{caller}")
}

pub(crate) fn trust_domain() -> TrustDomain {
    TrustDomain::new("cluster.local").unwrap()
}
