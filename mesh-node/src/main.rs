//! The mesh-node program.

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Subcommand};
use mesh_node::capabilities;
use mesh_node::run::run;
use mesh_node::settings::Settings;
use mesh_node::sysctl;
use mesh_node::uninstall::{self, stay, uninstall};
use tracing_subscriber::EnvFilter;

/// Instead of running as the node's proxy.
#[derive(Debug, Subcommand)]
enum Command {
    /// Take the mesh off this node: programs, pins, and what pods were given; they go on working without it
    Uninstall(uninstall::Settings),
}

fn main() -> anyhow::Result<()> {
    let command = Command::augment_subcommands(Settings::command())
        .subcommand_required(false)
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true);
    let matches = command.get_matches();
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
    capabilities::check(capabilities::ALWAYS)?;
    sysctl::allow_writing().context("cannot write /proc/sys")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    if matches.subcommand().is_some() {
        let Command::Uninstall(settings) = Command::from_arg_matches(&matches)?;
        return runtime.block_on(async {
            uninstall(&settings).await?;
            if settings.stay {
                stay().await?;
            }
            Ok(())
        });
    }
    runtime.block_on(run(Settings::from_arg_matches(&matches)?))
}
