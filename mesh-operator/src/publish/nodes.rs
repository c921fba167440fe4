//! The nodes that are connected, and what they acknowledged and refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mesh_ir::resource::ResourceKey;
use mesh_wire::OperatorSession;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

/// What one session has come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeState {
    /// The name in the node's Hello; `None` until it has come.
    node: Option<String>,
    address: SocketAddr,
    program_version: String,
    connected: String,
    /// Of the last configuration that it acknowledged, in hexadecimal.
    acknowledged_version: Option<String>,
    /// Whether that is the newest.
    up_to_date: bool,
    rejected: Vec<Rejected>,
    /// Resources sent, removals included.
    sent: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Rejected {
    resource: String,
    message: String,
}

/// Shared by the sessions, which write, and the admin socket, which reads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nodes(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    sessions: Mutex<Sessions>,
    changed: watch::Sender<()>,
}

/// How far one node has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) node: String,
    pub(crate) version: Option<u64>,
    /// Whether nothing newer is on its way to it.
    pub(crate) up_to_date: bool,
    /// The resources that it refused of that version, and why.
    pub(crate) rejected: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Sessions {
    next: u64,
    connected: BTreeMap<u64, NodeState>,
}

/// A session's entry, which goes when the session does.
#[derive(Debug)]
pub(crate) struct Registration {
    nodes: Nodes,
    id: u64,
}

impl Nodes {
    pub(crate) fn register(&self, address: SocketAddr) -> Registration {
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).expect("zero is a number of nanoseconds");
        let state = NodeState {
            node: None,
            address,
            program_version: String::new(),
            connected: now.format(&Rfc3339).expect("today's year has four digits"),
            acknowledged_version: None,
            up_to_date: false,
            rejected: Vec::new(),
            sent: 0,
        };
        let mut sessions = self.lock();
        let id = sessions.next;
        sessions.next += 1;
        sessions.connected.insert(id, state);
        Registration { nodes: self.clone(), id }
    }

    /// By name, then in the order in which they connected.
    pub(crate) fn list(&self) -> Vec<NodeState> {
        let mut list: Vec<_> = self.lock().connected.values().cloned().collect();
        list.sort_by(|a, b| a.node.cmp(&b.node));
        list
    }

    /// What each connected node has acknowledged, in the order of their names.
    pub(crate) fn acknowledged(&self) -> Vec<Acknowledged> {
        let mut list: Vec<Acknowledged> = self.lock().connected.values().filter_map(acknowledged).collect();
        list.sort_by(|a, b| a.node.cmp(&b.node));
        list
    }

    /// Tells when a node connects, goes, or acknowledges.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.0.changed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        // A panic cannot leave an entry half written, so poisoning means nothing here.
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn acknowledged(state: &NodeState) -> Option<Acknowledged> {
    let version = state.acknowledged_version.as_deref();
    Some(Acknowledged {
        node: state.node.clone()?,
        version: version.and_then(|version| u64::from_str_radix(version, 16).ok()),
        up_to_date: state.up_to_date,
        rejected: state.rejected.iter().map(|r| (r.resource.clone(), r.message.clone())).collect(),
    })
}

impl Registration {
    pub(crate) fn update(&self, session: &OperatorSession) {
        let mut sessions = self.nodes.lock();
        let Some(state) = sessions.connected.get_mut(&self.id) else { return };
        if state.node.is_none()
            && let Some(node) = session.node()
        {
            self.nodes.0.changed.send_replace(());
            state.node = Some(node.to_string());
            state.program_version = session.program_version().into();
        }
        state.up_to_date = session.acknowledged();
        state.sent = session.sent();
        let version = session.acknowledged_version().map(|version| format!("{version:016x}"));
        if state.acknowledged_version != version {
            self.nodes.0.changed.send_replace(());
            state.acknowledged_version = version;
            let rejected = |(key, message): (&ResourceKey, &String)| Rejected {
                resource: key.to_string(),
                message: message.clone(),
            };
            let before = std::mem::take(&mut state.rejected);
            state.rejected = session.rejected().iter().map(rejected).collect();
            for Rejected { resource, message } in state.rejected.iter().filter(|now| !before.contains(now)) {
                tracing::warn!(node = state.node, resource, problem = message, "a node rejected a resource");
            }
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.nodes.lock().connected.remove(&self.id);
        self.nodes.0.changed.send_replace(());
    }
}
