//! What is to be written, from what is wanted and what is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_compile::status::ConditionStatus;
use mesh_compile::{CONTROLLER, GATEWAY_CLASS, Kind, MESH, Object, ObjectId, Snapshot, Status, StatusShape};
use mesh_ir::map::SharedMap;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::announce::Announcers;
use super::merge;
use super::programmed::{self, Gate, Verdict};
use crate::compile::Revision;
use crate::publish::nodes::Acknowledged;
use crate::watch::kubernetes::{Live, LiveState};

/// What the plan follows from.
pub(super) struct State<'a> {
    pub(super) revision: &'a Revision,
    pub(super) snapshot: &'a Snapshot,
    pub(super) live: &'a LiveState,
    /// Of all replicas.
    pub(super) nodes: &'a [Acknowledged],
    pub(super) now: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) writes: Vec<Write>,
    /// When there may be more to write though nothing changes.
    pub(super) wake: Option<Instant>,
}

#[derive(Debug)]
pub(super) enum Write {
    /// Our part of a status; none where we have nothing more to say.
    Status { id: ObjectId, live: Arc<Live>, wanted: Wanted, ours: Option<Value> },
    /// A whole object of ours.
    Apply { id: ObjectId, body: Value },
    /// An object of ours that is no longer wanted.
    Delete { id: ObjectId, live: Arc<Live> },
    /// The addresses of a Service of ours.
    Addresses { id: ObjectId, live: Arc<Live>, ingress: Value },
    /// An object that the mesh brings with it.
    Create(ObjectId),
}

/// A status, and the reason why a Gateway is not programmed yet.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    status: Option<Arc<Status>>,
    pending: Option<String>,
}

/// Remembers what need not be looked at again.
#[derive(Debug, Default)]
pub(super) struct Planner {
    gate: Gate,
    announcers: Announcers,
    /// Objects in this state, by resourceVersion, have the status that is wanted, or were given it in a write that the
    /// watch has yet to tell.
    settled: BTreeMap<ObjectId, (String, Wanted)>,
    /// What was applied since this replica leads.
    applied: BTreeMap<ObjectId, Value>,
    /// The Services whose addresses were written in this state, by resourceVersion.
    addressed: BTreeMap<ObjectId, (String, Value)>,
    /// What the mesh brings with it and the watch has yet to tell.
    created: BTreeSet<ObjectId>,
    /// The XMesh of our name is somebody else's, and that was said.
    is_mesh_foreign: bool,
    /// What there was the last time: what is still the same is not looked at, except what is `open`.
    seen: Seen,
    /// What was not yet as it is wanted.
    open: BTreeSet<ObjectId>,
}

#[derive(Debug, Default)]
struct Seen {
    statuses: SharedMap<ObjectId, Arc<Status>>,
    owned: SharedMap<ObjectId, Arc<Value>>,
    live: SharedMap<ObjectId, Arc<Live>>,
}

impl Planner {
    /// Takes note of the configuration that is given to the nodes.
    pub(super) fn published(&mut self, version: u64) {
        self.gate.published(version);
    }

    /// Forgets what was written.
    pub(super) fn forget(&mut self) {
        self.settled.clear();
        self.applied.clear();
        self.addressed.clear();
        self.announcers = Announcers::default();
        self.created.clear();
        self.seen = Seen::default();
        self.open.clear();
    }

    /// Takes note of a write that was made.
    pub(super) fn written(&mut self, write: Write) {
        match write {
            Write::Status { id, live, wanted, .. } => {
                self.settled.insert(id, (live.resource_version.clone(), wanted));
            }
            Write::Apply { id, body } => _ = self.applied.insert(id, body),
            Write::Delete { id, .. } => _ = self.applied.remove(&id),
            Write::Addresses { id, live, ingress } => {
                self.addressed.insert(id, (live.resource_version.clone(), ingress));
            }
            Write::Create(id) => _ = self.created.insert(id),
        }
    }

    pub(super) fn plan(&mut self, state: &State<'_>) -> Plan {
        let mut plan = Plan::default();
        self.brought(state, &mut plan);
        self.look_at_mesh(state);
        plan.wake = self.announcers.update(state);
        let due = self.due(state);
        for id in &due {
            self.owned(id, state, &mut plan);
        }
        self.addresses(state, &mut plan);
        self.gate.retain(|id| state.revision.compiled.statuses.contains_key(id));
        for id in &due {
            self.status(id, state, &mut plan);
        }
        plan
    }

