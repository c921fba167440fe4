//! From pod to pod, bytes that the proxies do not look into.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use super::Case;
use super::pods::{BYTES, Pods};
use crate::contest::{Contest, Drive, WEIR};
use crate::load;
use crate::load::bytes::{How, arguments};
use crate::peer::envoy::Speaks;
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const MTLS: Case = Case {
    name: "l4-mtls",
    about: "from pod to pod over two nodes, bytes on one connection with mutual TLS; both proxies counted",
    run: mtls,
};
pub(crate) const PLAIN: Case = Case {
    name: "l4-plain",
    about: "from pod to pod on one node, bytes on one connection without TLS",
    run: plain,
};

fn mtls(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up(scene)?;
    let base = Pods::base(scene)?;
    let envoys = pods.envoys(scene, Speaks::Tcp, BYTES)?;
    let mut outcome = Outcome::default();
    for how in [How::Up, How::Down] {
        let mut contenders =
            vec![pods.weir(WEIR, drive(&pods, "bench", pods.service("bench", "server", BYTES)?, how))];
        if let Some(base) = &base {
            let to = base.service("bench", "server", BYTES)?;
            contenders.push(base.weir("weir-base", drive(base, "bench", to, how)));
        }
        contenders.push(envoys.contender("two-envoys", drive(&pods, "plain", envoys.entry, how)));
        outcome.standings.push(scene.run(&Contest {
            name: how.name().to_owned(),
            unit: "GB",
            contenders,
        })?);
    }
    Ok(outcome)
}

fn plain(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up(scene)?;
    let base = Pods::base(scene)?;
    let envoy = pods.plain_envoy(scene, Speaks::Tcp, BYTES)?;
    let mut outcome = Outcome::default();
    for how in [How::Up, How::Down] {
        let mut contenders =
            vec![pods.weir(WEIR, drive(&pods, "bench", pods.service("bench", "near", BYTES)?, how))];
        if let Some(base) = &base {
            let to = base.service("bench", "near", BYTES)?;
            contenders.push(base.weir("weir-base", drive(base, "bench", to, how)));
        }
        contenders.push(envoy.contender("envoy", drive(&pods, "plain", envoy.entry, how)));
        outcome.standings.push(scene.run(&Contest {
            name: how.name().to_owned(),
            unit: "GB",
            contenders,
        })?);
    }
    Ok(outcome)
}

pub(crate) fn drive<'a>(pods: &'a Pods, namespace: &'static str, to: SocketAddr, how: How) -> Drive<'a> {
    Box::new(move |length: Duration| {
        let own = std::env::current_exe().context("finding this program")?;
        let mut command = pods.client(namespace, &own);
        command.args(arguments(to, how, length));
        load::read(command)
    })
}
