//! `weir lab`: the mesh on one machine without Kubernetes. Nodes and pods are network namespaces, a container is a process
//! of this machine, and the mesh's real programs run between them.
//!
//! A tool around the mesh: nothing of the mesh knows of it beyond the folder of manifests that mesh-operator reads and the
//! folder of network namespaces that mesh-node finds pods in. What follows from what is decided by pure functions in
//! [`decide`] and [`cluster`]; [`act`] touches the machine; [`supervise`] joins the two.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use self::layout::{LabName, Layout};

mod act;
mod address;
mod client;
mod cluster;
mod container;
mod control;
mod decide;
pub(crate) mod layout;
mod manifest;
mod object;
mod pod;
mod programs;
mod store;
mod supervise;
mod teardown;

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// Bring a lab up with the objects in these manifests, and follow their changes.
    Up(Up),
    /// Add or replace objects in a running lab.
    Apply(Files),
    /// Remove the objects that these manifests name.
    Delete(Files),
    /// Run a command in a pod.
    Exec(Exec),
    /// Show nodes, pods, Services, Gateways and what is wrong.
    Get(Get),
    /// Show what a pod or one of the mesh's programs has logged.
    Logs(Logs),
    /// Take a lab down, whatever state it is in.
    Down(Named),
    #[command(hide = true)]
    Supervise(Up),
    #[command(hide = true)]
    Enter(act::enter::Enter),
}

/// Which lab.
#[derive(Args, Clone, Debug)]
pub(crate) struct Named {
    /// The lab's name.
    #[arg(long, default_value = "lab")]
    name: LabName,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct Up {
    #[command(flatten)]
    lab: Named,
    /// A manifest, or a folder of them; a lab.yaml among them names the commands that stand for images.
    #[arg(short = 'f', long = "file", value_name = "PATH")]
    files: Vec<PathBuf>,
    /// How many nodes the lab has.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=i64::from(address::MAX_NODES)))]
    nodes: u8,
    /// Leave the mesh's own programs out: pods and Services only.
    #[arg(long)]
    no_mesh: bool,
    /// A flag that every mesh-node gets besides its own, such as --access-log=off; may be repeated.
    #[arg(long = "node-flag", value_name = "FLAG", allow_hyphen_values = true, conflicts_with = "no_mesh")]
    node_flags: Vec<String>,
    /// How long the programs and pods may take to become ready, in seconds.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    ready_timeout: u64,
}

#[derive(Args, Debug)]
pub(crate) struct Files {
    #[command(flatten)]
    lab: Named,
    /// A manifest, or a folder of them.
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct Exec {
    #[command(flatten)]
    lab: Named,
    /// The container whose environment the command gets; the first one if not named.
    #[arg(short = 'c', long)]
    container: Option<String>,
    /// NS/POD, or NS/deploy/NAME for a pod of a Deployment.
    target: String,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Get {
    #[command(flatten)]
    lab: Named,
    /// The form of the output; a table for people if not given.
    #[arg(short = 'o', long, value_parser = ["json"])]
    output: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    #[command(flatten)]
    lab: Named,
    /// NS/POD, or a program: supervisor, cert-authority, mesh-operator, mesh-node-1, … All programs if not given.
    target: Option<String>,
    /// Go on with what is logged from now on.
    #[arg(short = 'f', long)]
    follow: bool,
}

/// Runs the command.
pub(crate) fn run(command: LabCommand) -> anyhow::Result<ExitCode> {
    if let LabCommand::Enter(place) = command {
        match act::enter::enter(&place)? {}
    }
    client::require_root()?;
    match command {
        LabCommand::Up(up) => client::up::up(up),
        LabCommand::Supervise(up) => client::up::supervise(up),
        LabCommand::Apply(files) => client::edit::apply(&files.lab.layout(), &files.files),
        LabCommand::Delete(files) => client::edit::delete(&files.lab.layout(), &files.files),
        LabCommand::Exec(exec) => client::exec::exec(&exec),
        LabCommand::Get(get) => client::get::get(&get.lab.layout(), get.output.is_some()),
        LabCommand::Logs(logs) => client::logs::logs(&logs),
        LabCommand::Down(lab) => client::down::down(&lab.layout()),
        LabCommand::Enter(_) => unreachable!("handled above"),
    }
}

impl Named {
    fn layout(&self) -> Layout {
        Layout::new(self.name.clone())
    }
}
