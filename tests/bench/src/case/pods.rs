//! A lab of two nodes with a client on the first and servers on both; in the mesh (namespace `bench`) and, the same once more,
//! outside of it (`plain`), where pairs of Envoys stand in for sidecars.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use weir_tests::lab::Plan;

use crate::contest::Contender;
use crate::keys;
use crate::machine::Core;
use crate::peer::Peer;
use crate::peer::envoy::{Hop, Security, Speaks};
use crate::place::Place;
use crate::stage::{Node, Scene, Stage};

pub(crate) const HTTP: u16 = 8080;
pub(crate) const GRPC: u16 = 8081;
/// HTTP too, on a port that says it is none.
pub(crate) const HTTP_UNSEEN: u16 = 8082;
pub(crate) const BYTES: u16 = 9000;

const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const ANYWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

#[derive(Debug)]
pub(crate) struct Pods {
    pub(crate) stage: Stage,
    pub(crate) nodes: [Node; 2],
    core: Core,
}

/// Two Envoys that carry a connection over mutual TLS, or one in plaintext.
#[derive(Debug)]
pub(crate) struct Envoys {
    peers: Vec<Peer>,
    /// What the client dials.
    pub(crate) entry: SocketAddr,
}

impl Pods {
    pub(crate) fn up(scene: &Scene<'_>) -> anyhow::Result<Self> {
        Self::of(scene, scene.stage(plan(scene, "")?)?)
    }

    /// With more in the lab.
    pub(crate) fn up_with(scene: &Scene<'_>, more: &str) -> anyhow::Result<Self> {
        Self::of(scene, scene.stage(plan(scene, more)?)?)
    }

    /// The same with the build that is compared with.
    pub(crate) fn base(scene: &Scene<'_>) -> anyhow::Result<Option<Self>> {
        let stage = scene.base_stage(plan(scene, "")?)?;
        stage.map(|stage| Self::of(scene, stage)).transpose()
    }

    fn of(scene: &Scene<'_>, stage: Stage) -> anyhow::Result<Self> {
        let nodes = [stage.node(1)?, stage.node(2)?];
        Ok(Self { stage, nodes, core: scene.machine.load() })
    }

    /// Both mesh-nodes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.process).collect()
    }

    pub(crate) fn weir<'a>(&self, name: &str, drive: crate::contest::Drive<'a>) -> Contender<'a> {
        Contender { name: name.to_owned(), processes: self.processes(), drive }
    }

    /// A command in the client of this namespace.
    pub(crate) fn client(&self, namespace: &str, program: &Path) -> Command {
        self.command_in(&format!("{namespace}/client"), program)
    }

    /// A command in a pod, on the processor that load comes from.
    pub(crate) fn command_in(&self, pod: &str, program: &Path) -> Command {
        let (core, program) = (self.core.0.to_string(), program.display().to_string());
        self.stage.lab.exec_command(pod, &["taskset", "-c", &core, &program])
    }

    /// A port of a server, by its Service.
    pub(crate) fn service(&self, namespace: &str, name: &str, port: u16) -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(self.stage.lab.service(namespace, name)?.address(false), port))
    }

    /// A port of a pod, by its own address.
    pub(crate) fn pod(&self, namespace: &str, name: &str, port: u16) -> anyhow::Result<SocketAddr> {
        Ok(SocketAddr::new(self.find(namespace, name)?.address(false), port))
    }

    /// From the client to the server outside the mesh.
    pub(crate) fn envoys(&self, scene: &Scene<'_>, speaks: Speaks, port: u16) -> anyhow::Result<Envoys> {
        let (client, server) = keys::pair(self.stage.folder())?;
        let first = Hop {
            listen: SocketAddr::new(LOCALHOST, 15_001),
            accepts: Security::Plaintext,
            to: self.pod("plain", "server", 15_006)?,
            dials: Security::Mutual(&client),
            speaks,
        };
        let second = Hop {
            listen: SocketAddr::new(ANYWHERE, 15_006),
            accepts: Security::Mutual(&server),
            to: SocketAddr::new(LOCALHOST, port),
            dials: Security::Plaintext,
            speaks,
        };
        let core = scene.machine.proxy();
        let peers = vec![
            second.recipe()?.start(&self.stage, &self.place("plain", "server")?, core)?,
            first.recipe()?.start(&self.stage, &self.place("plain", "client")?, core)?,
        ];
        Ok(Envoys { peers, entry: first.listen })
    }

    /// One Envoy beside the client, which sends on in plaintext.
    pub(crate) fn plain_envoy(&self, scene: &Scene<'_>, speaks: Speaks, port: u16) -> anyhow::Result<Envoys> {
        let hop = Hop {
            listen: SocketAddr::new(LOCALHOST, 15_002),
            accepts: Security::Plaintext,
            to: self.pod("plain", "server", port)?,
            dials: Security::Plaintext,
            speaks,
        };
        let place = self.place("plain", "client")?;
        Ok(Envoys {
            peers: vec![hop.recipe()?.start(&self.stage, &place, scene.machine.proxy())?],
            entry: hop.listen,
        })
    }

    /// The network namespace of a pod.
    pub(crate) fn place(&self, namespace: &str, name: &str) -> anyhow::Result<Place> {
        let pod = self.find(namespace, name)?;
        Ok(Place::new(self.stage.lab.state().join(&pod.node).join("pods").join(&pod.uid)))
    }

    fn find(&self, namespace: &str, name: &str) -> anyhow::Result<weir_tests::lab::view::Pod> {
        let mut pods = self.stage.lab.view()?.pods.into_iter();
        let found = pods.find(|pod| pod.namespace == namespace && pod.name == name);
        found.with_context(|| format!("the lab has no pod {namespace}/{name}"))
    }
}

