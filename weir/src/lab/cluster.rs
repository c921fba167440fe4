//! The lab's cluster as one value: what is wanted, what was decided, what is known of the pods. It takes events in and
//! gives steps and an image out, and performs nothing itself; the time is passed in.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use mesh_compile::read::read;
use serde_json::{Value, json};

use super::address::{LAST_POD, Subnets};
use super::decide::addresses::{self, Given};
use super::decide::backends;
use super::decide::names::Names;
use super::decide::pods::{self, Name, Rollout, Steps, Wanted};
use super::decide::{endpoints, nft};
use super::layout::node_name;
use super::object::{ObjectId, child};
use super::pod::{Deletion, Owner, Phase, Pod};
use super::store::Store;
use stamps::{Change, Stamps};

pub(crate) mod stamps;
pub(crate) mod view;

/// Everything that follows from the cluster's state, to be put into effect.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) changes: Vec<Change>,
    /// One script a node, in the nodes' order.
    pub(crate) nft: Vec<String>,
    pub(crate) names: Names,
    /// The load balancer addresses that have to answer.
    pub(crate) balancers: Vec<super::address::Dual>,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) plan: Subnets,
    pub(crate) nodes: u8,
    pub(crate) store: Store,
    pub(crate) pods: BTreeMap<String, Pod>,
    given: Given,
    stamps: Stamps,
    /// The host number that each node's last pod got; the search for the next begins behind it.
    last_host: BTreeMap<u8, u8>,
    /// What is wrong now, by what it is about.
    problems: BTreeMap<String, String>,
}

impl Cluster {
    pub(crate) fn new(plan: Subnets, nodes: u8) -> Self {
        Cluster {
            plan,
            nodes,
            store: Store::default(),
            pods: BTreeMap::new(),
            given: Given::default(),
            stamps: Stamps::default(),
            last_host: BTreeMap::new(),
            problems: BTreeMap::new(),
        }
    }

    pub(crate) fn set_problem(&mut self, about: impl Into<String>, problem: Option<String>) {
        match problem {
            Some(problem) => self.problems.insert(about.into(), problem),
            None => self.problems.remove(&about.into()),
        };
    }

    /// Decides which pods start and which end now. Started pods are part of the cluster at once; ended ones are terminating.
    /// The answer holds the uids of both.
    pub(crate) fn step(&mut self, now: &str) -> (Vec<String>, Vec<String>) {
        let steps = self.steps(now);
        let mut ended = Vec::new();
        for uid in steps.end {
            let Some(pod) = self.pods.get_mut(&uid).filter(|pod| !pod.is_terminating()) else { continue };
            let grace_seconds = pod.grace_seconds();
            pod.deletion = Some(Deletion { timestamp: now.to_owned(), grace_seconds });
            ended.push(uid);
        }
        let started = steps.make.into_iter().filter_map(|wanted| self.make(wanted, now)).collect();
        (started, ended)
    }

    /// The image of the state; `changes` are those since the last image.
    pub(crate) fn image(&mut self, now: &str) -> Image {
        let services: Vec<(ObjectId, Value)> =
            self.store.of_kind("", "Service").map(|(id, value)| (id.clone(), value.clone())).collect();
        self.problems.retain(|about, _| !about.starts_with("Service "));
        for (id, why) in self.given.update(self.plan, services.iter().map(|(id, value)| (id, value))) {
            self.problems.insert(id.to_string(), why);
        }
        self.note_what_does_not_run();
        let mut objects: BTreeMap<ObjectId, Value> =
            self.store.objects().map(|(id, value)| (id.clone(), value.clone())).collect();
        let pods: Vec<&Pod> = self.pods.values().collect();
        for (id, service) in &services {
            let mut service = service.clone();
            let cluster_ip = self.given.cluster_ip(self.plan, id);
            addresses::complete(&mut service, cluster_ip, self.given.balancer(self.plan, id));
            for slice in endpoints::slices(id, &service, &pods) {
                objects.insert(slice.id, slice.value);
            }
            objects.insert(id.clone(), service);
        }
        self.add_namespaces(&mut objects);
        self.add_nodes(&mut objects);
        self.add_deployment_statuses(&mut objects);
        // A bare pod's own manifest is replaced by the pod that runs.
        objects.retain(|id, _| !id.is("", "Pod"));
        objects.extend(pods.iter().map(|pod| (pod.id(), pod.object(self.plan.node(pod.node)))));

        let services = joined(&objects);
        let namespaces = objects.keys().filter(|id| id.is("", "Namespace")).map(|id| id.name.clone());
        let names = Names::new(&services, namespaces.collect());
        let nft = (1..=self.nodes).map(|node| nft::script(self.plan, node, &services)).collect();
        let balancers = self.given.balancers(self.plan).collect();
        Image { changes: self.stamps.changes(objects, now), nft, names, balancers }
    }