    /// The objects to look at: those that may not be as they are wanted.
    fn due(&mut self, state: &State<'_>) -> BTreeSet<ObjectId> {
        let compiled = &state.revision.compiled;
        let mut due = std::mem::take(&mut self.open);
        let seen = Seen {
            statuses: compiled.statuses.clone(),
            owned: compiled.owned.clone(),
            live: state.live.objects.clone(),
        };
        let before = std::mem::replace(&mut self.seen, seen);
        due.extend(changed(&before.statuses, &compiled.statuses));
        due.extend(changed(&before.owned, &compiled.owned));
        due.extend(changed(&before.live, &state.live.objects));
        // What the nodes say of a Gateway, and which of them announces its addresses, changes by itself.
        for kind in [Kind::Gateway, Kind::ListenerSet] {
            let first = ObjectId { kind, namespace: None, name: "".into() };
            let ids = compiled.statuses.from(&first).map(|(id, _)| id).take_while(|id| id.kind == kind);
            due.extend(ids.cloned());
        }
        due.extend(compiled.addresses.keys().cloned());
        due
    }

    /// The class that users name without having made it, and the mesh that tells them what is supported.
    fn brought(&mut self, state: &State<'_>, plan: &mut Plan) {
        for (kind, name) in [(Kind::GatewayClass, GATEWAY_CLASS), (Kind::XMesh, MESH)] {
            let id = ObjectId { kind, namespace: None, name: name.into() };
            if state.live.objects.contains_key(&id) {
                self.created.remove(&id);
            } else if !self.created.contains(&id) && state.live.served.contains(&kind) {
                plan.writes.push(Write::Create(id));
            }
        }
    }

    /// Says once that nobody can learn from the XMesh of our name what this mesh supports (GEP-3949).
    fn look_at_mesh(&mut self, state: &State<'_>) {
        let id = ObjectId { kind: Kind::XMesh, namespace: None, name: MESH.into() };
        let foreign = match state.snapshot.get(&id) {
            Some(Object::XMesh(mesh)) if mesh.spec.controller_name != CONTROLLER => Some(mesh),
            _ => None,
        };
        let was_foreign = std::mem::replace(&mut self.is_mesh_foreign, foreign.is_some());
        if let (Some(mesh), false) = (foreign, was_foreign) {
            let controller = &mesh.spec.controller_name;
            tracing::warn!(controller, "XMesh {MESH} names another controller, and is left alone; rename it");
        }
    }

    fn owned(&mut self, id: &ObjectId, state: &State<'_>, plan: &mut Plan) {
        let live = state.live.objects.get(id);
        let Some(object) = state.revision.compiled.owned.get(id) else {
            self.applied.remove(id);
            let is_owned_kind = matches!(id.kind, Kind::Service | Kind::EndpointSlice);
            let gone = |live: &&Arc<Live>| live.content["metadata"]["deletionTimestamp"].is_null();
            if let Some(live) = live.filter(|_| is_owned_kind).filter(gone) {
                self.open.insert(id.clone());
                plan.writes.push(Write::Delete { id: id.clone(), live: live.clone() });
            }
            return;
        };
        // Somebody else has an object of that name.
        if live.is_none() && state.snapshot.contains(id) {
            self.open.insert(id.clone());
            return;
        }
        let mut body = Value::clone(object);
        if id.kind == Kind::Service {
            self.announcers.annotate(id, &mut body);
        }
        let same = self.applied.get(id) == Some(&body);
        if !(same && live.is_none_or(|live| merge::covers(&live.content, &body))) {
            self.open.insert(id.clone());
            plan.writes.push(Write::Apply { id: id.clone(), body });
        }
    }

    fn addresses(&mut self, state: &State<'_>, plan: &mut Plan) {
        let wanted = &state.revision.compiled.addresses;
        self.addressed.retain(|id, _| wanted.contains_key(id));
        for (id, addresses) in wanted {
            let Some(live) = state.live.objects.get(id) else { continue };
            let ingress = addresses.iter().map(|ip| json!({ "ip": ip, "ipMode": "VIP" })).collect();
            if merge::covers(&live.content["status"]["loadBalancer"]["ingress"], &ingress) {
                continue;
            }
            let now = (live.resource_version.clone(), ingress);
            if self.addressed.get(id) != Some(&now) {
                plan.writes.push(Write::Addresses { id: id.clone(), live: live.clone(), ingress: now.1 });
            }
        }
    }

