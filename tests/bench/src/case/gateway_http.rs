//! A Gateway: HTTP/1.1 in plaintext, 1 KB answers, from and to the node's own namespace over loopback, so that nothing but
//! the proxy differs.

use std::net::SocketAddr;
use std::time::Duration;

use weir_tests::lab::Plan;

use super::{Case, backend};
use crate::contest::{Contender, Contest, Drive, WEIR};
use crate::load::wrk;
use crate::peer::envoy::{Hop, Security, Speaks};
use crate::peer::{haproxy, nginx};
use crate::report::Outcome;
use crate::stage::{Node, Scene, Stage};

pub(crate) const CASE: Case =
    Case { name: "gateway-http", about: "a Gateway, HTTP/1.1 in plaintext, 1 KB answers", run };

const BACKEND: u16 = 18_080;
const ANSWER_BYTES: usize = 1024;
const ROUTES: usize = 1000;
const CONNECTIONS: [usize; 2] = [64, 8];

fn run(scene: &Scene<'_>) -> anyhow::Result<Outcome> {
    let weir = Weir::up(scene.stage(plan(ROUTES))?)?;
    let base = scene.base_stage(plan(ROUTES))?.map(Weir::up).transpose()?;
    let (machine, node) = (scene.machine, &weir.node);
    let at = |port| SocketAddr::new(node.address, port);
    let _backend = backend::start(&weir.stage, machine, &node.place, at(BACKEND), ANSWER_BYTES)?;
    let _base_backend = match &base {
        Some(base) => {
            let listen = SocketAddr::new(base.node.address, BACKEND);
            Some(backend::start(&base.stage, machine, &base.node.place, listen, ANSWER_BYTES)?)
        }
        None => None,
    };
    let envoy = Hop {
        listen: at(18_001),
        accepts: Security::Plaintext,
        to: at(BACKEND),
        dials: Security::Plaintext,
        speaks: Speaks::Http1,
    };
    let recipes = [
        (envoy.recipe()?, 18_001),
        (nginx::http(at(18_002), at(BACKEND)), 18_002),
        (haproxy::http(at(18_003), at(BACKEND)), 18_003),
    ];
    let mut peers = Vec::new();
    for (recipe, port) in &recipes {
        peers.push((recipe.start(&weir.stage, &node.place, machine.proxy())?, *port));
    }
    let mut outcome = Outcome::default();
    for connections in CONNECTIONS {
        let drive = |node: &Node, port: u16, path: &str| -> Drive<'_> {
            let (place, core) = (node.place.clone(), machine.load());
            let url = format!("http://{}{path}", SocketAddr::new(node.address, port));
            Box::new(move |length: Duration| wrk::run(&place, core, connections, &[], &url, length))
        };
        let mut contenders = Vec::new();
        let mut weir_as = |name: &str, weir: &Weir, port, path: &str| {
            contenders.push(Contender {
                name: name.to_owned(),
                processes: vec![weir.node.process],
                drive: drive(&weir.node, port, path),
            });
        };
        weir_as(WEIR, &weir, weir.one, "/");
        weir_as("weir-1000-routes", &weir, weir.many, "/route-500/page");
        if let Some(base) = &base {
            weir_as("weir-base", base, base.one, "/");
        }
        contenders.extend(peers.iter().map(|(peer, port)| peer.contender(drive(node, *port, "/"))));
        contenders.push(Contender {
            name: "direct".to_owned(),
            processes: Vec::new(),
            drive: drive(node, BACKEND, "/"),
        });
        let contest = Contest { name: format!("{connections} connections"), unit: "request", contenders };
        outcome.standings.push(scene.run(&contest)?);
    }
    Ok(outcome)
}

/// A lab with Gateways and what they send to.
pub(super) struct Weir {
    pub(super) stage: Stage,
    pub(super) node: Node,
    /// Where the Gateway with one route listens, and the one with many.
    pub(super) one: u16,
    many: u16,
}

impl Weir {
    pub(super) fn up(stage: Stage) -> anyhow::Result<Self> {
        let node = stage.node(1)?;
        // The lab gives the addresses, so the backend's is known only now.
        stage.lab.apply(&format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: backend\n  namespace: bench\n  \
             labels: {{kubernetes.io/service-name: backend}}\naddressType: IPv4\n\
             ports: [{{name: http, port: {BACKEND}}}]\nendpoints: [{{addresses: [{}], conditions: {{ready: true}}}}]\n",
            node.address
        ))?;
        let one = stage.target_port("bench", "one", 80)?;
        let many = stage.target_port("bench", "many", 80)?;
        Ok(Self { stage, node, one, many })
    }

    /// Where the routes' backend is to listen.
    pub(super) fn backend(&self) -> SocketAddr {
        SocketAddr::new(self.node.address, BACKEND)
    }
}

/// With so many routes at the second Gateway.
pub(super) fn plan(routes: usize) -> Plan {
    let gateway = |name: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}, namespace: bench}}\n\
             spec:\n  gatewayClassName: weir\n  listeners: [{{name: http, protocol: HTTP, port: 80}}]\n"
        )
    };
    let route = |name: &str, gateway: &str, path: &str| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{name: {name}, namespace: bench}}\nspec:\n  parentRefs: [{{name: {gateway}}}]\n  rules:\n  \
             - matches: [{{path: {{type: PathPrefix, value: {path}}}}}]\n    \
             backendRefs: [{{name: backend, port: 80}}]\n"
        )
    };
    let mut text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: bench}\n---\n\
                    apiVersion: v1\nkind: Service\nmetadata: {name: backend, namespace: bench}\n\
                    spec: {ports: [{name: http, port: 80}]}\n"
        .to_owned();
    text += &gateway("one");
    text += &gateway("many");
    text += &route("one", "one", "/");
    for number in 0..routes {
        text += &route(&format!("route-{number}"), "many", &format!("/route-{number}"));
    }
    Plan::new("bench").up_flag("--nodes=1").manifest("bench.yaml", text)
}
