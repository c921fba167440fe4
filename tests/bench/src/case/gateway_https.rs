//! A Gateway that ends TLS and sends on over mutual TLS to a pod on another node.

use std::net::SocketAddr;
use std::time::Duration;

use super::Case;
use super::pods::HTTP;
use super::secure::{NAME, Secure};
use crate::contest::{Contender, Contest, Drive, WEIR};
use crate::keys;
use crate::load::wrk;
use crate::peer::envoy::{Hop, Security, Speaks};
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const CASE: Case = Case {
    name: "gateway-https",
    about: "a Gateway, HTTPS in and mutual TLS to a pod on another node; both proxies counted",
    run,
};

const ENVOY: u16 = 18_443;

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let secure = Secure::up(scene)?;
    let (pods, machine) = (&secure.pods, scene.machine);
    let (client, server) = keys::pair(pods.stage.folder())?;
    let inbound = Hop {
        listen: "0.0.0.0:15006".parse()?,
        accepts: Security::Mutual(&server),
        to: SocketAddr::new("127.0.0.1".parse()?, HTTP),
        dials: Security::Plaintext,
        speaks: Speaks::Http1,
    };
    let gateway = Hop {
        listen: SocketAddr::new(pods.nodes[0].address, ENVOY),
        accepts: Security::Server(&secure.keys),
        to: pods.pod("plain", "server", 15_006)?,
        dials: Security::Mutual(&client),
        speaks: Speaks::Http1,
    };
    let node = &pods.nodes[0].place;
    let envoys = [
        inbound.recipe()?.start(&pods.stage, &pods.place("plain", "server")?, machine.proxy())?,
        gateway.recipe()?.start(&pods.stage, node, machine.proxy())?,
    ];
    let mut outcome = Outcome::default();
    for connections in [64, 8] {
        let drive = |to: SocketAddr| -> Drive<'_> {
            let host = vec![format!("--header=Host: {NAME}")];
            Box::new(move |length: Duration| {
                wrk::run(node, machine.load(), connections, &host, &format!("https://{to}/"), length)
            })
        };
        let contenders = vec![
            pods.weir(WEIR, drive(secure.to_mesh)),
            Contender {
                name: "two-envoys".to_owned(),
                processes: envoys.iter().flat_map(|envoy| envoy.processes()).collect(),
                drive: drive(gateway.listen),
            },
        ];
        let contest = Contest { name: format!("{connections} connections"), unit: "request", contenders };
        outcome.standings.push(scene.run(&contest)?);
    }
    Ok(outcome)
}
