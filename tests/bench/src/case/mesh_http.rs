//! From pod to pod, HTTP/1.1: over two nodes with mutual TLS between them, and on one node.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::Case;
use super::pods::{HTTP, Pods};
use crate::contest::{Contender, Contest, Drive, WEIR};
use crate::load::wrk;
use crate::peer::envoy::Speaks;
use crate::report::Outcome;
use crate::stage::Scene;

pub(crate) const CASE: Case = Case {
    name: "mesh-http",
    about: "from pod to pod, HTTP/1.1: two nodes with mutual TLS, and one node; all proxies counted",
    run,
};

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let pods = Pods::up(scene)?;
    let base = Pods::base(scene)?;
    let envoys = pods.envoys(scene, Speaks::Http1, HTTP)?;
    let mut outcome = Outcome::default();
    for connections in [64, 8] {
        let mut contenders = vec![
            pods.weir(WEIR, drive(&pods, "bench", pods.service("bench", "server", HTTP)?, connections)),
            pods.weir(
                "weir-same-node",
                drive(&pods, "bench", pods.service("bench", "near", HTTP)?, connections),
            ),
        ];
        if let Some(base) = &base {
            let to = base.service("bench", "server", HTTP)?;
            contenders.push(base.weir("weir-base", drive(base, "bench", to, connections)));
        }
        contenders.push(envoys.contender("two-envoys", drive(&pods, "plain", envoys.entry, connections)));
        contenders.push(Contender {
            name: "direct".to_owned(),
            processes: Vec::new(),
            drive: drive(&pods, "plain", pods.pod("plain", "server", HTTP)?, connections),
        });
        let contest = Contest { name: format!("{connections} connections"), unit: "request", contenders };
        outcome.standings.push(scene.run(&contest)?);
    }
    Ok(outcome)
}

fn drive<'a>(pods: &'a Pods, namespace: &'static str, to: SocketAddr, connections: usize) -> Drive<'a> {
    Box::new(move |length: Duration| {
        let mut command = pods.client(namespace, Path::new("wrk"));
        wrk::arrange(&mut command, connections, &[], &format!("http://{to}/"), length);
        wrk::read(command)
    })
}