impl Envoys {
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.peers.iter().flat_map(Peer::processes).collect()
    }

    pub(crate) fn contender<'a>(&self, name: &str, drive: crate::contest::Drive<'a>) -> Contender<'a> {
        Contender { name: name.to_owned(), processes: self.processes(), drive }
    }
}

/// So many more pods in the mesh on the first node, `quiet-0` on.
pub(crate) fn sleepers(count: usize) -> String {
    let sleeper = |number: usize| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: quiet-{number}, namespace: bench}}\nspec:\n  nodeName: node-1\n  \
             terminationGracePeriodSeconds: 1\n  containers: [{{name: quiet, image: bench, command: [sleep, infinity]}}]\n"
        )
    };
    (0..count).map(sleeper).collect()
}

fn plan(scene: &Scene<'_>, more: &str) -> anyhow::Result<Plan> {
    let own = std::env::current_exe().context("finding this program")?;
    let (own, core) = (own.display(), scene.machine.backend().0);
    let mut text = String::new();
    for (namespace, labels) in [("bench", "{weir.dev/mesh: enabled}"), ("plain", "{}")] {
        text += &format!(
            "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {labels}}}\n"
        );
        let pod = |name: &str, node: &str, containers: &str| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\n\
                 spec:\n  nodeName: {node}\n  terminationGracePeriodSeconds: 1\n  containers:\n{containers}"
            )
        };
        let serve = |name: &str, port: u16| {
            format!(
                "  - {{name: {name}, image: bench, command: [taskset, -c, '{core}', {own}, serve, {name}, --listen, '0.0.0.0:{port}']}}\n"
            )
        };
        text += &pod("client", "node-1", "  - {name: client, image: bench, command: [sleep, infinity]}\n");
        let servers = serve("http", HTTP) + &serve("grpc", GRPC) + &serve("bytes", BYTES);
        for (name, node) in [("near", "node-1"), ("server", "node-2")] {
            text += &pod(name, node, &servers);
            text += &format!(
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
                 spec:\n  selector: {{app: {name}}}\n  ports:\n  - {{name: http, port: {HTTP}, appProtocol: http}}\n  \
                 - {{name: grpc, port: {GRPC}, appProtocol: grpc}}\n  - {{name: bytes, port: {BYTES}, appProtocol: tcp}}\n  \
                 - {{name: unseen, port: {HTTP_UNSEEN}, targetPort: {HTTP}, appProtocol: tcp}}\n"
            );
        }
    }
    text += more;
    Ok(Plan::new("bench").manifest("bench.yaml", text))
}
