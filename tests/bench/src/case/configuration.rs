//! A mesh of 10,000 Services, 100,000 Pods and 5,000 routes in front of the real programs: what mesh-operator and mesh-node hold,
//! how long a node takes to load it, and how soon a change is in the proxy. Beside it, what the compiler alone takes, from its own
//! bench.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Case;
use super::changing::Objects;
use super::held::megabytes;
use super::pods::{HTTP, Pods};
use crate::load::follow;
use crate::meter;
use crate::report::Outcome;
use crate::show;
use crate::stage::Scene;

mod compile;
mod made_up;

pub(crate) const CASE: Case = Case {
    name: "configuration",
    about: "10,000 Services, 100,000 Pods and 5,000 routes: what mesh-operator and mesh-node hold, and what a change costs",
    run,
};

const CHANGES: usize = 100;
/// Changes that are slow to be seen are not waited for longer than this, all together.
const LIVE_AT_MOST: Duration = Duration::from_secs(30);
/// How long reading and sending everything may take before something is taken to be wrong.
const PATIENCE: Duration = Duration::from_secs(180);
const SECOND: Duration = Duration::from_secs(1);
/// Changes of endpoints that are written at a time, and how often.
const BATCH: usize = 50;
const EVERY: Duration = Duration::from_millis(50);

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let mut figures = compile::figures()?;
    let pods = Pods::up(scene)?;
    let objects = Objects::of(&pods)?;
    objects.put_route(0)?;
    figures.push(("live at this size of the lab alone, p99, ms", live(&pods, &objects, 1)?));
    let operator = pods.stage.program("mesh-operator")?;
    let node = pods.nodes[1].process;
    let before = megabytes(node)?;
    made_up::put(&objects)?;
    wait_loaded(&pods)?;
    figures.push(("RSS of mesh-operator, MB", megabytes(operator)?));
    figures.push(("RSS of a node more than without, MB", megabytes(node)? - before));
    figures.push(("live, p99, ms", live(&pods, &objects, 1 + CHANGES)?));
    let (processors, a_second) = churn(scene, &objects, operator)?;
    figures.push(("processors of mesh-operator under changes of endpoints", processors));
    figures.push(("changes of endpoints a second", a_second));
    figures.push(("first full load of a node, s", first_load(&pods, node)?));
    Ok(Outcome::of_figures(figures))
}

/// Until mesh-operator has compiled all of it, and the nodes have what concerns them.
fn wait_loaded(pods: &Pods) -> anyhow::Result<()> {
    show::progress("loading");
    let started = Instant::now();
    loop {
        let resources = pods.stage.lab.operator_metrics()?.sum("weir_operator_resources", &[]);
        let sessions = pods.stage.lab.sessions()?;
        if resources >= made_up::RESOURCES as f64 && sessions.iter().all(|session| session.up_to_date) {
            return Ok(());
        }
        anyhow::ensure!(
            started.elapsed() < PATIENCE,
            "{resources} of {} resources after {} s: {sessions:?}",
            made_up::RESOURCES,
            PATIENCE.as_secs()
        );
        thread::sleep(SECOND);
    }
}

/// From a change of a route's weight until an answer shows it, in milliseconds: the longest but for one in a hundred.
fn live(pods: &Pods, objects: &Objects, first: usize) -> anyhow::Result<f64> {
    let own = std::env::current_exe().context("finding this program")?;
    let mut command = pods.client("bench", &own);
    command.args(follow::arguments(pods.service("bench", "server", HTTP)?, PATIENCE));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("starting requests")?;
    let mut lines = BufReader::new(child.stdout.take().context("requests have no output")?).lines();
    let mut follow = |number: usize| -> anyhow::Result<f64> {
        let begun = Instant::now();
        objects.put_route(number)?;
        loop {
            let line = lines.next().context("the requests ended before the change was seen")??;
            if line == number.to_string() {
                return Ok(begun.elapsed().as_secs_f64() * 1000.0);
            }
        }
    };
    let limit = Instant::now() + LIVE_AT_MOST;
    let numbers = (first..first + CHANGES).take_while(|_| Instant::now() < limit);
    let times: anyhow::Result<Vec<f64>> = numbers.map(&mut follow).collect();
    // It would go on for as long as it was told.
    child.kill().context("ending requests")?;
    child.wait().context("ending requests")?;
    let mut times = times?;
    times.sort_by(f64::total_cmp);
    let at = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(at).copied().context("nothing was changed")
}

/// CPU time of mesh-operator over time while endpoints come and go, and how many a second could be written: 1,000 unless the machine
/// is too busy.
fn churn(scene: &Scene<'_>, objects: &Objects, operator: u32) -> anyhow::Result<(f64, f64)> {
    let length = scene.pace.turn().max(5 * SECOND);
    let (begun, before) = (Instant::now(), meter::cpu(&[operator])?);
    let mut changes = 0;
    while begun.elapsed() < length {
        for _ in 0..BATCH {
            made_up::change(objects, changes)?;
            changes += 1;
        }
        let next = EVERY * u32::try_from(changes / BATCH)?;
        thread::sleep(next.saturating_sub(begun.elapsed()));
    }
    let used = (meter::cpu(&[operator])? - before).total();
    let seconds = begun.elapsed().as_secs_f64();
    Ok((used / seconds, changes as f64 / seconds))
}

/// Ends a node's program; the lab starts another. From its start until it has acknowledged everything, in seconds.
fn first_load(pods: &Pods, ended: u32) -> anyhow::Result<f64> {
    let node = "node-2";
    let kill = Command::new("kill").args(["-KILL", &ended.to_string()]).status().context("running kill")?;
    anyhow::ensure!(kill.success(), "kill ended with {kill}");
    let limit = Instant::now() + PATIENCE;
    let mut begun = None;
    while Instant::now() < limit {
        match begun {
            None => {
                let process = pods.stage.program(&format!("mesh-{node}")).ok();
                begun = process.filter(|process| *process != ended).map(|_| Instant::now());
            }
            Some(begun) => {
                let sessions = pods.stage.lab.sessions()?;
                let loaded = |session: &weir_tests::lab::view::NodeSession| {
                    session.node.as_deref() == Some(node)
                        && session.up_to_date
                        && session.acknowledged.is_some()
                };
                if sessions.iter().any(loaded) {
                    return Ok(begun.elapsed().as_secs_f64());
                }
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    anyhow::bail!("{node} has not loaded its configuration within {} s", PATIENCE.as_secs())
}
