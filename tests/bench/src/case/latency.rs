//! The time that the mesh adds to a request from pod to pod over two nodes, at a rate that loads nothing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use super::Case;
use super::pods::{HTTP, Pods};
use crate::contest::{Contender, Contest, Drive, WEIR};
use crate::load::fortio;
use crate::peer::envoy::{Speaks, tool};
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const CASE: Case = Case {
    name: "latency",
    about: "from pod to pod over two nodes, HTTP/1.1 at 1,000 requests a second",
    run,
};

const RATE: usize = 1000;
const CONNECTIONS: usize = 8;

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up(scene)?;
    let base = Pods::base(scene)?;
    let envoys = pods.envoys(scene, Speaks::Http1, HTTP)?;
    let mut contenders = vec![pods.weir(WEIR, drive(&pods, "bench", pods.service("bench", "server", HTTP)?))];
    if let Some(base) = &base {
        contenders.push(base.weir("weir-base", drive(base, "bench", base.service("bench", "server", HTTP)?)));
    }
    contenders.push(envoys.contender("two-envoys", drive(&pods, "plain", envoys.entry)));
    contenders.push(Contender {
        name: "direct".to_owned(),
        processes: Vec::new(),
        drive: drive(&pods, "plain", pods.pod("plain", "server", HTTP)?),
    });
    let contest = Contest { name: "1000 a second".to_owned(), unit: "request", contenders };
    let standing = scene.run(&contest)?;
    let of = |name: &str| {
        let row = standing.row(name).with_context(|| format!("{name} took no part"))?;
        anyhow::Ok((row.p50_ms.context("no median")?, row.p99_ms.context("no 99th percentile")?))
    };
    let (weir, envoy, direct) = (of(WEIR)?, of("two-envoys")?, of("direct")?);
    let figures = [
        ("added p50, ms", weir.0 - direct.0),
        ("added p99, ms", weir.1 - direct.1),
        ("added p50 over the Envoys'", (weir.0 - direct.0) / (envoy.0 - direct.0)),
        ("added p99 over the Envoys'", (weir.1 - direct.1) / (envoy.1 - direct.1)),
    ];
    Ok(Outcome::with_figures(vec![standing], figures))
}

fn drive<'a>(pods: &'a Pods, namespace: &'static str, to: SocketAddr) -> Drive<'a> {
    Box::new(move |length: Duration| {
        let mut command = pods.client(namespace, &tool("fortio")?);
        fortio::arrange(&mut command, RATE, CONNECTIONS, &format!("http://{to}/"), length);
        fortio::read(command)
    })
}
