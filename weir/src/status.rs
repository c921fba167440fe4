//! `weir status`: how the mesh's programs and nodes are, and every object with a condition that is not as wanted.
//!
//! It shows what the mesh says of itself, with what to do about it; it changes nothing. Of a lab the programs are asked,
//! of a cluster its API server; the report is the same.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use crate::cluster::ClusterFlags;
use crate::operator::Mesh;
use crate::text::print;

mod cluster;
pub(crate) mod condition;
mod lab;
mod meshed;
mod report;
mod show;
#[cfg(test)]
mod tests;

use report::{Gathered, Report};

/// Exit status where nobody can be asked.
const UNREACHABLE: u8 = 2;
const NODE_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Args, Clone, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    mesh: Mesh,
    #[command(flatten)]
    cluster: ClusterFlags,
    /// The namespace of the cluster that Weir is installed in.
    #[arg(long, value_name = "NAME", default_value = "weir-system")]
    namespace: String,
    /// The form of the output; text for people if not given.
    #[arg(short = 'o', long, value_parser = ["json"])]
    output: Option<String>,
}

/// Runs the command.
pub(crate) fn run(status: &Status) -> anyhow::Result<ExitCode> {
    let names_cluster = status.cluster.kubeconfig.is_some() || status.cluster.context.is_some();
    if names_cluster && status.mesh.is_named() {
        bail!("name a lab (--name, --operator) or a cluster (--kubeconfig, --context), not both");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let gathered = match runtime.block_on(gather(status, names_cluster)) {
        Ok(gathered) => gathered,
        Err(problem) => {
            eprintln!("weir: {problem}");
            return Ok(ExitCode::from(UNREACHABLE));
        }
    };
    let report = Report::new(gathered);
    print(&match status.output {
        Some(_) => serde_json::to_string_pretty(&report)? + "\n",
        None => show::text(&report),
    })?;
    Ok(if report.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn gather(status: &Status, names_cluster: bool) -> Result<Gathered, String> {
    let operator = status.mesh.operator();
    if status.mesh.is_named() || (!names_cluster && operator.socket.exists()) {
        return lab::gather(&operator).await.map_err(|error| error.to_string());
    }
    let client = status.cluster.client().await.map_err(|error| match names_cluster {
        true => error.to_string(),
        false => format!("no lab is up (weir lab up -f PATH), and {error}"),
    })?;
    cluster::gather(&client, &status.namespace).await.map_err(|error| error.to_string())
}
