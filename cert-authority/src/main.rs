//! The cert-authority program: flags in, [`cert_authority`] run, SIGTERM or SIGINT ends it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use cert_authority::attest::Attestor;
use cert_authority::attest::kubernetes::KubernetesAttestor;
use cert_authority::attest::lab::LabAttestor;
use cert_authority::keys::Store;
use cert_authority::keys::cluster::Cluster;
use cert_authority::keys::folder::Folder;
use cert_authority::kubernetes;
use cert_authority::serve::{Authority, Settings};
use clap::Parser;
use mesh_ir::name::{Namespace, TrustDomain};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// What is logged where RUST_LOG does not say. Broken watches are said once by us, and at each retry by kube.
const LOG_FILTER: &str = "info,kube_runtime=off";

/// Weir's certificate authority.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Run in a cluster: the API server attests, the root is in a Secret, the bundle in a ConfigMap
    #[arg(long)]
    kubernetes: bool,
    /// Namespace of the mesh's own programs, with --kubernetes
    #[arg(long, value_name = "NAME", default_value = "weir-system", requires = "kubernetes")]
    namespace: Namespace,
    #[command(flatten)]
    lab: Option<LabFlags>,
    /// Address to serve gRPC on
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// Address to serve /healthz, /readyz and /metrics on, in clear
    #[arg(long, value_name = "IP:PORT")]
    metrics: Option<SocketAddr>,
    /// SPIFFE trust domain of the mesh
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: TrustDomain,
    /// Life of an SVID in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 86400, value_parser = clap::value_parser!(u64).range(10..=86400))]
    svid_ttl: u64,
}

/// What the authority needs without Kubernetes.
#[derive(Debug, clap::Args)]
#[group(multiple = true, conflicts_with = "kubernetes")]
struct LabFlags {
    /// Directory of the authority's keys; made if it is not there
    #[arg(long, value_name = "DIR", required = false, required_unless_present = "kubernetes")]
    state: PathBuf,
    /// File to publish the trusted roots in, as PEM
    #[arg(long, value_name = "FILE", required = false, required_unless_present = "kubernetes")]
    bundle_out: PathBuf,
    /// Folder of object manifests that says which pods run where
    #[arg(long, value_name = "DIR", required = false, required_unless_present = "kubernetes")]
    lab_objects: PathBuf,
    /// Folder of bootstrap tokens, each named after its caller
    #[arg(long, value_name = "DIR", required = false, required_unless_present = "kubernetes")]
    lab_tokens: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();

    let svid_life = Duration::from_secs(flags.svid_ttl);
    let settings = Settings { listen: flags.listen, svid_life, metrics: flags.metrics };
    let trust_domain = flags.trust_domain;
    match flags.lab {
        Some(lab) => {
            let attestor = LabAttestor::start(&lab.lab_objects, &lab.lab_tokens).await?;
            let store = Folder::open(&lab.state, trust_domain, lab.bundle_out)?;
            serve(settings, store, attestor).await
        }
        None => {
            let client = kubernetes::client().await?;
            let attestor = KubernetesAttestor::start(client.clone(), flags.namespace.as_str());
            let store = Cluster::start(client, flags.namespace.as_str(), trust_domain);
            serve(settings, store, attestor).await
        }
    }
}

async fn serve(settings: Settings, store: impl Store, attestor: impl Attestor) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let end = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("ending");
    };
    tokio::pin!(end);
    let authority = tokio::select! {
        started = Authority::start(settings, store, attestor) => started?,
        () = &mut end => return Ok(()),
    };
    let address = authority.address().context("cannot tell the address listened on")?;
    tracing::info!(%address, "serving");
    authority.run(end).await?;
    Ok(())
}
