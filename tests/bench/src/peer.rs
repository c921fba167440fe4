//! The peers: other proxies, each with one worker, no access log, and its defaults otherwise.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;

use crate::contest::{Contender, Drive};
use crate::machine::Core;
use crate::place::{Place, Running};
use crate::stage::Stage;

pub(crate) mod envoy;
pub(crate) mod haproxy;
pub(crate) mod nginx;

/// A peer that runs.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    running: Running,
}

/// How a peer is started.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) configuration: String,
    /// Its arguments, of which `CONFIGURATION` stands for the file.
    pub(crate) arguments: &'static [&'static str],
    /// Where it listens once it is ready.
    pub(crate) listens: SocketAddr,
}

impl Recipe {
    pub(crate) fn start(&self, stage: &Stage, place: &Place, core: Core) -> anyhow::Result<Peer> {
        // Two of one kind may run on one stage.
        let file = stage.file(&format!("{}-{}.conf", self.name, self.listens.port()));
        fs::write(&file, &self.configuration).with_context(|| format!("writing {}", file.display()))?;
        let mut command = place.command(core, &self.program);
        for argument in self.arguments {
            if *argument == "CONFIGURATION" {
                command.arg(&file);
            } else {
                command.arg(argument);
            }
        }
        let log = format!("{}-{}", self.name, self.listens.port());
        let running = stage.start(place, &log, command)?;
        place.wait_for(self.name, self.listens).with_context(|| {
            format!("it said: {}", fs::read_to_string(stage.file(&format!("{log}.log"))).unwrap_or_default())
        })?;
        Ok(Peer { name: self.name, running })
    }
}

impl Peer {
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.running.processes()
    }

    pub(crate) fn contender<'a>(&self, drive: Drive<'a>) -> Contender<'a> {
        Contender { name: self.name.to_owned(), processes: self.processes(), drive }
    }
}
