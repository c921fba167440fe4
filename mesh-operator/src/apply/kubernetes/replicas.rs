//! What the replicas tell each other of the nodes that are connected to them. Nodes connect to any replica; the leader
//! must know of all of them before it says that a Gateway is programmed, and which node can announce an address.
//!
//! Each replica has a Lease of its own, which it renews while it lives, with its nodes in an annotation. The leader has
//! one too: `weir status` reads there of all nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use mesh_compile::MANAGER;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster;
use crate::publish::nodes::{Acknowledged, Nodes};

const LABEL: &str = "weir.dev/replica-of";
const LABEL_VALUE: &str = "mesh-operator";
const NODES_ANNOTATION: &str = "weir.dev/nodes";

const RENEW: Duration = Duration::from_secs(5);
/// A replica that did not renew its Lease for so long is gone.
const LIFE: Duration = Duration::from_secs(15);
/// Its Lease is removed after so long.
const REMOVE: Duration = Duration::from_secs(60);
/// No more than one renewal in so long, however often nodes acknowledge.
const SPACING: Duration = Duration::from_millis(300);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(2);

/// The API server takes no more than 256 KiB of annotations; the names of 8,000 nodes fit, as a rule.
const MAX_NODES: usize = 8_000;
const MAX_REJECTED: usize = 100;

pub(super) struct Replica {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) identity: String,
    pub(super) nodes: Nodes,
    pub(super) leading: watch::Receiver<bool>,
}

/// The nodes of a replica, as the annotation has them.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Told {
    /// Nodes by the version that they acknowledged last, in hexadecimal; empty where there is none.
    acknowledged: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    rejected: BTreeMap<String, BTreeMap<String, String>>,
    /// Those of them to which something newer is on its way.
    #[serde(default)]
    behind: BTreeSet<String>,
}

/// Another replica's Lease.
struct Other {
    told: Vec<Acknowledged>,
    renewed: Instant,
}

impl Replica {
    /// Tells of this replica's nodes, and gathers the others', until `ending`.
    pub(super) async fn run(
        self,
        others: watch::Sender<Vec<Acknowledged>>,
        mut ending: watch::Receiver<bool>,
    ) {
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), &self.namespace);
        let name = format!("weir-operator-{}", self.identity);
        let ended = async { _ = ending.wait_for(|ending| *ending).await };
        tokio::select! {
            never = self.tell(&leases, &name) => match never {},
            () = gather(&leases, &name, self.leading.clone(), others) => {}
            () = ended => {}
        }
        _ = tokio::time::timeout(REQUEST_TIMEOUT, leases.delete(&name, &DeleteParams::default())).await;
    }

    async fn tell(&self, leases: &Api<Lease>, name: &str) -> Infallible {
        let mut changes = self.nodes.changes();
        let mut said: Option<String> = None;
        loop {
            changes.mark_unchanged();
            let told = Told::new(&self.nodes.acknowledged());
            let problem = self.renew(leases, name, &told).await.err();
            if problem != said {
                if let Some(problem) = &problem {
                    tracing::warn!(
                        lease = name,
                        problem,
                        "cannot tell other replicas of connected nodes; trying again"
                    );
                }
                said = problem;
            }
            tokio::time::sleep(SPACING).await;
            let pause = if said.is_some() { RETRY } else { RENEW };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = changes.changed(), if said.is_none() => {}
            }
        }
    }

    async fn renew(&self, leases: &Api<Lease>, name: &str, told: &Told) -> Result<(), String> {
        let body = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": name,
                "labels": { LABEL: LABEL_VALUE, "app.kubernetes.io/managed-by": MANAGER },
                "annotations": { NODES_ANNOTATION: serde_json::to_string(told).unwrap_or_default() },
            },
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": LIFE.as_secs(),
                "renewTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(Timestamp::now()),
            },
        });
        let params = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&body);
        match tokio::time::timeout(REQUEST_TIMEOUT, leases.patch(name, &params, &patch)).await {
            Ok(result) => result.map(|_| ()).map_err(|error| cluster::problem(&error)),
            Err(_) => Err(format!("no answer in {REQUEST_TIMEOUT:?}")),
        }
    }
}