    fn status(&mut self, id: &ObjectId, state: &State<'_>, plan: &mut Plan) {
        let Some(live) = state.live.objects.get(id) else {
            self.settled.remove(id);
            return;
        };
        let status = state.revision.compiled.statuses.get(id).cloned();
        let forsaken = status.is_none() && self.is_forsaken(id, state);
        if status.is_none() && !forsaken && !says_something_of_us(id.kind, &live.content["status"]) {
            return;
        }
        let mut wanted = Wanted { status: status.clone(), pending: None };
        match self.verdict(id, live, status.as_deref(), state) {
            Some(Verdict::Wait(until)) => {
                plan.wake = earliest(plan.wake, Some(until));
                return;
            }
            Some(Verdict::Pending(message)) => wanted.pending = Some(message),
            Some(Verdict::Programmed) | None => {}
        }
        let is_settled =
            |(version, before): &(String, Wanted)| *version == live.resource_version && before.is(&wanted);
        if self.settled.get(id).is_some_and(is_settled) {
            return;
        }
        let ours = if forsaken { Some(merge::unseen()) } else { wanted.to_json() };
        match merge::merge(id.kind, &live.content["status"], ours.as_ref(), "") {
            Some(_) => {
                self.open.insert(id.clone());
                plan.writes.push(Write::Status { id: id.clone(), live: live.clone(), wanted, ours });
            }
            None => _ = self.settled.insert(id.clone(), (live.resource_version.clone(), wanted)),
        }
    }

    /// Whether it is a ListenerSet that we said something of, and whose Gateway is gone: nobody else speaks of it now. One
    /// whose Gateway is there belongs to whoever serves that.
    fn is_forsaken(&self, id: &ObjectId, state: &State<'_>) -> bool {
        let said = self.settled.get(id).and_then(|(_, wanted)| wanted.status.as_deref());
        let Some(Status::ListenerSet(said)) = said else { return false };
        !state.snapshot.contains(&ObjectId::namespaced(Kind::Gateway, &said.gateway))
    }

    /// `None` where nothing says that it is programmed.
    fn verdict(
        &mut self,
        id: &ObjectId,
        live: &Live,
        status: Option<&Status>,
        state: &State<'_>,
    ) -> Option<Verdict> {
        // The nodes have the listeners of ListenerSets with those of the Gateway.
        let (gateway, conditions) = match status? {
            Status::Gateway(status) => (id.clone(), &status.conditions),
            Status::ListenerSet(status) => {
                (ObjectId::namespaced(Kind::Gateway, &status.gateway), &status.conditions)
            }
            _ => return None,
        };
        let programmed =
            conditions.iter().any(|c| c.r#type == "Programmed" && c.status == ConditionStatus::True);
        let was = programmed::is_programmed(&live.content["status"]);
        programmed.then(|| self.gate.check(&gateway, &state.revision.encoded, state.nodes, was, state.now))
    }
}

impl Wanted {
    /// Statuses that did not change are shared, and need not be compared.
    fn is(&self, other: &Self) -> bool {
        let same = match (&self.status, &other.status) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            (a, b) => a.is_none() && b.is_none(),
        };
        same && self.pending == other.pending
    }

    fn to_json(&self) -> Option<Value> {
        let mut json = serde_json::to_value(self.status.as_deref()?).expect("a status is plain data");
        if let Some(message) = &self.pending {
            programmed::set_pending(&mut json, message);
        }
        Some(json)
    }
}

/// Whether a status that is a list by controllers has entries of ours.
fn says_something_of_us(kind: Kind, status: &Value) -> bool {
    let list = match kind.status_shape() {
        Some(StatusShape::Parents) => &status["parents"],
        Some(StatusShape::Ancestors) => &status["ancestors"],
        Some(StatusShape::Own) | None => return false,
    };
    list.as_array().into_iter().flatten().any(|entry| entry["controllerName"] == CONTROLLER)
}

/// The keys that have something else after than before.
fn changed<V>(before: &SharedMap<ObjectId, Arc<V>>, after: &SharedMap<ObjectId, Arc<V>>) -> Vec<ObjectId> {
    before.changes_to(after, Arc::ptr_eq).into_iter().map(|change| change.key.clone()).collect()
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    [a, b].into_iter().flatten().min()
}

#[cfg(test)]
mod tests;
