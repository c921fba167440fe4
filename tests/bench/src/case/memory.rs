//! What a node's program holds in memory: with its pods at rest, and for connections on which nothing happens.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use anyhow::Context;

use super::Case;
use super::pods::{HTTP, HTTP_UNSEEN, Pods};
use crate::load::hold;
use crate::meter;
use crate::report::Outcome;
use crate::show;
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
    let more: String = (0..MORE_PODS)
        .map(|number| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: quiet-{number}, namespace: bench}}\nspec:\n  nodeName: node-1\n  \
                 terminationGracePeriodSeconds: 1\n  containers: [{{name: quiet, image: bench, command: [sleep, infinity]}}]\n"
            )
        })
        .collect();
    let pods = Pods::up_with(scene, &more)?;
    thread::sleep(REST);
    let mut figures = vec![("RSS with 20 pods, MB", megabytes(&[pods.nodes[0].process])?)];
    let (each, held) = idle(&pods, pods.service("bench", "server", HTTP)?, IDLE)?;
    figures.push(("KB an idle HTTP/1.1 connection", each));
    figures.push(("idle connections held", held));
    // Of these each is two open files of a node.
    let allowed = usize::try_from(scene.machine.files)?.saturating_sub(SPARE_FILES) / 2;
    let (each, _) = idle(&pods, pods.service("bench", "server", HTTP_UNSEEN)?, IDLE.min(allowed))?;
    figures.push(("KB an idle L4 connection", each));
    for (name, figure) in &figures {
        show::line(&format!("  {name}: {figure:.1}"));
    }
    let figures = figures.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect();
    Ok(Outcome { figures, ..Outcome::default() })
}

/// Opens connections, asks once on each, and leaves them: KB of the node that holds more for each, and how many stood.
fn idle(pods: &Pods, to: SocketAddr, count: usize) -> anyhow::Result<(f64, f64)> {
    let nodes = pods.processes();
    let before: Vec<f64> = nodes.iter().map(|node| megabytes(&[*node])).collect::<Result<_, _>>()?;
    let own = std::env::current_exe().context("finding this program")?;
    let mut command = pods.client("bench", &own);
    command.args(hold::arguments(to, count)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("starting idle connections")?;
    let mut line = String::new();
    let out = child.stdout.take().context("idle connections have no output")?;
    BufReader::new(out).read_line(&mut line).context("waiting for idle connections")?;
    let held: f64 =
        line.trim().parse().with_context(|| format!("idle connections said `{}`", line.trim()))?;
    thread::sleep(REST);
    let mut most: f64 = 0.0;
    for (node, before) in nodes.iter().zip(before) {
        most = most.max((megabytes(&[*node])? - before) * 1024.0 / held);
    }
    // Its input ends, and so does it.
    drop(child.stdin.take());
    child.wait().context("ending idle connections")?;
    Ok((most, held))
}

fn megabytes(processes: &[u32]) -> anyhow::Result<f64> {
    Ok(meter::memory(processes)?.resident as f64 / 1024.0)
}
