//! The mesh-operator program: flags in, [`mesh_operator`] run, SIGTERM or SIGINT ends it.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use mesh_ir::name::TrustDomain;
use mesh_operator::{Operator, STALL_TIMEOUT, Settings};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Weir's operator.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Folder of manifests; may be given several times, later folders win on the same object
    #[arg(long, value_name = "DIR", required = true)]
    manifests: Vec<PathBuf>,
    /// Folder to write statuses and the objects that Gateways need to
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Address to serve nodes on
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// SPIFFE trust domain of the mesh
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: TrustDomain,
    /// Address of the cert-authority
    #[arg(long, value_name = "IP:PORT")]
    ca: SocketAddr,
    /// File of the trusted roots, as PEM
    #[arg(long, value_name = "FILE")]
    ca_bundle: PathBuf,
    /// File of the token that the cert-authority knows this operator by
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Path of the admin socket
    #[arg(long, value_name = "SOCKET")]
    admin: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;

    let operator = Operator::start(Settings {
        manifests: flags.manifests,
        output: flags.output,
        listen: flags.listen,
        admin: flags.admin,
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
