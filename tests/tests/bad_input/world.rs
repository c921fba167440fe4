//! The lab of these cases: two pods that misbehave, one on each node, a Gateway, and agents at the places from which
//! connections come.

use std::cell::Cell;
use std::fs;
use std::net::IpAddr;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use weir_tests::lab::{Lab, Plan};
use weir_tests::wait;

use crate::agent::{Agent, Received};

const MANIFESTS: &str = include_str!("manifests.yaml");
const FAULTY: &str = concat!(include_str!("../shared/http1.py"), include_str!("faulty.py"));
/// The route in a file of its own, which the lab follows.
pub(crate) const FOLLOWED: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: followed, namespace: shop}
spec:
  parentRefs: [{name: front}]
  rules:
    - matches: [{path: {value: /followed}}]
      backendRefs: [{name: echo, port: 80}]
";
/// How long an answer, or the end of a connection, may take where nothing has to be waited for.
pub(crate) const SOON: Duration = Duration::from_secs(5);
/// How long a change may take to show.
const CHANGED_WITHIN: Duration = Duration::from_secs(15);
/// Connections that a node may have kept to backends since the beginning, for the next requests.
const POOLED: usize = 24;
const MEMORY_GROWTH_KIB: u64 = 30 * 1024;

pub(crate) struct World {
    pub(crate) lab: Lab,
    /// In the pod shop/client, on node-1.
    pub(crate) client: Agent,
    /// In the pod outside/stranger, which is not in the mesh.
    pub(crate) stranger: Agent,
    pub(crate) machine: Agent,
    /// In the network namespace of node-1.
    pub(crate) node: Agent,
    /// On the link between the nodes, outside both.
    pub(crate) link: Agent,
    /// The address of the Gateway.
    pub(crate) gateway: String,
    before: Vec<Held>,
    markers: Cell<u32>,
}

/// What a mesh-node holds.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    program: String,
    pid: i32,
    pub(crate) descriptors: usize,
    resident_kib: u64,
}

/// A way by which requests reach one of the pods that misbehave.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'w> {
    pub(crate) name: &'static str,
    agent: &'w Agent,
    host: &'w str,
    /// In front of every path.
    pub(crate) prefix: &'static str,
}

impl World {
    pub(crate) fn up() -> Self {
        let command = serde_json::to_string(&["python3", "-c", FAULTY]).unwrap();
        let plan = Plan::new("bad-input")
            .manifest("shop.yaml", MANIFESTS.replace("FAULTY", &command))
            .manifest("followed.yaml", FOLLOWED);
        let lab = plan.up().unwrap();
        let node = lab.view().unwrap().nodes.into_iter().find(|node| node.name == "node-1").unwrap();
        let gateway = wait::until("an address of the Gateway", CHANGED_WITHIN, || {
            Ok(lab.gateway("shop", "front").ok().and_then(|found| found.into_iter().find(IpAddr::is_ipv4)))
        });
        let mut world = Self {
            client: Agent::in_pod(&lab, "shop/client"),
            stranger: Agent::in_pod(&lab, "outside/stranger"),
            machine: Agent::on_the_machine(),
            node: Agent::in_netns(&node.netns),
            link: Agent::in_netns(&format!("weir-{}-lan", lab.name())),
            gateway: gateway.unwrap().to_string(),
            lab,
            before: Vec::new(),
            markers: Cell::new(0),
        };
        wait::until("every entry to answer", CHANGED_WITHIN, || {
            let answers = |entry: &Entry<'_>| entry.get("/good").status() == 200;
            Ok(world.entries().iter().all(answers).then_some(()))
        })
        .unwrap();
        // What the nodes keep from the first requests on is no leak.
        for _ in 0..20 {
            world.untouched();
        }
        world.before = world.held();
        world
    }

    pub(crate) fn entries(&self) -> [Entry<'_>; 3] {
        [
            Entry { name: "through the Gateway", agent: &self.machine, host: &self.gateway, prefix: "/far" },
            Entry { name: "from a pod to its own node", agent: &self.client, host: "near", prefix: "" },
            Entry { name: "from a pod to the other node", agent: &self.client, host: "far", prefix: "" },
        ]
    }

    /// A word that is in no other request.
    pub(crate) fn marker(&self) -> String {
        self.markers.set(self.markers.get() + 1);
        format!("m{}x", self.markers.get())
    }

    /// The requests that should succeed do.
    #[track_caller]
    pub(crate) fn untouched(&self) {
        for entry in self.entries() {
            let good = entry.get("/good");
            assert!(good.status() == 200 && good.body() == "good", "{}: {good:?}", entry.name);
        }
    }

