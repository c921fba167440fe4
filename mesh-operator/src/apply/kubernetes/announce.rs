//! Which node announces each address that a pool gave: one that is ready and connected. A Service of a Gateway bears its
//! announcer's name as an annotation, so that it outlives the leader, and every replica compiles the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_compile::{ANNOUNCED_BY_ANNOTATION, Kind, Object, ObjectId, Snapshot};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::plan::State;

/// A node whose session ends has so long to come back, to this replica or another.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Announcers {
    announcers: BTreeMap<ObjectId, String>,
    /// When each node was last connected.
    connected: BTreeMap<String, Instant>,
    since: Option<Instant>,
}

impl Announcers {
    /// Gives each Service with addresses of ours its announcer; gives when that may change though nothing else does.
    pub(super) fn update(&mut self, state: &State<'_>) -> Option<Instant> {
        let since = *self.since.get_or_insert(state.now);
        for node in state.nodes {
            match self.connected.get_mut(&node.node) {
                Some(at) => *at = state.now,
                None => _ = self.connected.insert(node.node.clone(), state.now),
            }
        }
        self.connected.retain(|_, at| *at + GRACE > state.now);
        let ready = |node: &str| is_ready(state.snapshot, node);
        let with_addresses: Vec<&ObjectId> = {
            let addresses = state.revision.compiled.addresses.iter();
            addresses.filter(|(_, list)| !list.is_empty()).map(|(id, _)| id).collect()
        };
        let nodes = state.nodes.iter().filter(|_| !with_addresses.is_empty());
        let candidates: BTreeSet<&str> = nodes.map(|n| n.node.as_str()).filter(|node| ready(node)).collect();
        let mut announcers: BTreeMap<ObjectId, String> = BTreeMap::new();
        let (mut load, mut homeless) = (BTreeMap::<&str, usize>::new(), Vec::new());
        for id in with_addresses {
            let annotation = || {
                let annotations = &state.live.objects.get(id)?.content["metadata"]["annotations"];
                Some(annotations[ANNOUNCED_BY_ANNOTATION].as_str()?.to_owned())
            };
            let current = self.announcers.get(id).cloned().or_else(annotation);
            let stays =
                |node: &str| ready(node) && (self.connected.contains_key(node) || since + GRACE > state.now);
            match &current {
                Some(node) if stays(node) => {
                    if let Some(node) = candidates.get(node.as_str()) {
                        *load.entry(node).or_default() += 1;
                    }
                }
                _ => homeless.push(id),
            }
            // Without anybody to take it over it stays where it was.
            announcers.extend(current.map(|node| (id.clone(), node)));
        }
        for id in homeless {
            let least =
                candidates.iter().min_by_key(|node| (load.get(*node).copied().unwrap_or_default(), **node));
            let Some(node) = least else { continue };
            *load.entry(node).or_default() += 1;
            let before = announcers.insert(id.clone(), (*node).to_owned());
            tracing::info!(service = %id, node, before, "a node is to announce the addresses of a Gateway");
        }
        let is_gone = |node: &&String| !state.nodes.iter().any(|n| n.node == **node);
        let ends = announcers.values().filter(is_gone).filter_map(|node| self.connected.get(node));
        let wake = ends.map(|at| *at + GRACE).chain([since + GRACE]).filter(|at| *at > state.now).min();
        self.announcers = announcers;
        wake
    }

    /// Enters the announcer into what a Service is to be.
    pub(super) fn annotate(&self, id: &ObjectId, body: &mut Value) {
        if let Some(node) = self.announcers.get(id) {
            body["metadata"]["annotations"][ANNOUNCED_BY_ANNOTATION] = json!(node);
        }
    }
}

fn is_ready(snapshot: &Snapshot, name: &str) -> bool {
    let id = ObjectId { kind: Kind::Node, namespace: None, name: name.into() };
    let Some(Object::Node(node)) = snapshot.get(&id) else { return false };
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.all(|condition| condition.type_ != "Ready" || condition.status == "True")
}
