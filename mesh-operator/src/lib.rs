//! The operator: watches the mesh's objects, has them compiled, serves the configuration to the nodes, and writes
//! statuses back. What the objects mean is not decided here but in `mesh-compile`, and what nodes and operator say to
//! each other in `mesh-wire`.
//!
//! ```text
//!   watch ── Observed ──> compile ── Revision ──┬──> publish ──> nodes
//!                                               ├──> apply ────> output folder, or API server
//!                                               └──> admin
//! ```
//!
//! Every arrow is a watch channel: who is slow skips what is outdated, and holds up nobody.

mod admin;
mod apply;
mod cluster;
mod compile;
mod metrics;
mod publish;
#[cfg(test)]
mod rights;
mod rollout;
mod trust;
pub mod uninstall;
mod watch;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_ir::resource::{Mode, SameNode};
use mesh_trust::{ClientAuth, Program, TlsError};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use admin::AdminError;
pub use apply::OutputError;
pub use cluster::{ApiServer, ClientError};
pub use mesh_health::PortError;
pub use watch::WatchError;

use apply::Applier;
use apply::kubernetes::ClusterApplier;
use metrics::Metrics;
use publish::Publisher;
use publish::nodes::Nodes;
use trust::Serving;
use watch::Observed;
use watch::kubernetes::Cluster;

/// What an operator is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the mesh's objects are.
    pub source: Source,
    /// Where nodes connect.
    pub listen: SocketAddr,
    /// How workloads of one node reach each other at least.
    pub same_node: SameNode,
    /// The admin socket's path.
    pub admin: PathBuf,
    /// Where health and metrics are served in clear, beside the admin socket.
    pub metrics: Option<SocketAddr>,
    /// How the operator gets its certificate.
    pub trust: mesh_trust::Settings,
    /// A node that has something to say or to take and does neither for so long is cut off; it connects again when it
    /// can. [`STALL_TIMEOUT`], as a rule.
    pub stall_timeout: Duration,
}

/// Where the mesh's objects come from, and where statuses and objects are written.
#[derive(Clone, Debug)]
pub enum Source {
    /// Of two folders that hold the same object the later one wins.
    Folders { manifests: Vec<PathBuf>, output: PathBuf },
    /// Of several operators in this namespace one writes.
    Cluster { server: ApiServer, namespace: String },
}

/// Ten times what the largest configuration takes on a slow link.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The operator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Watch(#[from] WatchError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Metrics(#[from] PortError),
}

/// The operator cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the server for nodes failed: {0}")]
    Serve(#[from] tonic::transport::Error),
    #[error("the admin socket failed: {0}")]
    Admin(io::Error),
    #[error("a part of the operator ended unexpectedly")]
    Part,
}

/// An operator that listens, and has read its manifests once or begun to watch a cluster.
#[derive(Debug)]
pub struct Operator {
    settings: Settings,
    source: tokio::sync::watch::Receiver<Option<Observed>>,
    sink: Sink,
    listener: TcpListener,
    admin: admin::AdminSocket,
    metrics: Option<mesh_health::Port>,
}

/// Where statuses and objects go.
#[derive(Debug)]
enum Sink {
    Folder(Applier),
    Cluster { server: ApiServer, namespace: String, cluster: Cluster },
}

impl Operator {
    /// Listens, and reads the folders or begins to watch the API server.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let (source, sink) = match settings.source.clone() {
            Source::Folders { manifests, output } => {
                let source = watch::watch_folders(manifests).await?;
                (source, Sink::Folder(apply::open(output).await?))
            }
            Source::Cluster { server, namespace } => {
                let cluster = watch::watch_cluster(&server.client);
                (cluster.observed.clone(), Sink::Cluster { server, namespace, cluster })
            }
        };
        let listener = TcpListener::bind(settings.listen)
            .await
            .map_err(|source| StartError::Listen { address: settings.listen, source })?;
        let admin = admin::listen(&settings.admin)?;
        let metrics = settings.metrics.map(mesh_health::Port::listen).transpose()?;
        Ok(Self { settings, source, sink, listener, admin, metrics })
    }

    /// Where nodes connect.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Works until `end` completes; then sessions are told to go elsewhere, within a bound.
    pub async fn run(self, end: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { settings, source, sink, listener, admin, metrics: port } = self;
        let trust_domain = settings.trust.trust_domain.clone();
        let metrics = Arc::new(Metrics::new());
        let nodes = Nodes::default();
        let (revision_sender, revisions) = tokio::sync::watch::channel(None);
        let (document_sender, documents) = tokio::sync::watch::channel(Arc::default());
        let (serving_sender, serving) =
            tokio::sync::watch::channel(Serving::Waiting("no certificate yet".into()));
        let (ending_sender, ending) = tokio::sync::watch::channel(false);

        let compile = mesh_compile::Settings {
            trust_domain: trust_domain.clone(),
            default_mode: Mode::default(),
            same_node: settings.same_node,
        };
        // Dropping the set, at the end or on an error, ends them.
        let mut parts = JoinSet::new();
        parts.spawn(compile::run(source, compile, revision_sender, metrics.clone()));
        let mut applying = JoinSet::new();
        let listing = match sink {
            Sink::Folder(applier) => {
                parts.spawn(applier.run(revisions.clone(), document_sender, metrics.clone()));
                None
            }
            Sink::Cluster { server, namespace, cluster } => {
                let Cluster { observed, live, listing, watches } = cluster;
                let (nodes, ending) = (nodes.clone(), ending.clone());
                let applier = ClusterApplier { server, namespace, observed, live, nodes, ending };
                parts.spawn(async move { _ = watches.join_all().await });
                applying.spawn(applier.run(revisions.clone(), document_sender, metrics.clone()));
                Some(listing)
            }
        };
        let shown = admin::Shown {
            listing,
            revisions: revisions.clone(),
            documents,
            serving,
            nodes: nodes.clone(),
            metrics: metrics.clone(),
        };
        if let Some(port) = port {
            parts.spawn(port.serve(Arc::new(shown.clone())));
        }
        let administering = admin::serve(admin, shown);
        let node_identity = Program::MeshNode.identity(&trust_domain);
        let stall_timeout = settings.stall_timeout;
        let publisher = Publisher { node_identity, revisions, nodes, metrics, stall_timeout, ending };
        let publishing = publish(settings.trust, publisher, listener, serving_sender);
        tokio::pin!(publishing);
        tokio::select! {
            published = &mut publishing => return published,
            served = administering => return served.map_err(RunError::Admin),
            _ = parts.join_next() => return Err(RunError::Part),
            Some(_) = applying.join_next() => return Err(RunError::Part),
            () = end => {}
        }
        ending_sender.send_replace(true);
        // The Lease is given back while sessions end.
        let (published, _) = tokio::join!(publishing, applying.join_all());
        published
    }
}

async fn publish(
    trust: mesh_trust::Settings,
    publisher: Publisher,
    listener: TcpListener,
    serving: tokio::sync::watch::Sender<Serving>,
) -> Result<(), RunError> {
    let mut ending = publisher.ending.clone();
    let certificate = tokio::select! {
        certificate = trust::certificate(trust, &serving) => certificate,
        _ = ending.wait_for(|ending| *ending) => return Ok(()),
    };
    let configs = certificate.server_configs(&[b"h2"], ClientAuth::Required).await?;
    serving.send_replace(Serving::Up);
    tracing::info!("serving nodes");
    Ok(publish::serve(publisher, listener, configs).await?)
}
