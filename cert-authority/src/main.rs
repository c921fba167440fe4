//! The cert-authority program: flags in, [`cert_authority`] run, SIGTERM or SIGINT ends it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use cert_authority::attest::lab::LabAttestor;
use cert_authority::serve::{Authority, Settings};
use clap::Parser;
use mesh_ir::name::TrustDomain;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Weir's certificate authority.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Directory of the authority's keys; made if it is not there
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Address to serve gRPC on
    #[arg(long, value_name = "IP:PORT")]
    listen: SocketAddr,
    /// SPIFFE trust domain of the mesh
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: TrustDomain,
    /// File to publish the trusted roots in, as PEM
    #[arg(long, value_name = "FILE")]
    bundle_out: PathBuf,
    /// Folder of object manifests that says which pods run where
    #[arg(long, value_name = "DIR")]
    lab_objects: PathBuf,
    /// Folder of bootstrap tokens, each named after its caller
    #[arg(long, value_name = "DIR")]
    lab_tokens: PathBuf,
    /// Life of an SVID in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 86400, value_parser = clap::value_parser!(u64).range(10..=86400))]
    svid_ttl: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();

    let attestor = LabAttestor::start(&flags.lab_objects, &flags.lab_tokens).await?;
    let settings = Settings {
        state: flags.state,
        listen: flags.listen,
        trust_domain: flags.trust_domain,
        bundle_out: flags.bundle_out,
        svid_life: Duration::from_secs(flags.svid_ttl),
    };
    let trust_domain = settings.trust_domain.clone();
    let authority = Authority::start(settings, attestor).await?;
    let address = authority.address().context("cannot tell the address listened on")?;
    tracing::info!(%address, %trust_domain, "serving");

    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    authority
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
