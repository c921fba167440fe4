//! Two workers beside one. Where load and backend have no processors of their own, requests a second say nothing; CPU time
//! a request does: what it grows by with a second worker is lost to sharing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use super::gateway_http::{self, Weir};
use super::{Case, backend};
use crate::contest::{Contender, Contest, WEIR};
use crate::load::wrk;
use crate::machine::Core;
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const CASE: Case =
    Case { name: "scale", about: "a Gateway, HTTP/1.1, with two workers beside one, by CPU time", run };

const CONNECTIONS: usize = 64;

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let machine = scene.machine;
    let two_cores = [machine.proxy(), Core(1)];
    let programs = scene.programs.programs.as_ref();
    let one = Weir::up(scene.stage(gateway_http::plan(1))?)?;
    let two = Weir::up(scene.stage_of(programs, gateway_http::plan(1), &two_cores)?)?;
    let mut backends = Vec::new();
    let mut contenders = Vec::new();
    for (name, weir) in [(WEIR, &one), ("weir-two-workers", &two)] {
        backends.push(backend::start(&weir.stage, machine, &weir.node.place, weir.backend(), 1024)?);
        let url = format!("http://{}/", SocketAddr::new(weir.node.address, weir.one));
        let place = &weir.node.place;
        contenders.push(Contender {
            name: name.to_owned(),
            processes: vec![weir.node.process],
            drive: Box::new(move |length: Duration| {
                wrk::run(place, machine.load(), CONNECTIONS, &[], &url, length)
            }),
        });
    }
    let contest = Contest { name: format!("{CONNECTIONS} connections"), unit: "request", contenders };
    let standing = scene.run(&contest)?;
    let more = standing.ratios.get("weir-two-workers/weir").context("two workers were not measured")?;
    let figures = [("two workers over one", 2.0 / more)];
    Ok(Outcome::with_figures(vec![standing], figures))
}
