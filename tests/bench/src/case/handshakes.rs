//! New connections: to a Gateway that ends TLS, full and resumed handshakes with one request each; and from pod to pod over two
//! nodes, where the proxies shake hands for each connection of an application.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;

use super::Case;
use super::l4;
use super::pods::{BYTES, HTTP};
use super::secure::{NAME, Secure};
use crate::contest::{Contender, Contest, Drive, Standing, WEIR};
use crate::load::bytes::How;
use crate::load::{self, shake};
use crate::peer::envoy::{Hop, Security, Speaks};
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const CASE: Case =
    Case { name: "handshakes", about: "new connections: to a Gateway by HTTPS, and from pod to pod", run };

const ENVOY: u16 = 18_443;

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let secure = Secure::up(scene)?;
    let (pods, machine) = (&secure.pods, scene.machine);
    let gateway = Hop {
        listen: SocketAddr::new(pods.nodes[0].address, ENVOY),
        accepts: Security::Server(&secure.keys),
        to: pods.pod("plain", "server", HTTP)?,
        dials: Security::Plaintext,
        speaks: Speaks::Http1,
    };
    let node = &pods.nodes[0].place;
    let envoy = gateway.recipe()?.start(&pods.stage, node, machine.proxy())?;
    let drive = |to: SocketAddr, resume: bool| -> Drive<'_> {
        Box::new(move |length: Duration| {
            let own = std::env::current_exe().context("finding this program")?;
            let mut command = node.command(machine.load(), own);
            command.args(shake::arguments(to, NAME, resume, length));
            load::read(command)
        })
    };
    let entrant = |name: &str, processes: Vec<u32>, to: SocketAddr, resume: bool| Contender {
        name: name.to_owned(),
        processes,
        drive: drive(to, resume),
    };
    let weir = || vec![pods.nodes[0].process];
    let contenders = vec![
        entrant(WEIR, weir(), secure.to_plain, false),
        entrant("weir-resumed", weir(), secure.to_plain, true),
        entrant("envoy", envoy.processes(), gateway.listen, false),
        entrant("envoy-resumed", envoy.processes(), gateway.listen, true),
    ];
    let at_gateway = scene.run(&Contest { name: "gateway".to_owned(), unit: "handshake", contenders })?;

    let envoys = pods.envoys(scene, Speaks::Tcp, BYTES)?;
    let to = pods.service("bench", "server", BYTES)?;
    let contenders = vec![
        pods.weir(WEIR, l4::drive(pods, "bench", to, How::Connections)),
        envoys.contender("two-envoys", l4::drive(pods, "plain", envoys.entry, How::Connections)),
    ];
    let in_mesh = scene.run(&Contest { name: "mesh".to_owned(), unit: "connection", contenders })?;
    // Of two CPU times a handshake, the ratio turned round is that of handshakes a CPU second.
    let turned = |standing: &Standing, pair: &str| {
        let ratio = standing.ratios.get(pair).copied();
        ratio.map(|ratio| 1.0 / ratio).with_context(|| format!("{pair} was not measured"))
    };
    let figures = [
        ("full over envoy", turned(&at_gateway, "weir/envoy")?),
        ("resumed over envoy", turned(&at_gateway, "weir-resumed/envoy-resumed")?),
        ("resumed over full", turned(&at_gateway, "weir-resumed/weir")?),
        ("mesh over two-envoys", turned(&in_mesh, "weir/two-envoys")?),
    ];
    Ok(Outcome::with_figures(vec![at_gateway, in_mesh], figures))
}
