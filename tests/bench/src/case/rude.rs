//! What a client may do that no client should: everything at once, 10 MB of header fields or body, and a backend that answers before
//! the request ends.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use super::Case;
use super::held::Held;
use super::pods::{HTTP, Pods};
use crate::contest::{Contest, Drive, WEIR};
use crate::load::rude::{Manner, arguments};
use crate::load::{self, Load};
use crate::peer::envoy::Speaks;
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const LARGE: Case = Case {
    name: "large",
    about: "10 MB of header fields and of bodies, from pod to pod over two nodes, 16 at a time",
    run: large,
};
pub(crate) const BURST: Case = Case {
    name: "burst",
    about: "5,000 connections opened at once, from pod to pod over two nodes, one request on each",
    run: burst,
};
pub(crate) const EARLY: Case = Case {
    name: "early-answer",
    about: "a backend that answers before 10 MB of a request have come, two nodes, 16 at a time",
    run: early,
};

const AT_ONCE: usize = 16;
const CONNECTIONS: usize = 5000;

fn large(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up(scene)?;
    let envoys = pods.envoys(scene, Speaks::Http1, HTTP)?;
    let to = pods.service("bench", "server", HTTP)?;
    let length = scene.pace.turn();
    let before = Held::megabytes_of_nodes(&pods)?;
    let refused = drive(&pods, "bench", to, Manner::Head, AT_ONCE)(length)?;
    let mut standings = Vec::new();
    for how in [Manner::Upload, Manner::Download] {
        let contenders = vec![
            pods.weir(WEIR, drive(&pods, "bench", to, how, AT_ONCE)),
            envoys.contender("two-envoys", drive(&pods, "plain", envoys.entry, how, AT_ONCE)),
        ];
        let name = if how == Manner::Upload { "request bodies" } else { "answer bodies" };
        standings.push(scene.run(&Contest { name: name.to_owned(), unit: "body", contenders })?);
    }
    let after = Held::megabytes_of_nodes(&pods)?;
    let more = after.iter().zip(before).map(|(after, before)| after - before).fold(0.0, f64::max);
    let figures = [
        ("share of heads of 10 MB answered 431", share(&refused)),
        ("MB that a node holds more afterwards", more),
    ];
    Ok(Outcome::with_figures(standings, figures))
}

fn burst(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up(scene)?;
    let envoys = pods.envoys(scene, Speaks::Http1, HTTP)?;
    let to = pods.service("bench", "server", HTTP)?;
    let ours = drive(&pods, "bench", to, Manner::Burst, CONNECTIONS);
    let theirs = drive(&pods, "plain", envoys.entry, Manner::Burst, CONNECTIONS);
    let (mut answered, mut slower) = (f64::INFINITY, Vec::new());
    for _ in 0..scene.pace.rounds {
        let (our, their) = (ours(Duration::ZERO)?, theirs(Duration::ZERO)?);
        answered = our.done.min(answered);
        slower.push((our.seconds, their.seconds));
    }
    let median = |figure: fn(&(f64, f64)) -> f64| crate::contest::median(slower.iter().map(figure).collect());
    let figures = [
        ("of 5,000 connections answered", answered),
        ("seconds until the last answer", median(|(our, _)| *our)),
        ("seconds until the last answer, beside two Envoys", median(|(our, their)| our / their)),
    ];
    Ok(Outcome::of_figures(figures))
}

fn early(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up(scene)?;
    let to = pods.service("bench", "server", HTTP)?;
    let load = drive(&pods, "bench", to, Manner::Early, AT_ONCE)(scene.pace.turn())?;
    let figures = [
        ("share of early answers that arrived", share(&load)),
        ("p99 of early answers, ms", load.p99_ms.unwrap_or(f64::NAN)),
    ];
    Ok(Outcome::of_figures(figures))
}

fn share(load: &Load) -> f64 {
    load.done / (load.done + load.failed)
}

fn drive<'a>(
    pods: &'a Pods,
    namespace: &'static str,
    to: SocketAddr,
    how: Manner,
    count: usize,
) -> Drive<'a> {
    Box::new(move |length: Duration| {
        let own = std::env::current_exe().context("finding this program")?;
        let mut command = pods.client(namespace, &own);
        command.args(arguments(to, how, count, length));
        load::read(command)
    })
}
