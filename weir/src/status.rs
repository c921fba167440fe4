//! `weir status`: how the mesh-operator and the nodes are, and every object with a condition that is not as wanted.
//!
//! It shows what the mesh says of itself, with what to do about it; it changes nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use mesh_ir::resource::Resource;

use crate::admin;
use crate::lab::layout::Layout;
use crate::operator::{Mesh, Operator, OperatorError};
use crate::text::print;

pub(crate) mod condition;
mod report;
mod show;
#[cfg(test)]
mod tests;

use report::{Gathered, NodeAnswer, Report};

/// Exit status where the mesh-operator cannot be asked.
const UNREACHABLE: u8 = 2;
const NODE_PATIENCE: Duration = Duration::from_secs(3);
/// A node's metrics are no longer.
const MAX_METRICS: usize = 64 << 20;

#[derive(Args, Clone, Debug)]
pub(crate) struct Status {
    #[command(flatten)]
    mesh: Mesh,
    /// The form of the output; text for people if not given.
    #[arg(short = 'o', long, value_parser = ["json"])]
    output: Option<String>,
}

/// Runs the command.
pub(crate) fn run(status: &Status) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let gathered = match runtime.block_on(gather(&status.mesh.operator())) {
        Ok(gathered) => gathered,
        Err(error) => {
            eprintln!("weir: {error}");
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

async fn gather(operator: &Operator) -> Result<Gathered, OperatorError> {
    let unready = operator.unready().await?;
    let document = operator.status().await?;
    let sessions = operator.nodes().await?;
    let mut names: BTreeSet<String> = sessions.iter().filter_map(|session| session.node.clone()).collect();
    match operator.config().await {
        Ok(config) => names.extend(config.resources.values().filter_map(|resource| match &**resource {
            Resource::Node(node) => Some(node.name.to_string()),
            _ => None,
        })),
        // Nothing is compiled yet, which is what keeps it from being ready.
        Err(OperatorError::Refused { .. }) => {}
        Err(error) => return Err(error),
    }
    let mut nodes = Vec::new();
    for name in names {
        let answer = match operator.lab.as_ref().and_then(|lab| node_socket(lab, &name)) {
            Some(socket) => Some(ask_node(&socket).await),
            None => None,
        };
        nodes.push((name, answer));
    }
    Ok(Gathered { operator: operator.socket.clone(), unready, document, sessions, nodes })
}

fn node_socket(lab: &Layout, name: &str) -> Option<std::path::PathBuf> {
    let number = name.strip_prefix("node-")?.parse().ok()?;
    Some(lab.node_admin(number))
}

async fn ask_node(socket: &Path) -> NodeAnswer {
    let ready = admin::get(socket, "/readyz", NODE_PATIENCE, MAX_METRICS).await;
    let unready = match ready {
        Ok(answer) if answer.status == 200 => None,
        Ok(answer) => Some(answer.text().trim().to_owned()),
        Err(error) => return NodeAnswer { unready: Some(error.to_string()), captured_pods: None },
    };
    let metrics = admin::get(socket, "/metrics", NODE_PATIENCE, MAX_METRICS).await;
    NodeAnswer { unready, captured_pods: metrics.ok().and_then(|answer| captured_pods(&answer.text())) }
}

pub(crate) fn captured_pods(metrics: &str) -> Option<u64> {
    metrics.lines().find_map(|line| line.strip_prefix("weir_captured_pods ")?.trim().parse().ok())
}
