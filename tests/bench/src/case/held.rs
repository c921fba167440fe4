//! Connections from the client in the mesh that are held ([`crate::load::hold`]), and what the nodes hold in memory for them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use anyhow::Context;

use super::pods::Pods;
use crate::load::hold::{What, arguments};
use crate::meter;

/// They are closed when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    child: Child,
    count: f64,
}

impl Held {
    pub(super) fn open(pods: &Pods, to: SocketAddr, count: usize, what: What) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("finding this program")?;
        let mut command = pods.client("bench", &own);
        command.args(arguments(to, count, what)).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting connections that are held")?;
        let out = child.stdout.take().context("connections that are held have no output")?;
        let mut held = Self { child, count: 0.0 };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).context("waiting for connections that are held")?;
        let said = line.trim();
        held.count = said.parse().with_context(|| format!("connections that are held said `{said}`"))?;
        anyhow::ensure!(held.count > 0.0, "no connection stands");
        Ok(held)
    }

    /// How many stand.
    pub(super) fn count(&self) -> f64 {
        self.count
    }

    /// What a node has for each connection more than it had before, in KB; of the node that has most.
    pub(super) fn kilobytes_each(&self, pods: &Pods, before: &[f64]) -> anyhow::Result<f64> {
        let now = Self::megabytes_of_nodes(pods)?;
        let more = now.iter().zip(before).map(|(now, before)| (now - before) * 1024.0 / self.count);
        Ok(more.fold(0.0, f64::max))
    }

    pub(super) fn megabytes_of_nodes(pods: &Pods) -> anyhow::Result<Vec<f64>> {
        pods.processes().into_iter().map(megabytes).collect()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Its input ends, and so does it.
        drop(self.child.stdin.take());
        _ = self.child.wait();
    }
}

pub(super) fn megabytes(process: u32) -> anyhow::Result<f64> {
    Ok(meter::memory(&[process])?.resident as f64 / 1024.0)
}
