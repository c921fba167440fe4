//! What the watches have told so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::core::DynamicObject;
use mesh_compile::{Kind, ObjectId, Snapshot};
use tokio::sync::Notify;

use super::{LiveState, strip};
use crate::watch::{FileProblem, Observed};

#[derive(Debug)]
pub(super) struct Store {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    snapshot: Snapshot,
    live: LiveState,
    /// Objects that cannot be read; what they were before still applies.
    unreadable: BTreeMap<ObjectId, FileProblem>,
    kinds: BTreeMap<Kind, Listed>,
    snapshot_changed: bool,
    live_changed: bool,
}

#[derive(Debug, Default)]
struct Listed {
    /// Whether the kind was listed once, or is known not to be there.
    complete: bool,
    known: BTreeSet<ObjectId>,
    /// What the list under way has told; objects that it does not name are gone.
    listing: Option<BTreeSet<ObjectId>>,
    /// Why it cannot be watched at the moment.
    problem: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) observed: Option<Observed>,
    pub(super) live: Option<Arc<LiveState>>,
}

impl Store {
    pub(super) fn new(kinds: &[Kind]) -> Self {
        let state = State {
            snapshot: Snapshot::default(),
            live: LiveState::default(),
            unreadable: BTreeMap::new(),
            kinds: kinds.iter().map(|kind| (*kind, Listed::default())).collect(),
            snapshot_changed: true,
            live_changed: false,
        };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Waits until [`Self::take`] may have something.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What changed since the last time; nothing before every kind was listed.
    pub(super) fn take(&self) -> Taken {
        let mut state = self.lock();
        if !state.kinds.values().all(|kind| kind.complete) {
            return Taken::default();
        }
        let mut taken = Taken::default();
        if std::mem::take(&mut state.snapshot_changed) {
            let problems = state.unreadable.values().cloned().collect();
            taken.observed = Some(Observed { snapshot: Arc::new(state.snapshot.clone()), problems });
        }
        if std::mem::take(&mut state.live_changed) {
            taken.live = Some(Arc::new(state.live.clone()));
        }
        taken
    }

    /// The kinds whose first list is not complete, and what is in the way.
    pub(super) fn missing(&self) -> Option<String> {
        let state = self.lock();
        let waiting = || state.kinds.iter().filter(|(_, listed)| !listed.complete);
        let kinds: Vec<&str> = waiting().map(|(kind, _)| kind.as_str()).collect();
        if kinds.is_empty() {
            return None;
        }
        let problems: BTreeSet<&str> =
            waiting().filter_map(|(_, listed)| listed.problem.as_deref()).collect();
        let why: String = problems.iter().map(|problem| format!("; {problem}")).collect();
        Some(format!("waiting for the first list of {}{why}", kinds.join(", ")))
    }

    pub(super) fn begin_list(&self, kind: Kind) {
        self.lock().kind(kind).listing = Some(BTreeSet::new());
    }

    pub(super) fn end_list(&self, kind: Kind) {
        let mut state = self.lock();
        let listed = state.kind(kind);
        let now = listed.listing.take().unwrap_or_default();
        let gone: Vec<ObjectId> = listed.known.difference(&now).cloned().collect();
        let first = !std::mem::replace(&mut listed.complete, true);
        state.live_changed |= state.live.served.insert(kind);
        for id in gone {
            state.remove(&id);
        }
        if first {
            self.changed.notify_one();
        }
        self.tell(&state);
    }

    /// Takes an object in. One that cannot be read is reported, and stays what it was.
    pub(super) fn insert(&self, kind: Kind, object: DynamicObject) {
        if !strip::matters(kind, &object) {
            return self.remove(kind, &object);
        }
        let stripped = strip::strip(kind, object);
        let mut state = self.lock();
        let id = stripped.id;
        let listed = state.kind(kind);
        listed.known.insert(id.clone());
        if let Some(listing) = &mut listed.listing {
            listing.insert(id.clone());
        }
        match stripped.object {
            Ok(object) => {
                let corrected = state.unreadable.remove(&id).is_some();
                if corrected {
                    tracing::info!(object = %id, "an object that could not be read is corrected");
                }
                state.snapshot_changed |= state.snapshot.insert(object) || corrected;
            }
            Err(error) => {
                let problem = FileProblem::of_read(&id, &error);
                if state.unreadable.get(&id) != Some(&problem) {
                    let FileProblem { field, message, .. } = &problem;
                    tracing::warn!(object = %id, field, problem = message, "an object cannot be read");
                    state.unreadable.insert(id.clone(), problem);
                    state.snapshot_changed = true;
                }
            }
        }
        match stripped.live {
            Some(live) => {
                state.live.objects.insert(id, Arc::new(live));
                state.live_changed = true;
            }
            None => state.live_changed |= state.live.objects.remove(&id).is_some(),
        }
        self.tell(&state);
    }

    pub(super) fn remove(&self, kind: Kind, object: &DynamicObject) {
        let id = strip::id(kind, &object.metadata);
        let mut state = self.lock();
        if let Some(listing) = &mut state.kind(kind).listing {
            listing.remove(&id);
        }
        state.remove(&id);
        self.tell(&state);
    }

    /// The kind is not served: it has no objects.
    pub(super) fn set_missing(&self, kind: Kind) {
        self.begin_list(kind);
        self.end_list(kind);
        let mut state = self.lock();
        state.live_changed |= state.live.served.remove(&kind);
        self.tell(&state);
    }

    /// Whether there are objects of the kind.
    pub(super) fn has(&self, kind: Kind) -> bool {
        !self.lock().kind(kind).known.is_empty()
    }

    /// Takes note of why a kind cannot be watched, or that it can. What is the same for several kinds is said once.
    pub(super) fn set_problem(&self, kind: Kind, problem: Option<String>) {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.kind(kind).problem, problem.clone());
        if before == problem {
            return;
        }
        let others = |problem: &Option<String>| {
            state.kinds.iter().any(|(other, listed)| *other != kind && listed.problem == *problem)
        };
        if let Some(message) = &problem
            && !others(&problem)
        {
            tracing::warn!(kind = kind.as_str(), problem = message, "cannot watch; trying again");
        }
        if before.is_some() && problem.is_none() && !others(&before) {
            tracing::info!(kind = kind.as_str(), before, "watching again");
        }
    }

