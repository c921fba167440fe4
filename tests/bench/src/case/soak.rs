//! Load of several kinds for a long time: what a node holds in memory at its end beside its beginning.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Case;
use super::held::megabytes;
use super::pods::{BYTES, HTTP, Pods};
use crate::contest::median;
use crate::load::bytes::{self, How};
use crate::load::wrk;
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const CASE: Case = Case {
    name: "soak",
    about: "requests and connections from pod to pod over two nodes for a long time: memory at its end beside its beginning",
    run,
};

const EVERY: Duration = Duration::from_millis(500);

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up(scene)?;
    let length = scene.soak;
    let own = std::env::current_exe().context("finding this program")?;
    let mut requests = pods.client("bench", Path::new("wrk"));
    let url = format!("http://{}/", pods.service("bench", "server", HTTP)?);
    wrk::arrange(&mut requests, 32, &[], &url, length);
    let mut connections = pods.client("bench", &own);
    connections.args(bytes::arguments(pods.service("bench", "server", BYTES)?, How::Connections, length));
    let started = Instant::now();
    let mut loads = vec![start(requests)?, start(connections)?];
    let mut samples = Vec::new();
    while loads.iter_mut().any(|load| matches!(load.try_wait(), Ok(None))) {
        let now: Result<Vec<f64>, _> = pods.processes().into_iter().map(megabytes).collect();
        samples.push(now?);
        thread::sleep(EVERY);
    }
    anyhow::ensure!(started.elapsed() >= length, "the load ended early");
    let done = wrk::read_child(loads.remove(0))?;
    anyhow::ensure!(done.failed == 0.0, "{} requests failed", done.failed);
    let ended = loads.remove(0).wait_with_output().context("waiting for connections")?;
    anyhow::ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    // The first tenth warms up; the second is compared with the last.
    let tenth = samples.len() / 10;
    anyhow::ensure!(tenth >= 2, "the soak is too short to say anything");
    let of = |from: usize, node: usize| {
        median(samples.iter().skip(from).take(tenth).map(|nodes| nodes[node]).collect())
    };
    let (mut growth, mut last): (f64, f64) = (0.0, 0.0);
    for node in 0..pods.nodes.len() {
        let (early, late) = (of(tenth, node), of(samples.len() - tenth, node));
        growth = growth.max(late / early);
        last = last.max(late);
    }
    let figures = [
        ("minutes", length.as_secs_f64() / 60.0),
        ("requests", done.done),
        ("RSS at the end, MB", last),
        ("RSS at the end over that at the beginning", growth),
    ];
    Ok(Outcome::of_figures(figures))
}

fn start(mut command: Command) -> anyhow::Result<Child> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().with_context(|| format!("starting {command:?}"))
}