    /// Whether every pod that is wanted is Ready or has ended well, and which are not.
    pub(crate) fn unready(&self) -> Vec<&Pod> {
        let waiting = |pod: &&Pod| !pod.is_terminating() && !pod.ready && pod.phase != Phase::Succeeded;
        self.pods.values().filter(waiting).collect()
    }

    fn steps(&mut self, now: &str) -> Steps {
        let mut steps = Steps::default();
        let owned = |id: &ObjectId| -> Vec<&Pod> {
            let by = |pod: &&Pod| matches!(&pod.owner, Owner::Deployment { id: owner, .. } if owner == id);
            self.pods.values().filter(by).collect()
        };
        for (id, value) in self.store.of_kind("apps", "Deployment") {
            let uid = self.stamps.uid(id, now);
            pods::deployment(&Rollout { id, uid: &uid, value }, &owned(id), &mut steps);
        }
        for (id, value) in self.store.of_kind("", "Pod") {
            let same_name = |pod: &&Pod| pod.namespace == id.space() && pod.name == id.name;
            let pods: Vec<&Pod> = self.pods.values().filter(same_name).collect();
            pods::bare(id, value, &pods, &mut steps);
        }
        for pod in self.pods.values() {
            let wanted = match &pod.owner {
                Owner::Deployment { id, .. } => self.store.contains(id),
                Owner::Manifest { .. } => self.store.contains(&pod.id()),
            };
            if !wanted {
                steps.end.push(pod.uid.clone());
            }
        }
        steps
    }

    fn make(&mut self, wanted: Wanted, now: &str) -> Option<String> {
        let about = match &wanted.owner {
            Owner::Deployment { id, .. } => format!("scheduling of {id}"),
            Owner::Manifest { .. } => format!("scheduling of Pod {}/{:?}", wanted.namespace, wanted.name),
        };
        let placed =
            pods::node_for(&wanted.spec, &wanted.owner, self.nodes, self.pods.values()).and_then(|node| {
                Ok((node, self.free_host(node).ok_or(format!("node-{node} has no address left"))?))
            });
        let (node, host) = match placed {
            Ok(placed) => placed,
            Err(why) => {
                self.set_problem(about, Some(why));
                return None;
            }
        };
        self.set_problem(about, None);
        self.last_host.insert(node, host);
        let mut spec = wanted.spec;
        spec["nodeName"] = json!(node_name(node));
        if spec["serviceAccountName"].is_null() {
            spec["serviceAccountName"] = json!("default");
        }
        let uid = stamps::new_uid();
        let name = match wanted.name {
            Name::Whole(name) => name,
            Name::Prefix(prefix) => format!("{prefix}-{}", stamps::suffix()),
        };
        let pod = Pod {
            uid: uid.clone(),
            namespace: wanted.namespace,
            name,
            node,
            address: self.plan.pod(node, host),
            owner: wanted.owner,
            metadata: wanted.metadata,
            spec,
            created: now.to_owned(),
            phase: Phase::Pending,
            ready: false,
            restarts: BTreeMap::new(),
            message: None,
            deletion: None,
        };
        self.pods.insert(uid.clone(), pod);
        Some(uid)
    }