    fn tell(&self, state: &State) {
        if state.snapshot_changed || state.live_changed {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kind(&mut self, kind: Kind) -> &mut Listed {
        self.kinds.entry(kind).or_default()
    }

    fn remove(&mut self, id: &ObjectId) {
        self.kind(id.kind).known.remove(id);
        let reported = self.unreadable.remove(id).is_some();
        self.snapshot_changed |= self.snapshot.remove(id) || reported;
        self.live_changed |= self.live.objects.remove(id).is_some();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_compile::Object;
    use serde_json::json;

    const KINDS: [Kind; 2] = [Kind::Namespace, Kind::Service];

    fn object(kind: &str, name: &str, rest: serde_json::Value) -> DynamicObject {
        let mut value =
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "resourceVersion": "1"}});
        if kind == "Service" {
            value["metadata"]["namespace"] = json!("shop");
        }
        value.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    fn service(name: &str, port: serde_json::Value) -> DynamicObject {
        object("Service", name, json!({"spec": {"ports": [{"port": port}]}}))
    }

    fn id(kind: Kind, name: &str) -> ObjectId {
        let namespace = (kind == Kind::Service).then(|| "shop".into());
        ObjectId { kind, namespace, name: name.into() }
    }

    /// A store that has been listed whole, and been taken from.
    fn listed(services: &[&str]) -> Store {
        let store = Store::new(&KINDS);
        for kind in KINDS {
            store.begin_list(kind);
            if kind == Kind::Service {
                services.iter().for_each(|name| store.insert(kind, service(name, json!(80))));
            }
            store.end_list(kind);
        }
        assert!(store.take().observed.is_some());
        store
    }

    fn has(observed: &Observed, name: &str) -> bool {
        observed.snapshot.contains(&id(Kind::Service, name))
    }

    #[test]
    fn store_gives_nothing_before_every_kind_was_listed() {
        let store = Store::new(&KINDS);
        store.begin_list(Kind::Service);
        store.insert(Kind::Service, service("cart", json!(80)));
        store.end_list(Kind::Service);
        assert!(store.take().observed.is_none());
        // A kind that the cluster does not serve counts as listed.
        store.set_missing(Kind::Namespace);
        let taken = store.take();
        assert!(has(&taken.observed.unwrap(), "cart"));
        assert!(store.take().observed.is_none(), "nothing has changed since");
        let served = taken.live.unwrap().served.clone();
        assert_eq!(served.into_iter().collect::<Vec<_>>(), [Kind::Service]);
    }

    #[test]
    fn store_drops_what_a_new_list_does_not_name() {
        let store = listed(&["cart", "old"]);
        store.begin_list(Kind::Service);
        store.insert(Kind::Service, service("cart", json!(80)));
        assert!(store.take().observed.is_none(), "nothing is dropped before the list is whole");
        store.end_list(Kind::Service);
        let observed = store.take().observed.unwrap();
        assert!(has(&observed, "cart") && !has(&observed, "old"));
    }

    #[test]
    fn store_keeps_what_an_object_was_while_it_cannot_be_read() {
        let store = listed(&["cart"]);
        store.insert(Kind::Service, service("cart", json!("eighty")));
        let observed = store.take().observed.unwrap();
        assert_eq!(observed.problems.len(), 1);
        let Some(Object::Service(kept)) = observed.snapshot.get(&id(Kind::Service, "cart")) else { panic!() };
        assert_eq!(kept.spec.as_ref().unwrap().ports.as_ref().unwrap()[0].port, 80);
        store.insert(Kind::Service, service("cart", json!("eighty")));
        assert!(store.take().observed.is_none(), "the same problem is no news");
        store.insert(Kind::Service, service("cart", json!(80)));
        assert!(store.take().observed.unwrap().problems.is_empty());
    }

    #[test]
    fn store_removal_ends_the_problem_too() {
        let store = listed(&["cart"]);
        store.insert(Kind::Service, service("cart", json!("eighty")));
        assert_eq!(store.take().observed.unwrap().problems.len(), 1);
        store.remove(Kind::Service, &service("cart", json!("eighty")));
        let observed = store.take().observed.unwrap();
        assert!(observed.problems.is_empty() && !has(&observed, "cart"));
        assert!(!store.has(Kind::Service));
    }

    #[test]
    fn store_holds_live_only_what_is_ours_to_write() {
        let store = listed(&["cart"]);
        assert!(store.take().live.is_none());
        let mut ours = service("edge-weir", json!(80));
        ours.metadata.labels = Some(BTreeMap::from([
            (mesh_compile::MANAGED_BY_LABEL.to_owned(), mesh_compile::MANAGER.to_owned()),
            (mesh_compile::GATEWAY_NAME_LABEL.to_owned(), "edge".to_owned()),
        ]));
        store.insert(Kind::Service, ours);
        let live = store.take().live.unwrap();
        assert_eq!(live.objects.keys().collect::<Vec<_>>(), [&id(Kind::Service, "edge-weir")]);
        // The label is gone, and with it our claim.
        store.insert(Kind::Service, service("edge-weir", json!(80)));
        assert!(store.take().live.unwrap().objects.is_empty());
    }
}
