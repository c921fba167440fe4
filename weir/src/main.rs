//! The `weir` command: what a person runs, on their machine or in CI, to look at a mesh and to try one in a lab.
//!
//! This file holds the command line only. It contains no meaning of the mesh: routes are evaluated by `mesh-ir`
//! and configuration is compiled by `mesh-operator`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod lab;

/// A service mesh without sidecars: look at it, and try it on one machine.
#[derive(Debug, Parser)]
#[command(name = "weir", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the mesh on this machine without Kubernetes.
    #[command(subcommand)]
    Lab(lab::LabCommand),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Lab(command) => lab::run(command),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}
