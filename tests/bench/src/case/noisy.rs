//! One pod that does all it can beside 50 quiet ones on the same node, with one worker for all of them: how much longer the quiet
//! ones' answers take. Where load and proxy share a machine, part of that is not the proxy's; the same with a pod outside the mesh
//! shows how much.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use super::Case;
use super::pods::{HTTP, Pods};
use crate::contest::median;
use crate::load::ask::{self, Asked};
use crate::load::wrk;
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const CASE: Case = Case {
    name: "noisy",
    about: "50 quiet pods of a node, two nodes, 10 requests a second each, beside one that does all it can",
    run,
};

const QUIET: usize = 50;
const RATE: f64 = 10.0;
const HOT_CONNECTIONS: usize = 64;
/// For so many programs to start in the pods.
const START: Duration = Duration::from_secs(5);

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up_with(scene, &super::pods::sleepers(QUIET))?;
    let to = pods.service("bench", "server", HTTP)?;
    let outside = pods.pod("plain", "server", HTTP)?;
    let length = scene.pace.turn();
    let wait = START + length + Duration::from_secs(1);
    let (mut alone, mut beside, mut machine) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scene.pace.rounds {
        alone.push(quiet(&pods, to, length)?);
        let hot = hot(&pods, "bench", to, wait)?;
        beside.push(quiet(&pods, to, length)?);
        let done = wrk::read_child(hot)?;
        anyhow::ensure!(done.failed == 0.0, "{} requests of the hot pod failed", done.failed);
        let hot = self::hot(&pods, "plain", outside, wait)?;
        machine.push(quiet(&pods, to, length)?);
        wrk::read_child(hot)?;
    }
    let over = |these: &[f64]| median(these.iter().zip(&alone).map(|(one, alone)| one / alone).collect());
    let figures = [
        ("p99 of the quiet, ms", median(alone.clone())),
        ("p99 of the quiet beside a hot pod, over without", over(&beside)),
        ("p99 of the quiet beside a hot pod outside the mesh, over without", over(&machine)),
    ];
    Ok(Outcome::of_figures(figures))
}

/// It gives way to the quiet ones where they share a processor, so that they wait for the proxy and not for its load.
fn hot(
    pods: &Pods,
    namespace: &str,
    to: std::net::SocketAddr,
    length: Duration,
) -> anyhow::Result<std::process::Child> {
    let mut command = pods.client(namespace, Path::new("nice"));
    command.args(["-n", "19", "wrk"]);
    wrk::arrange(&mut command, HOT_CONNECTIONS, &[], &format!("http://{to}/"), length);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("starting the hot pod's load")
}

/// The p99 of all quiet pods, in milliseconds.
fn quiet(pods: &Pods, to: std::net::SocketAddr, length: Duration) -> anyhow::Result<f64> {
    let own = std::env::current_exe().context("finding this program")?;
    let from = ask::soon(START)?;
    let ask = |number: usize| -> Command {
        let mut command = pods.command_in(&format!("bench/quiet-{number}"), &own);
        command.args(ask::arguments(to, 1, RATE, from, length));
        command
    };
    let mut askers = Vec::new();
    for number in 0..QUIET {
        let mut command = ask(number);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        askers.push(command.spawn().context("starting a quiet pod's requests")?);
    }
    let mut all = Asked::default();
    for asker in askers {
        let output = asker.wait_with_output().context("waiting for a quiet pod")?;
        all.add(Asked::read(&output.stdout)?);
    }
    let failed = all.failed;
    all.percentile(99.0).with_context(|| format!("{failed} requests of quiet pods failed"))
}
