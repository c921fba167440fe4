//! The `weir` command: what a person runs, on their machine or in CI, to look at a mesh and to try one in a lab.
//!
//! This file holds the command line only. It contains no meaning of the mesh: routes are evaluated by `mesh-ir`
//! and configuration is compiled by `mesh-operator`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod admin;
mod check;
mod cluster;
mod explain;
mod health;
mod lab;
mod near;
mod operator;
mod status;
mod text;

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
    /// Look whether a cluster can take Weir, or whether all of Weir works in it, and say what to do where not. Exits with
    /// 1 when there is an error, with 0 otherwise, warnings or not.
    Check(check::Check),
    /// Show what becomes of a request, and why.
    Explain(explain::Explain),
    /// Show how the mesh is, and what is wrong with its objects. Exits with 0 when all is well, 1 when something is
    /// not, 2 when the mesh-operator or the cluster cannot be asked.
    ///
    /// The mesh is the lab that --name names, the one whose mesh-operator has the socket --operator, or that of the
    /// cluster that --kubeconfig and --context name. Without any of them it is the lab `lab` where that is up, else
    /// that of the cluster that kubectl would ask: KUBECONFIG's, ~/.kube/config's, or the one that weir runs in.
    Status(status::Status),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Lab(command) => lab::run(command),
        Command::Check(check) => check::run(&check),
        Command::Explain(explain) => explain::run(&explain),
        Command::Status(status) => status::run(&status),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}
