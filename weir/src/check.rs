//! `weir check`: whether a cluster can take Weir, and once it has, whether all of it works. Every finding says what to do.
//!
//! What is asked of the cluster is in `gather`, what follows from the answers in [`findings`], which asks nothing.

use std::process::ExitCode;

use clap::Args;

use crate::cluster::ClusterFlags;
use crate::text::print;

mod finding;
mod gather;
mod network;
mod node;
mod nodes;
mod objects;
mod observed;
mod platform;
mod pods;
mod programs;
mod show;
#[cfg(test)]
mod tests;

use finding::Report;
use observed::Observed;

#[derive(Args, Clone, Debug)]
pub(crate) struct Check {
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Weir's namespace.
    #[arg(long, value_name = "NAME", default_value = "weir-system")]
    namespace: String,
    /// Look at the machine that this runs on, which is to be a node, at what the API server does not know of it: eBPF,
    /// cgroups, mounts and capabilities.
    #[arg(long, conflicts_with_all = ["kubeconfig", "context", "namespace"])]
    node: bool,
    /// The form of the output; text for people if not given.
    #[arg(short = 'o', long, value_parser = ["json"])]
    output: Option<String>,
}

/// Runs the command.
pub(crate) fn run(check: &Check) -> anyhow::Result<ExitCode> {
    let report = if check.node {
        Report::new(node::findings(&node::look()?))
    } else {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let observed = runtime.block_on(async {
            let client = check.cluster.client().await?;
            anyhow::Ok(gather::gather(&client, &check.namespace).await?)
        })?;
        findings(&observed)
    };
    print(&match check.output {
        Some(_) => serde_json::to_string_pretty(&report)? + "\n",
        None => show::text(&report),
    })?;
    Ok(if report.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All that follows from what was observed.
fn findings(observed: &Observed) -> Report {
    let areas: [fn(&Observed) -> Vec<finding::Finding>; 6] = [
        platform::findings,
        nodes::findings,
        network::findings,
        programs::findings,
        pods::findings,
        objects::findings,
    ];
    Report::new(areas.iter().flat_map(|area| area(observed)).collect())
}