    fn free_host(&self, node: u8) -> Option<u8> {
        let last = self.last_host.get(&node).copied().unwrap_or(1);
        let taken: BTreeSet<u8> =
            self.pods.values().filter(|pod| pod.node == node).map(|pod| pod.address.v4.octets()[3]).collect();
        (last.saturating_add(1)..=LAST_POD).chain(2..=last.min(LAST_POD)).find(|host| !taken.contains(host))
    }

    /// Kinds that make pods in a cluster and not here are passed on like any other, which nobody would notice.
    fn note_what_does_not_run(&mut self) {
        const PREFIX: &str = "not run: ";
        self.problems.retain(|about, _| !about.starts_with(PREFIX));
        let kinds = ["StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob"];
        let found = self.store.objects().filter(|(id, _)| {
            matches!(id.group.as_str(), "apps" | "batch") && kinds.contains(&id.kind.as_str())
        });
        let notes: Vec<String> = found.map(|(id, _)| format!("{PREFIX}{id}")).collect();
        for note in notes {
            self.problems.insert(note, "the lab runs Deployments and Pods only".to_owned());
        }
    }

    fn add_namespaces(&self, objects: &mut BTreeMap<ObjectId, Value>) {
        let used: BTreeSet<String> = objects.keys().filter_map(|id| id.namespace.clone()).collect();
        for name in used.into_iter().chain(["default".to_owned()]) {
            objects.entry(ObjectId::cluster_scoped("", "Namespace", &name)).or_insert_with(
                || json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
            );
        }
        for (id, namespace) in objects.iter_mut().filter(|(id, _)| id.is("", "Namespace")) {
            namespace["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(id.name);
            namespace["status"]["phase"] = json!("Active");
        }
    }

    fn add_nodes(&self, objects: &mut BTreeMap<ObjectId, Value>) {
        for node in 1..=self.nodes {
            let name = node_name(node);
            let address = self.plan.node(node);
            let value = json!({
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
                "spec": {
                    "podCIDR": self.plan.pods4(node),
                    "podCIDRs": [self.plan.pods4(node).to_string(), self.plan.pods6(node).to_string()],
                },
                "status": {
                    "addresses": [
                        {"type": "InternalIP", "address": address.v4},
                        {"type": "InternalIP", "address": address.v6},
                        {"type": "Hostname", "address": name},
                    ],
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            });
            objects.insert(ObjectId::cluster_scoped("", "Node", &name), value);
        }
    }

    fn add_deployment_statuses(&self, objects: &mut BTreeMap<ObjectId, Value>) {
        for (id, value) in objects.iter_mut().filter(|(id, _)| id.is("apps", "Deployment")) {
            let current = pods::template_hash(&value["spec"]["template"]);
            let (mut all, mut ready, mut updated) = (0, 0, 0);
            for pod in self.pods.values().filter(|pod| !pod.is_terminating()) {
                let Owner::Deployment { id: owner, template, .. } = &pod.owner else { continue };
                if owner == id {
                    all += 1;
                    ready += u32::from(pod.ready);
                    updated += u32::from(*template == current);
                }
            }
            let status = child(value, "status");
            for (key, count) in [
                ("replicas", all),
                ("readyReplicas", ready),
                ("availableReplicas", ready),
                ("updatedReplicas", updated),
            ] {
                status.insert(key.to_owned(), json!(count));
            }
        }
    }
}

fn joined(objects: &BTreeMap<ObjectId, Value>) -> Vec<backends::Service> {
    let of = |group: &str, kind: &str| {
        objects.iter().filter(move |(id, _)| id.is(group, kind)).map(|(_, v)| v).collect()
    };
    let (services, slices): (Vec<&Value>, Vec<&Value>) =
        (of("", "Service"), of("discovery.k8s.io", "EndpointSlice"));
    let services: Vec<core::Service> =
        services.into_iter().filter_map(|service| read(service).ok()).collect();
    let slices: Vec<EndpointSlice> = slices.into_iter().filter_map(|slice| read(slice).ok()).collect();
    backends::join(&services, &slices)
}
