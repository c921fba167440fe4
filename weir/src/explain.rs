//! `weir explain`: what becomes of a request, and why. The configuration is the mesh-operator's own, and the same
//! `mesh_ir::eval` as the proxy's answers; this module asks it and puts the answer in words.
//!
//! It decides nothing of the mesh itself, and sends no request.

use std::process::ExitCode;

use clap::Args;
use mesh_ir::config::{Delta, MeshConfig};
use mesh_ir::name::TrustDomain;
use mesh_ir::view::MeshView;

use crate::operator::Mesh;
use crate::text::print;

mod answer;
mod backend;
mod connection;
mod decide;
mod filter;
mod handling;
mod limits;
mod question;
mod resolve;
mod show;
mod source;
#[cfg(test)]
mod tests;

use question::Question;

#[derive(Args, Clone, Debug)]
pub(crate) struct Explain {
    #[command(flatten)]
    mesh: Mesh,
    /// Who asks: NS/POD, NS/deploy/NAME for a pod of a Deployment, or `outside` for a client of a Gateway.
    #[arg(long, value_name = "NS/POD")]
    from: String,
    /// What is asked for, as the client writes it: http://reviews:9080/path; tcp://, tls:// and udp:// HOST:PORT for what is
    /// not HTTP.
    url: String,
    /// The request's method.
    #[arg(short = 'X', long = "request", value_name = "METHOD", default_value = "GET")]
    method: String,
    /// A header of the request; may be given several times.
    #[arg(short = 'H', long = "header", value_name = "NAME:VALUE")]
    headers: Vec<String>,
    /// The SPIFFE trust domain of the mesh.
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: TrustDomain,
    /// The form of the output; text for people if not given.
    #[arg(short = 'o', long, value_parser = ["json"])]
    output: Option<String>,
}

/// Runs the command.
pub(crate) fn run(explain: &Explain) -> anyhow::Result<ExitCode> {
    // What can be seen to be wrong without the mesh is said first.
    let question = Question::parse(&explain.from, &explain.url, &explain.method, &explain.headers)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let config = runtime.block_on(explain.mesh.operator().config())?;
    let answer = decide::answer(&view(&config), &explain.trust_domain, &question)?;
    print(&match explain.output {
        Some(_) => serde_json::to_string_pretty(&answer)? + "\n",
        None => show::text(&answer),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn view(config: &MeshConfig) -> MeshView {
    MeshView::default()
        .apply(&Delta { upserts: config.resources.values().cloned().collect(), removes: Vec::new() })
}
