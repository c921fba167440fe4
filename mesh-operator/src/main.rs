//! The mesh-operator program: flags in, [`mesh_operator`] run, SIGTERM or SIGINT ends it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use mesh_ir::name::TrustDomain;
use mesh_operator::uninstall::{self, uninstall};
use mesh_operator::{ApiServer, Operator, STALL_TIMEOUT, Settings, Source};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What fails between us and the API server is said by the operator, once.
const LOG: &str = "info,kube_client=off,kube_runtime=off";

/// Weir's operator.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Folder of manifests; may be given several times, later folders win on the same object
    #[arg(long, value_name = "DIR", required_unless_present = "kubernetes", requires = "output")]
    manifests: Vec<PathBuf>,
    /// Folder to write statuses and the objects that Gateways need to
    #[arg(long, value_name = "DIR", requires = "manifests")]
    output: Option<PathBuf>,
    /// Read objects from the Kubernetes API server, and write statuses there: as KUBECONFIG says, or in a Pod as its
    /// service account may
    #[arg(long, conflicts_with_all = ["manifests", "output"])]
    kubernetes: bool,
    /// With --kubernetes: the operator's namespace, where replicas agree on who writes
    #[arg(long, value_name = "NAME", default_value = "weir-system")]
    namespace: String,
    /// Address to serve nodes on
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// SPIFFE trust domain of the mesh
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: TrustDomain,
    /// How meshed pods of one node reach each other: `direct`, joined by the node's proxy, and over the pod network where
    /// a NetworkPolicy selects one of the two; `network`, in clear over the pod network always, which is for clusters where
    /// the CNI's own kinds of policies are in use; or `encrypt`, by mutual TLS always
    #[arg(long, value_name = "WAY", value_enum, default_value_t = SameNode::Direct)]
    same_node: SameNode,
    /// Where the cert-authority is; a name is resolved at each attempt
    #[arg(long, value_name = "HOST:PORT")]
    ca: mesh_trust::Remote,
    /// File of the trusted roots, as PEM
    #[arg(long, value_name = "FILE")]
    ca_bundle: PathBuf,
    /// File of the token that the cert-authority knows this operator by
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Path of the admin socket
    #[arg(long, value_name = "SOCKET")]
    admin: PathBuf,
    /// Address to serve /healthz, /readyz and /metrics on, in clear
    #[arg(long, value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SameNode {
    Direct,
    Network,
    Encrypt,
}

impl From<SameNode> for mesh_ir::resource::SameNode {
    fn from(way: SameNode) -> Self {
        match way {
            SameNode::Direct => Self::Direct,
            SameNode::Network => Self::Network,
            SameNode::Encrypt => Self::Encrypt,
        }
    }
}

/// Instead of running as the operator.
#[derive(Debug, Subcommand)]
enum Command {
    /// Take from the cluster what Weir alone made in it, and wait until its nodes are clean
    Uninstall(uninstall::Settings),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let command = Command::augment_subcommands(Flags::command())
        .subcommand_required(false)
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true);
    let matches = command.get_matches();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    if matches.subcommand().is_some() {
        let Command::Uninstall(settings) = Command::from_arg_matches(&matches)?;
        return Ok(uninstall(&ApiServer::infer().await?, &settings).await?);
    }
    let flags = Flags::from_arg_matches(&matches)?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;

    let source = match flags.output {
        Some(output) => Source::Folders { manifests: flags.manifests, output },
        None => Source::Cluster { server: ApiServer::infer().await?, namespace: flags.namespace },
    };
    let operator = Operator::start(Settings {
        source,
        listen: flags.listen,
        same_node: flags.same_node.into(),
        admin: flags.admin,
        metrics: flags.metrics,
        stall_timeout: STALL_TIMEOUT,
        trust: mesh_trust::Settings {
            authority: flags.ca,
            trust_domain: flags.trust_domain,
            bundle_file: flags.ca_bundle,
            token_file: flags.token_file,
        },
    })
    .await?;
    tracing::info!(address = %operator.address()?, "listening");
    operator
        .run(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::info!("ending");
        })
        .await?;
    Ok(())
}
