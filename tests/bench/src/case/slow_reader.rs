//! Clients that ask for much and stop reading: the backend is held back, and the nodes hold no more than their buffers.

use std::thread;
use std::time::Duration;

use super::Case;
use super::held::Held;
use super::pods::{BYTES, HTTP, Pods};
use crate::load::hold::What;
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const CASE: Case = Case {
    name: "slow-reader",
    about: "100 clients that stop reading, two nodes: what a node holds in memory for each",
    run,
};

const READERS: usize = 100;
/// Until every buffer on the way is full.
const FULL: Duration = Duration::from_secs(3);

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let mut figures = Vec::new();
    for (what, port, at_first, growth) in [
        (What::SlowHttp, HTTP, "KB an HTTP/1.1 answer that is not read", "KB more later, HTTP/1.1"),
        (What::SlowBytes, BYTES, "KB an L4 connection that is not read", "KB more later, L4"),
    ] {
        // Of a node's own, since memory that is free again may still be resident.
        let pods = Pods::up(scene)?;
        let before = Held::megabytes_of_nodes(&pods)?;
        let held = Held::open(&pods, pods.service("bench", "server", port)?, READERS, what)?;
        anyhow::ensure!(held.count() == READERS as f64, "{} of {READERS} readers began", held.count());
        thread::sleep(FULL);
        let first = held.kilobytes_each(&pods, &before)?;
        thread::sleep(FULL);
        figures.push((at_first, first));
        figures.push((growth, held.kilobytes_each(&pods, &before)? - first));
    }
    Ok(Outcome::of_figures(figures))
}
