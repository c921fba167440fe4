//! What is gathered from a cluster's API server. What the caller may not see is said in the report, which has the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use mesh_compile::{Kind, Object, Settings, Snapshot};
use mesh_ir::name::TrustDomain;
use mesh_ir::resource::{Mode, SameNode};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use super::NODE_PATIENCE;
use super::meshed::{self, Meshed};
use super::report::{Gathered, ProgramState};
use crate::cluster::{PodError, ask_health, list, problem};
use crate::health::Health;
use crate::operator::StatusDocument;
use programs::Programs;

mod leases;
mod objects;
mod programs;

/// Nodes asked at once.
const AT_ONCE: usize = 16;

/// The API server does not answer, or does not know the caller.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask the cluster: {0}")]
pub(super) struct Unreachable(String);

pub(super) async fn gather(client: &Client, namespace: &str) -> Result<Gathered, Unreachable> {
    let mut reader = Reader { client, unseen: Vec::new() };
    let pods =
        reader.list(Api::namespaced(client.clone(), namespace), "app.kubernetes.io/part-of=weir").await?;
    let programs = pods.map(Programs::new);
    let leases: Option<Vec<Lease>> = reader.list(Api::namespaced(client.clone(), namespace), "").await?;
    let told = leases::read(leases.as_deref(), programs.as_ref());
    let objects = reader.objects().await?;
    let meshed = reader.meshed().await?;

    let mut names: BTreeSet<String> =
        told.sessions.iter().filter_map(|session| session.node.clone()).collect();
    names.extend(meshed.iter().flat_map(|meshed| meshed.by_node.keys().cloned()));
    let mut states = Vec::new();
    let mut answers = BTreeMap::new();
    match &programs {
        Some(programs) => {
            names.extend(programs.nodes.keys().cloned());
            answers = reader.ask_nodes(namespace, programs).await;
            for (pod, mut state) in programs.states(namespace, told.leader.as_deref()) {
                if state.problem.is_some()
                    && let Some(pod) = pod
                    && let Ok(Health { unready: Some(reason), .. }) =
                        ask_health(client, (namespace, pod), NODE_PATIENCE).await
                {
                    state.problem = Some(reason);
                }
                states.push(state);
            }
            if let (Some(_), None, false) = (&leases, &told.leader, programs.operators.is_empty()) {
                let problem = "no replica leads: no status is written, no Gateway gets an address".to_owned();
                states.push(ProgramState {
                    name: "mesh-operator".into(),
                    leads: false,
                    problem: Some(problem),
                });
            }
        }
        None => {
            let leader = told.leader.iter();
            states.extend(leader.map(|name| ProgramState { name: name.clone(), leads: true, problem: None }));
        }
    }
    let missing = || Health { unready: Some("no mesh-node runs on it".into()), captured_pods: None };
    let nodes = names.into_iter().map(|name| {
        let answer = answers.remove(&name).or_else(|| programs.is_some().then(missing));
        (name, answer)
    });
    Ok(Gathered {
        mesh: format!("cluster, Weir in namespace {namespace}"),
        programs: states,
        document: StatusDocument { objects, problems: Vec::new() },
        all_sessions: told.complete,
        nodes: nodes.collect(),
        sessions: told.sessions,
        meshed,
        unseen: reader.unseen,
    })
}

struct Reader<'c> {
    client: &'c Client,
    unseen: Vec<String>,
}

impl Reader<'_> {
    /// None where the caller may not see them; none of them where the cluster does not have the kind.
    async fn list<K>(&mut self, api: Api<K>, labels: &str) -> Result<Option<Vec<K>>, Unreachable>
    where
        K: Clone + Debug + DeserializeOwned,
    {
        match list(&api, ListParams::default().labels(labels)).await {
            Ok(all) => Ok(Some(all)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Some(Vec::new())),
            Err(kube::Error::Api(status)) if status.code != 401 => {
                self.unseen.push(status.message.clone());
                Ok(None)
            }
            Err(error) => Err(Unreachable(problem(&error))),
        }
    }

    /// The objects that Weir writes statuses of, with Weir's part of them.
    async fn objects(&mut self) -> Result<Vec<crate::operator::StatusEntry>, Unreachable> {
        let mut lists = Vec::new();
        for kind in objects::kinds() {
            let gvk = GroupVersionKind::gvk(kind.group(), kind.versions()[0], kind.as_str());
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &ApiResource::from_gvk(&gvk));
            lists.push((kind, self.list(api, "").await?));
        }
        Ok(objects::ours(lists))
    }

    /// The compiler says which pods are in the mesh.
    async fn meshed(&mut self) -> Result<Option<Meshed>, Unreachable> {
        let namespaces: Option<Vec<Namespace>> = self.list(Api::all(self.client.clone()), "").await?;
        let pods: Option<Vec<Pod>> = self.list(Api::all(self.client.clone()), "").await?;
        let (Some(namespaces), Some(pods)) = (namespaces, pods) else { return Ok(None) };
        Ok(Some(meshed(namespaces, pods)))
    }

    /// What each node's mesh-node says of itself; what its pod says of it where it may not be asked.
    async fn ask_nodes(&mut self, namespace: &str, programs: &Programs) -> BTreeMap<String, Health> {
        let told = |pod: &Pod| Health { unready: programs::problem(pod), captured_pods: None };
        let mut answers: BTreeMap<String, Health> =
            programs.nodes.iter().map(|(node, pod)| (node.clone(), told(pod))).collect();
        let pods: Vec<(&String, String)> =
            programs.nodes.iter().map(|(node, pod)| (node, programs::name(pod).to_owned())).collect();
        let mut failed: Vec<(String, PodError)> = Vec::new();
        for some in pods.chunks(AT_ONCE) {
            let mut asking = JoinSet::new();
            for (node, pod) in some {
                let (client, namespace, node) = (self.client.clone(), namespace.to_owned(), (*node).clone());
                let pod = pod.clone();
                asking.spawn(
                    async move { (node, ask_health(&client, (&namespace, &pod), NODE_PATIENCE).await) },
                );
            }
            for (node, answer) in asking.join_all().await {
                match answer {
                    Ok(answer) => _ = answers.insert(node, answer),
                    Err(error) => failed.push((node, error)),
                }
            }
            if failed.iter().any(|(_, error)| matches!(error, PodError::Refused { code: 403, .. })) {
                break;
            }
        }
        failed.sort_by(|(a, _), (b, _)| a.cmp(b));
        if let Some((node, error)) = failed.first() {
            let more = match failed.len() {
                1 => String::new(),
                all => format!(" (and {} more)", all - 1),
            };
            self.unseen.push(format!("cannot ask mesh-node on {node}{more} itself: {error}"));
        }
        answers
    }
}

fn meshed(namespaces: Vec<Namespace>, pods: Vec<Pod>) -> Meshed {
    let mut snapshot = Snapshot::default();
    let pods =
        pods.iter().filter_map(|pod| Object::from_json(Kind::Pod, &serde_json::to_value(pod).ok()?).ok());
    for object in namespaces.into_iter().map(Object::from).chain(pods) {
        snapshot.insert(object);
    }
    // Neither the trust domain nor the way within a node decides who is in the mesh.
    let settings = Settings {
        trust_domain: TrustDomain::new("cluster.local").expect("it is a DNS name"),
        default_mode: Mode::default(),
        same_node: SameNode::default(),
    };
    meshed::count(&mesh_compile::compile(&snapshot, &settings).config)
}

#[cfg(test)]
mod tests;
