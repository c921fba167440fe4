//! What a node's program holds in memory: with its pods at rest, and for connections on which nothing happens.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::Case;
use super::held::{Held, megabytes};
use super::pods::{HTTP, HTTP_UNSEEN, Pods, sleepers};
use crate::load::hold::What;
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const CASE: Case = Case {
    name: "memory",
    about: "the memory of a node's program: 20 pods at rest, and 10,000 idle connections",
    run,
};

/// Besides the two that every lab of pods has on this node.
const MORE_PODS: usize = 18;
const IDLE: usize = 10_000;
/// Files that a node has open for itself.
const SPARE_FILES: usize = 1000;
/// Until what a start has left is done.
const REST: Duration = Duration::from_secs(3);

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up_with(scene, &sleepers(MORE_PODS))?;
    thread::sleep(REST);
    let mut figures = vec![("RSS with 20 pods, MB", megabytes(pods.nodes[0].process)?)];
    let (each, held) = idle(&pods, pods.service("bench", "server", HTTP)?, IDLE)?;
    figures.push(("KB an idle HTTP/1.1 connection", each));
    figures.push(("idle connections held", held));
    // Of these each is two open files of a node.
    let allowed = usize::try_from(scene.machine.files)?.saturating_sub(SPARE_FILES) / 2;
    let (each, _) = idle(&pods, pods.service("bench", "server", HTTP_UNSEEN)?, IDLE.min(allowed))?;
    figures.push(("KB an idle L4 connection", each));
    Ok(Outcome::of_figures(figures))
}

/// Opens connections, asks once on each, and leaves them: KB of the node that holds more for each, and how many stood.
fn idle(pods: &Pods, to: SocketAddr, count: usize) -> anyhow::Result<(f64, f64)> {
    let before = Held::megabytes_of_nodes(pods)?;
    let held = Held::open(pods, to, count, What::Idle)?;
    thread::sleep(REST);
    let each = held.kilobytes_each(pods, &before)?;
    Ok((each, held.count()))
}
