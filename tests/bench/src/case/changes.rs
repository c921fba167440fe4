//! Requests at a steady pace while the configuration changes all the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Case;
use super::changing::Objects;
use super::pods::{HTTP, Pods};
use crate::contest::median;
use crate::load::ask::{self, Asked};
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const CASE: Case = Case {
    name: "changes",
    about: "a route's weight changed every 10 ms while requests come, 1,000 a second, from pod to pod over two nodes",
    run,
};

const EVERY: Duration = Duration::from_millis(10);
const RATE: f64 = 1000.0;
const CONNECTIONS: usize = 8;
const START: Duration = Duration::from_secs(1);

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up(scene)?;
    let objects = Objects::of(&pods)?;
    objects.put_route(0)?;
    let length = scene.pace.turn();
    let (mut still, mut ratios, mut applied) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scene.pace.rounds {
        let before = asked(&pods, length)?;
        let changes = Changes::default();
        let (during, seen) = thread::scope(|scope| {
            let changing = scope.spawn(|| changes.make(&pods, &objects));
            let during = asked(&pods, length);
            changes.ended.store(true, Ordering::Relaxed);
            (during, changing.join())
        });
        let seen = seen.map_err(|_| anyhow::anyhow!("the thread that changes panicked"))??;
        still.push(before);
        ratios.push(during? / before);
        applied.push(seen);
    }
    let figures = [
        ("p99 without changes, ms", median(still)),
        ("p99 under changes over without", median(ratios)),
        ("configurations a second that both nodes acknowledged", median(applied)),
    ];
    Ok(Outcome::of_figures(figures))
}

#[derive(Debug, Default)]
struct Changes {
    ended: AtomicBool,
}

impl Changes {
    /// Changes the route until it is told to end; gives how many configurations a second were seen to be acknowledged.
    fn make(&self, pods: &Pods, objects: &Objects) -> anyhow::Result<f64> {
        let started = Instant::now();
        let (mut number, mut seen, mut last) = (0, 0, None);
        while !self.ended.load(Ordering::Relaxed) {
            number += 1;
            objects.put_route(number)?;
            let sessions = pods.stage.lab.sessions()?;
            let now: Vec<_> = sessions.into_iter().map(|session| session.acknowledged).collect();
            if last.as_ref() != Some(&now) {
                seen += 1;
                last = Some(now);
            }
            let next = EVERY * u32::try_from(number)?;
            thread::sleep(next.saturating_sub(started.elapsed()));
        }
        Ok(f64::from(seen) / started.elapsed().as_secs_f64())
    }
}

/// The p99 in milliseconds.
fn asked(pods: &Pods, length: Duration) -> anyhow::Result<f64> {
    let own = std::env::current_exe().context("finding this program")?;
    let to = pods.service("bench", "server", HTTP)?;
    let mut command = pods.client("bench", &own);
    command.args(ask::arguments(to, CONNECTIONS, RATE, ask::soon(START)?, length));
    let asked = Asked::read(&command.output().context("asking")?.stdout)?;
    let failed = asked.failed;
    asked.percentile(99.0).with_context(|| format!("{failed} requests failed"))
}
