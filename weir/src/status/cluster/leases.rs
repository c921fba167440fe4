//! What the replicas of mesh-operator say in their Leases: who leads, and which nodes are connected.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::coordination::v1::Lease;
use serde::Deserialize;

use super::programs::{self, Programs};
use crate::operator::{Rejected, Session};

/// The Lease that one replica leads by.
const LEADER: &str = "weir-operator";
/// On each replica's own Lease; see `mesh-operator`.
const REPLICA_LABEL: &str = "weir.dev/replica-of";
const NODES_ANNOTATION: &str = "weir.dev/nodes";

#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) sessions: Vec<Session>,
    /// Whether every replica that serves nodes has said which.
    pub(super) complete: bool,
    /// The pod of the replica that writes.
    pub(super) leader: Option<String>,
}

/// A replica's nodes, as its annotation has them.
#[derive(Debug, Default, Deserialize)]
struct Nodes {
    /// By the version that they acknowledged last; it is empty where there is none.
    acknowledged: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    rejected: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default)]
    behind: BTreeSet<String>,
}

/// Leases of replicas whose pods are gone say nothing any more: they stay for a while, and this machine's clock may not
/// be the cluster's. Of a pod's replicas the last to renew its Lease is the one that runs.
pub(super) fn read(leases: Option<&[Lease]>, programs: Option<&Programs>) -> Told {
    let Some(leases) = leases else { return Told::default() };
    let runs = |pod: &str| {
        programs.is_none_or(|programs| programs.operators.iter().any(|known| programs::name(known) == pod))
    };
    let leader = leases.iter().find(|lease| lease.metadata.name.as_deref() == Some(LEADER));
    let leader = leader.and_then(pod).filter(|pod| runs(pod)).map(str::to_owned);

    let mut replicas: BTreeMap<&str, &Lease> = BTreeMap::new();
    for lease in leases.iter().filter(|lease| is_replica(lease)) {
        let Some(pod) = pod(lease).filter(|pod| runs(pod)) else { continue };
        if replicas.get(pod).is_none_or(|other| renewed(other) < renewed(lease)) {
            replicas.insert(pod, lease);
        }
    }
    let mut by_age: Vec<&Lease> = replicas.values().copied().collect();
    by_age.sort_by_key(|lease| renewed(lease));
    let mut complete = leader.as_deref().is_some_and(|leader| replicas.contains_key(leader));
    complete &= programs
        .iter()
        .flat_map(|programs| &programs.operators)
        .all(|pod| !programs::is_ready(pod) || replicas.contains_key(programs::name(pod)));
    let mut sessions = Vec::new();
    for lease in by_age {
        let annotation = lease.metadata.annotations.as_ref().and_then(|all| all.get(NODES_ANNOTATION));
        match annotation.and_then(|text| serde_json::from_str::<Nodes>(text).ok()) {
            Some(nodes) => sessions.extend(nodes.sessions()),
            None => complete = false,
        }
    }
    Told { sessions, complete, leader }
}

impl Nodes {
    fn sessions(mut self) -> Vec<Session> {
        let mut sessions = Vec::new();
        for (version, nodes) in self.acknowledged {
            for node in nodes {
                let rejected = self.rejected.remove(&node).unwrap_or_default().into_iter();
                sessions.push(Session {
                    address: None,
                    acknowledged_version: (!version.is_empty()).then(|| version.clone()),
                    up_to_date: !version.is_empty() && !self.behind.contains(&node),
                    rejected: rejected.map(|(resource, message)| Rejected { resource, message }).collect(),
                    node: Some(node),
                });
            }
        }
        sessions
    }
}

fn is_replica(lease: &Lease) -> bool {
    lease.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(REPLICA_LABEL))
}

/// The holder is called after its pod, and what tells one process there from the one before it.
fn pod(lease: &Lease) -> Option<&str> {
    let holder = lease.spec.as_ref()?.holder_identity.as_deref()?;
    holder.rsplit_once('-').map(|(pod, _)| pod)
}

fn renewed(lease: &Lease) -> Option<k8s_openapi::jiff::Timestamp> {
    Some(lease.spec.as_ref()?.renew_time.as_ref()?.0)
}
