//! What a case happens on: labs with the mesh in them, and places in those for peers, backends and load.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use tempfile::TempDir;
use weir_tests::lab::{Lab, Plan};

use crate::contest::{Contest, Pace, Standing};
use crate::machine::{self, Core, Machine};
use crate::place::{Place, Running};
use crate::profile;

/// Which programs are measured.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Programs {
    /// The folder of the mesh's programs; that of this program if none is given.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) programs: Option<PathBuf>,
    /// A folder with another build of them, which takes part as `weir-base`.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) against: Option<PathBuf>,
}

/// What every case is given.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) machine: &'a Machine,
    pub(crate) pace: Pace,
    /// How long the case `soak` takes.
    pub(crate) soak: Duration,
    /// Where profiles go, if they are wanted.
    pub(crate) profiles: Option<PathBuf>,
}

/// A lab, with a folder for what is put into it besides.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    folder: TempDir,
}

/// The mesh's node program, or a pod, at work.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) address: IpAddr,
    /// Of its mesh-node.
    pub(crate) process: u32,
}

impl Scene<'_> {
    /// Runs a contest, or takes Weir's profile in it.
    pub(crate) fn run(&self, contest: &Contest<'_>) -> anyhow::Result<Standing> {
        match &self.profiles {
            Some(folder) => {
                profile::record(contest, self.pace.turn(), folder)?;
                contest.run(Pace { rounds: 1, ..self.pace })
            }
            None => contest.run(self.pace),
        }
    }

    /// Brings a lab up whose mesh runs on the processors for proxies, one worker each, its access log off.
    pub(crate) fn stage(&self, plan: Plan) -> anyhow::Result<Stage> {
        self.stage_of(self.programs.programs.as_ref(), plan, &[self.machine.proxy()])
    }

    /// The same with the build that is compared with, if there is one.
    pub(crate) fn base_stage(&self, plan: Plan) -> anyhow::Result<Option<Stage>> {
        let Some(folder) = &self.programs.against else { return Ok(None) };
        self.stage_of(Some(folder), plan, &[self.machine.proxy()]).map(Some)
    }

    /// A mesh-node has as many workers as processors that it may use.
    pub(crate) fn stage_of(
        &self,
        programs: Option<&PathBuf>,
        plan: Plan,
        cores: &[Core],
    ) -> anyhow::Result<Stage> {
        let plan = plan.up_flag("--node-flag=--access-log=off");
        let plan = match programs {
            Some(folder) => plan.programs(std::path::absolute(folder)?),
            None => plan,
        };
        let lab = machine::pinned(cores, || plan.up())??;
        Ok(Stage { lab, folder: tempfile::tempdir().context("making a folder for configurations")? })
    }
}

impl Stage {
    /// The node of this number, from 1.
    pub(crate) fn node(&self, number: usize) -> anyhow::Result<Node> {
        let view = self.lab.view()?;
        let node = number.checked_sub(1).and_then(|at| view.nodes.get(at));
        let node = node.with_context(|| format!("the lab has no node {number}"))?;
        Ok(Node {
            place: Place::new(format!("/run/netns/{}", node.netns)),
            address: *node.addresses.iter().find(|ip| ip.is_ipv4()).context("a node has no IPv4 address")?,
            process: self.program(&format!("mesh-{}", node.name))?,
        })
    }

    /// The process of a program of the mesh.
    pub(crate) fn program(&self, name: &str) -> anyhow::Result<u32> {
        let view = self.lab.view()?;
        let found = view.programs.iter().find(|program| program.name == name).and_then(|found| found.pid);
        let process = found.and_then(|pid| u32::try_from(pid).ok());
        process.with_context(|| format!("{name} does not run"))
    }

    /// A file of this stage's own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a command of a place; its output is kept with the stage.
    pub(crate) fn start(&self, place: &Place, name: &str, command: Command) -> anyhow::Result<Running> {
        place.start(command, &self.file(&format!("{name}.log")))
    }

    /// The port on which the nodes listen for this port of a Gateway.
    pub(crate) fn target_port(&self, namespace: &str, gateway: &str, port: u16) -> anyhow::Result<u16> {
        let folder = self.lab.state().join("published/objects");
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let text =
                std::fs::read_to_string(entry?.path()).context("reading what mesh-operator published")?;
            for document in serde_yaml_ng::Deserializer::from_str(&text) {
                let service = Published::deserialize(document).context("an object of mesh-operator's")?;
                if service.kind != "Service" || !service.is_of(namespace, gateway) {
                    continue;
                }
                if let Some(found) = service.spec.ports.iter().find(|other| other.port == port) {
                    return Ok(found.target_port);
                }
            }
        }
        anyhow::bail!("Gateway {namespace}/{gateway} has no Service with port {port}")
    }
}

#[derive(Debug, Deserialize)]
struct Published {
    kind: String,
    metadata: PublishedMetadata,
    #[serde(default)]
    spec: PublishedSpec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublishedMetadata {
    namespace: Option<String>,
    #[serde(default)]
    owner_references: Vec<Owner>,
}

#[derive(Debug, Deserialize)]
struct Owner {
    kind: String,
    name: String,
}

#[derive(Debug, Default, Deserialize)]
struct PublishedSpec {
    #[serde(default)]
    ports: Vec<PublishedPort>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublishedPort {
    port: u16,
    target_port: u16,
}

impl Published {
    fn is_of(&self, namespace: &str, gateway: &str) -> bool {
        let owned = |owner: &Owner| owner.kind == "Gateway" && owner.name == gateway;
        self.metadata.namespace.as_deref() == Some(namespace)
            && self.metadata.owner_references.iter().any(owned)
    }
}
