//! From pod to pod, bytes that the proxies do not look into.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use super::Case;
use super::pods::{BYTES, Envoys, Pods};
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
    let envoys = pods.envoys(scene, Speaks::Tcp, BYTES)?;
    beside(scene, &pods, "server", ("two-envoys", &envoys))
}

fn plain(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up(scene)?;
    let envoy = pods.plain_envoy(scene, Speaks::Tcp, BYTES)?;
    beside(scene, &pods, "near", ("envoy", &envoy))
}

/// Weir to this server and the peer, in both directions.
fn beside(
    scene: &Scene<'_>,
    pods: &Pods,
    server: &str,
    (name, peer): (&str, &Envoys),
) -> anyhow::Result<Outcome> {
    let base = Pods::base(scene)?;
    let mut outcome = Outcome::default();
    for how in [How::Up, How::Down] {
        let mut contenders =
            vec![pods.weir(WEIR, drive(pods, "bench", pods.service("bench", server, BYTES)?, how))];
        if let Some(base) = &base {
            let to = base.service("bench", server, BYTES)?;
            contenders.push(base.weir("weir-base", drive(base, "bench", to, how)));
        }
        contenders.push(peer.contender(name, drive(pods, "plain", peer.entry, how)));
        let contest = Contest { name: how.name().to_owned(), unit: "GB", contenders };
        outcome.standings.push(scene.run(&contest)?);
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
