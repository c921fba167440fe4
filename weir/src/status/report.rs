//! The report: what was gathered, judged.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;

use super::condition::{self, Complaint};
use crate::operator::{ManifestProblem, Rejected, Session, StatusDocument};

/// What the programs answered.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) operator: PathBuf,
    /// What keeps the operator from serving.
    pub(super) unready: Option<String>,
    pub(super) document: StatusDocument,
    pub(super) sessions: Vec<Session>,
    /// Every node that is known, and its own answer where it can be asked.
    pub(super) nodes: Vec<(String, Option<NodeAnswer>)>,
}

#[derive(Clone, Debug)]
pub(super) struct NodeAnswer {
    pub(super) unready: Option<String>,
    pub(super) captured_pods: Option<u64>,
}

/// As `-o json` gives it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) healthy: bool,
    pub(super) operator: OperatorState,
    pub(super) nodes: Vec<NodeState>,
    /// Objects that have a status.
    pub(super) objects: usize,
    pub(super) complaints: Vec<Complaint>,
    pub(super) problems: Vec<ManifestProblem>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OperatorState {
    pub(super) socket: PathBuf,
    pub(super) problem: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeState {
    pub(super) name: String,
    pub(super) connected: bool,
    pub(super) up_to_date: bool,
    pub(super) acknowledged_version: Option<String>,
    pub(super) captured_pods: Option<u64>,
    /// What keeps it from serving, as it says itself.
    pub(super) problem: Option<String>,
    pub(super) rejected: Vec<Rejected>,
}

impl Report {
    pub(super) fn new(gathered: Gathered) -> Self {
        let Gathered { operator, unready, document, sessions, nodes } = gathered;
        // Those that have not said their name yet are no node that anybody knows.
        let unnamed = sessions.iter().filter(|session| session.node.is_none()).map(NodeState::unnamed);
        let named = nodes.into_iter().map(|(name, answer)| NodeState::new(name, answer, &sessions));
        let nodes: Vec<NodeState> = named.chain(unnamed).collect();
        let complaints: Vec<Complaint> = document.objects.iter().flat_map(condition::complaints).collect();
        let operator = OperatorState { socket: operator, problem: unready };
        let healthy = operator.problem.is_none()
            && nodes.iter().all(NodeState::is_healthy)
            && complaints.is_empty()
            && document.problems.is_empty();
        Self {
            healthy,
            operator,
            nodes,
            objects: document.objects.len(),
            complaints,
            problems: document.problems,
        }
    }

    /// The objects that something is wrong with.
    pub(super) fn troubled(&self) -> BTreeSet<&str> {
        self.complaints.iter().map(|complaint| complaint.object.as_str()).collect()
    }
}

impl NodeState {
    fn new(name: String, answer: Option<NodeAnswer>, sessions: &[Session]) -> Self {
        // A node that reconnects has two sessions until the old one's end is noticed.
        let session = sessions.iter().rfind(|session| session.node.as_ref() == Some(&name));
        let (problem, captured_pods) = answer.map_or((None, None), |a| (a.unready, a.captured_pods));
        Self {
            connected: session.is_some(),
            up_to_date: session.is_some_and(|session| session.up_to_date),
            acknowledged_version: session.and_then(|session| session.acknowledged_version.clone()),
            rejected: session.map(|session| session.rejected.clone()).unwrap_or_default(),
            captured_pods,
            problem,
            name,
        }
    }

    fn unnamed(session: &Session) -> Self {
        Self {
            name: format!("a node at {}", session.address),
            connected: true,
            up_to_date: false,
            acknowledged_version: None,
            captured_pods: None,
            problem: Some("it has not said its name yet".into()),
            rejected: Vec::new(),
        }
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.connected && self.up_to_date && self.problem.is_none() && self.rejected.is_empty()
    }
}