    /// Through the Gateway, from the machine.
    pub(crate) fn get(&self, path: &str) -> Received {
        Entry { prefix: "", ..self.entries()[0] }.get(path)
    }

    /// `weir lab VERB -f` of this text.
    pub(crate) fn weir(&self, verb: &str, text: &str) -> Output {
        let file = tempfile::Builder::new().prefix("applied").suffix(".yaml").tempfile().unwrap();
        fs::write(file.path(), text).unwrap();
        let mut command = Command::new(self.lab.program("weir"));
        command.args(["lab", verb, "--name", self.lab.name(), "-f"]).arg(file.path());
        command.output().unwrap()
    }

    /// What mesh-operator has published.
    pub(crate) fn published(&self) -> Value {
        let text = fs::read_to_string(self.lab.state().join("published/status.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until the status of an object is as it should be, and gives it.
    #[track_caller]
    pub(crate) fn status(&self, kind: &str, name: &str, is_right: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = wait::until("the status", CHANGED_WITHIN, || {
            let published = self.published();
            let objects = published["objects"].as_array().cloned().unwrap_or_default();
            let object = objects.into_iter().find(|object| object["kind"] == kind && object["name"] == name);
            last = object.map(|object| object["status"].clone()).unwrap_or_default();
            Ok(is_right(&last).then(|| last.clone()))
        });
        found.unwrap_or_else(|_| panic!("the status of {kind} {name} is {last:#}"))
    }

    /// Waits until something holds that no event tells of.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        wait::until(what, CHANGED_WITHIN, || Ok(holds().then_some(()))).unwrap();
    }

    /// Waits until the nodes hold no more descriptors than at some time before, connections kept for reuse aside.
    #[track_caller]
    pub(crate) fn descriptors_return_to(&self, before: &[Held], within: Duration) {
        let mut now = Vec::new();
        let returned = wait::until("the descriptors to be closed", within, || {
            now = self.held();
            let few = |(now, before): (&Held, &Held)| now.descriptors <= before.descriptors + POOLED;
            Ok(now.iter().zip(before).all(few).then_some(()))
        });
        assert!(returned.is_ok(), "before: {before:?}; now: {now:?}");
    }

    pub(crate) fn held(&self) -> Vec<Held> {
        let programs = self.lab.view().unwrap().programs.into_iter();
        let nodes = programs.filter(|program| program.name.starts_with("mesh-node-"));
        nodes.map(|program| Held::of(program.name, program.pid.unwrap())).collect()
    }

    /// At the end of all cases.
    pub(crate) fn nothing_is_kept(&self) {
        self.untouched();
        self.descriptors_return_to(&self.before, SOON);
        let now = self.held();
        for (before, now) in self.before.iter().zip(&now) {
            assert_eq!(before.pid, now.pid, "{} was started again", now.program);
            assert!(now.resident_kib < before.resident_kib + MEMORY_GROWTH_KIB, "{before:?} became {now:?}");
        }
        let panics: String = self.lab.complaints().lines().filter(|line| line.contains("panicked")).collect();
        assert!(panics.is_empty(), "{panics}");
    }
}

impl Held {
    fn of(program: String, pid: i32) -> Self {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident_kib = resident.trim().trim_end_matches(" kB").parse().unwrap();
        Self { program, pid, descriptors, resident_kib }
    }
}

impl Entry<'_> {
    /// A well-formed request on a connection of its own.
    pub(crate) fn get(&self, path: &str) -> Received {
        let head =
            format!("GET {}{path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n", self.prefix);
        self.send(head.as_bytes())
    }

    /// These bytes on a connection of their own, and all that comes back.
    pub(crate) fn send(&self, data: &[u8]) -> Received {
        self.agent.exchange(self.host, 80, data, SOON)
    }

    pub(crate) fn port(&self, port: u16, data: &[u8]) -> Received {
        self.agent.exchange(self.host, port, data, SOON)
    }

    pub(crate) fn open(&self) -> crate::agent::Held {
        self.agent.open(self.host, 80, None).unwrap()
    }

    pub(crate) fn agent(&self) -> &Agent {
        self.agent
    }

    /// The requests that the pod behind this entry has seen, oldest first.
    pub(crate) fn seen(&self) -> Vec<Value> {
        let answer = self.get("/seen");
        serde_json::from_str(&answer.body()).unwrap_or_else(|error| panic!("{answer:?}: {error}"))
    }

    /// What the pod saw of the request with this word in its head.
    pub(crate) fn seen_of(&self, marker: &str) -> Option<Value> {
        self.seen().into_iter().find(|request| request["head"].as_str().unwrap().contains(marker))
    }
}