/// Follows the Leases of the other replicas. The leader removes those of replicas that are long gone.
async fn gather(
    leases: &Api<Lease>,
    own: &str,
    leading: watch::Receiver<bool>,
    others: watch::Sender<Vec<Acknowledged>>,
) {
    let config = watcher::Config::default().labels(&format!("{LABEL}={LABEL_VALUE}")).timeout(60);
    let mut events = pin!(watcher::watcher(leases.clone(), config));
    let mut known: BTreeMap<String, Other> = BTreeMap::new();
    let mut listed: Vec<String> = Vec::new();
    loop {
        tokio::select! {
            Some(event) = events.next() => match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitDone) => known.retain(|name, _| listed.contains(name)),
                Ok(Event::InitApply(lease)) => {
                    listed.extend(lease.metadata.name.clone());
                    see(&mut known, lease, own);
                }
                Ok(Event::Apply(lease)) => see(&mut known, lease, own),
                Ok(Event::Delete(lease)) => _ = known.remove(&lease.metadata.name.unwrap_or_default()),
                // The sources of what is compiled say that the API server cannot be reached.
                Err(_) => tokio::time::sleep(RETRY).await,
            },
            () = tokio::time::sleep(RENEW) => {}
        }
        let alive = known.values().filter(|other| other.renewed.elapsed() < LIFE);
        let mut nodes: Vec<Acknowledged> = alive.flat_map(|other| other.told.iter().cloned()).collect();
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        others.send_if_modified(|before| {
            let differs = *before != nodes;
            *before = nodes;
            differs
        });
        let gone = known.iter().filter(|(_, other)| other.renewed.elapsed() > REMOVE);
        if *leading.borrow()
            && let Some(name) = gone.map(|(name, _)| name.clone()).next()
        {
            known.remove(&name);
            _ = tokio::time::timeout(REQUEST_TIMEOUT, leases.delete(&name, &DeleteParams::default())).await;
        }
    }
}

fn see(known: &mut BTreeMap<String, Other>, lease: Lease, own: &str) {
    let name = lease.metadata.name.unwrap_or_default();
    if name == own {
        return;
    }
    let annotations = lease.metadata.annotations.unwrap_or_default();
    let told: Option<Told> =
        annotations.get(NODES_ANNOTATION).and_then(|text| serde_json::from_str(text).ok());
    let told = told.unwrap_or_default().acknowledged();
    known.insert(name, Other { told, renewed: Instant::now() });
}

impl Told {
    fn new(nodes: &[Acknowledged]) -> Self {
        let mut told = Self::default();
        for node in nodes.iter().take(MAX_NODES) {
            let version = node.version.map(|version| format!("{version:016x}")).unwrap_or_default();
            told.acknowledged.entry(version).or_default().push(node.node.clone());
            if !node.up_to_date {
                told.behind.insert(node.node.clone());
            }
            if !node.rejected.is_empty() && told.rejected.len() < MAX_REJECTED {
                let some = node.rejected.iter().take(MAX_REJECTED);
                let shortened = some.map(|(key, problem)| (key.clone(), problem.chars().take(200).collect()));
                told.rejected.insert(node.node.clone(), shortened.collect());
            }
        }
        told
    }

    fn acknowledged(mut self) -> Vec<Acknowledged> {
        let mut nodes = Vec::new();
        for (version, names) in self.acknowledged {
            for node in names {
                let rejected = self.rejected.remove(&node).unwrap_or_default();
                let version = u64::from_str_radix(&version, 16).ok();
                let up_to_date = !self.behind.contains(&node);
                nodes.push(Acknowledged { version, up_to_date, rejected, node });
            }
        }
        nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_tell_what_their_nodes_acknowledged_and_refused() {
        let node = |name: &str, version: Option<u64>| Acknowledged {
            node: name.into(),
            version,
            up_to_date: version.is_some(),
            rejected: BTreeMap::new(),
        };
        let mut refusing = node("c", Some(0xabc));
        refusing.rejected.insert("Gateway a/b".into(), "why".into());
        let nodes = vec![node("a", None), node("b", Some(0xabc)), refusing];
        let text = serde_json::to_string(&Told::new(&nodes)).unwrap();
        let told: Told = serde_json::from_str(&text).unwrap();
        assert_eq!(told.acknowledged(), nodes);
    }
}
