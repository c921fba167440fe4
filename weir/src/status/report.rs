//! The report: what was gathered, judged.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::condition::{self, Complaint};
use super::meshed::{Meshed, NamespaceState};
use crate::health::Health;
use crate::operator::{ManifestProblem, Rejected, Session, StatusDocument, StatusEntry};

/// What the programs answered, or a cluster's API server knows.
#[derive(Debug)]
pub(super) struct Gathered {
    /// Which mesh it is of.
    pub(super) mesh: String,
    pub(super) programs: Vec<ProgramState>,
    pub(super) document: StatusDocument,
    /// Those of the nodes, as far as they are known.
    pub(super) sessions: Vec<Session>,
    /// Whether a node without a session is not connected.
    pub(super) all_sessions: bool,
    /// Every node that is known, and its own answer where it can be asked.
    pub(super) nodes: Vec<(String, Option<Health>)>,
    /// None where it cannot be known.
    pub(super) meshed: Option<Meshed>,
    /// What could not be seen, and why.
    pub(super) unseen: Vec<String>,
}

/// As `-o json` gives it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) mesh: String,
    pub(super) healthy: bool,
    pub(super) programs: Vec<ProgramState>,
    pub(super) nodes: Vec<NodeState>,
    pub(super) namespaces: Vec<NamespaceState>,
    pub(super) gateways: Vec<GatewayState>,
    /// Objects that have a status, by their kinds.
    pub(super) objects: BTreeMap<String, Objects>,
    pub(super) complaints: Vec<Complaint>,
    pub(super) problems: Vec<ManifestProblem>,
    pub(super) unseen: Vec<String>,
}

/// A program of the mesh but mesh-node, or one replica of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProgramState {
    pub(super) name: String,
    /// Whether it is the one that writes statuses.
    pub(super) leads: bool,
    /// What keeps it from serving.
    pub(super) problem: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeState {
    pub(super) name: String,
    /// None where it cannot be known.
    pub(super) connected: Option<bool>,
    pub(super) up_to_date: bool,
    pub(super) acknowledged_version: Option<String>,
    pub(super) captured_pods: Option<u64>,
    /// Its pods that are in the mesh, as far as they are known.
    pub(super) meshed_pods: Option<u64>,
    /// What keeps it from serving, as it says itself.
    pub(super) problem: Option<String>,
    pub(super) rejected: Vec<Rejected>,
}

#[derive(Debug, Serialize)]
pub(super) struct GatewayState {
    /// `bookinfo/bookinfo`.
    pub(super) name: String,
    pub(super) addresses: Vec<String>,
    /// The status of that condition: `True`, `False` or `Unknown`.
    pub(super) programmed: String,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Objects {
    pub(super) all: usize,
    pub(super) troubled: usize,
}

impl Report {
    pub(super) fn new(gathered: Gathered) -> Self {
        let Gathered { mesh, programs, document, sessions, all_sessions, nodes, meshed, unseen } = gathered;
        // Those that have not said their name yet are no node that anybody knows.
        let unnamed = sessions.iter().filter(|session| session.node.is_none()).map(NodeState::unnamed);
        let named = nodes.into_iter().map(|(name, answer)| {
            let mut node = NodeState::new(name, answer, &sessions, all_sessions);
            let pods = meshed.as_ref().map(|meshed| meshed.by_node.get(&node.name).copied());
            node.meshed_pods = pods.map(Option::unwrap_or_default);
            node
        });
        let nodes: Vec<NodeState> = named.chain(unnamed).collect();
        let mut objects: BTreeMap<String, Objects> = BTreeMap::new();
        let mut complaints: Vec<Complaint> = Vec::new();
        for entry in &document.objects {
            let found = condition::complaints(entry);
            let objects = objects.entry(entry.kind.clone()).or_default();
            objects.all += 1;
            objects.troubled += usize::from(!found.is_empty());
            complaints.extend(found);
        }
        let healthy = programs.iter().all(|program| program.problem.is_none())
            && nodes.iter().all(NodeState::is_healthy)
            && complaints.is_empty()
            && document.problems.is_empty();
        let gateways = document.objects.iter().filter(|entry| entry.kind == "Gateway");
        Self {
            mesh,
            healthy,
            programs,
            nodes,
            namespaces: meshed.map(|meshed| meshed.namespaces).unwrap_or_default(),
            gateways: gateways.map(GatewayState::new).collect(),
            objects,
            complaints,
            problems: document.problems,
            unseen,
        }
    }

    /// The objects that something is wrong with.
    pub(super) fn troubled(&self) -> BTreeSet<&str> {
        self.complaints.iter().map(|complaint| complaint.object.as_str()).collect()
    }
}

impl GatewayState {
    fn new(entry: &StatusEntry) -> Self {
        let list = |field: &str| entry.status[field].as_array().map(Vec::as_slice).unwrap_or_default();
        let programmed = list("conditions").iter().find(|condition| condition["type"] == "Programmed");
        let addresses = list("addresses").iter().filter_map(|address| address["value"].as_str());
        Self {
            name: format!("{}/{}", entry.namespace.as_deref().unwrap_or_default(), entry.name),
            addresses: addresses.map(str::to_owned).collect(),
            programmed: programmed.and_then(|c| c["status"].as_str()).unwrap_or("Unknown").to_owned(),
        }
    }
}

impl NodeState {
    fn new(name: String, answer: Option<Health>, sessions: &[Session], all_sessions: bool) -> Self {
        // A node that reconnects has two sessions until the old one's end is noticed.
        let session = sessions.iter().rfind(|session| session.node.as_ref() == Some(&name));
        let Health { unready: problem, captured_pods } = answer.unwrap_or_default();
        Self {
            connected: (session.is_some() || all_sessions).then_some(session.is_some()),
            up_to_date: session.is_some_and(|session| session.up_to_date),
            acknowledged_version: session.and_then(|session| session.acknowledged_version.clone()),
            rejected: session.map(|session| session.rejected.clone()).unwrap_or_default(),
            captured_pods,
            meshed_pods: None,
            problem,
            name,
        }
    }

    fn unnamed(session: &Session) -> Self {
        let at = session.address.map(|address| format!(" at {address}")).unwrap_or_default();
        Self {
            name: format!("a node{at}"),
            connected: Some(true),
            up_to_date: false,
            acknowledged_version: None,
            captured_pods: None,
            meshed_pods: None,
            problem: Some("it has not said its name yet".into()),
            rejected: Vec::new(),
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        let served = self.connected.is_none_or(|connected| connected && self.up_to_date);
        served && self.problem.is_none() && self.rejected.is_empty()
    }
}
