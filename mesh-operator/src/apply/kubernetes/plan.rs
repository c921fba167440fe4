//! What is to be written, from what is wanted and what is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_compile::status::ConditionStatus;
use mesh_compile::{CONTROLLER, GATEWAY_CLASS, Kind, ObjectId, Snapshot, Status, StatusShape};
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
    Status {
        id: ObjectId,
        live: Arc<Live>,
        wanted: Wanted,
        ours: Option<Value>,
    },
    /// A whole object of ours.
    Apply {
        id: ObjectId,
        body: Value,
    },
    /// An object of ours that is no longer wanted.
    Delete {
        id: ObjectId,
        live: Arc<Live>,
    },
    /// The addresses of a Service of ours.
    Addresses {
        id: ObjectId,
        live: Arc<Live>,
        ingress: Value,
    },
    CreateClass,
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
    class_created: bool,
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
        self.class_created = false;
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
            Write::CreateClass => self.class_created = true,
        }
    }

    pub(super) fn plan(&mut self, state: &State<'_>) -> Plan {
        let mut plan = Plan::default();
        self.class(state, &mut plan);
        self.owned(state, &mut plan);
        self.addresses(state, &mut plan);
        self.statuses(state, &mut plan);
        plan
    }

    /// The class that users name without having made it.
    fn class(&mut self, state: &State<'_>, plan: &mut Plan) {
        let id = ObjectId { kind: Kind::GatewayClass, namespace: None, name: GATEWAY_CLASS.into() };
        if state.live.objects.contains_key(&id) {
            self.class_created = false;
        } else if !self.class_created && state.live.served.contains(&id.kind) {
            plan.writes.push(Write::CreateClass);
        }
    }

    fn owned(&mut self, state: &State<'_>, plan: &mut Plan) {
        let owned = &state.revision.compiled.owned;
        self.applied.retain(|id, _| owned.contains_key(id));
        plan.wake = earliest(plan.wake, self.announcers.update(state));
        for (id, object) in owned {
            let live = state.live.objects.get(id);
            // Somebody else has an object of that name.
            if live.is_none() && state.snapshot.contains(id) {
                continue;
            }
            // Types of Kubernetes are plain data.
            let Ok(mut body) = object.to_json() else { continue };
            if id.kind == Kind::Service {
                self.announcers.annotate(id, &mut body);
            }
            let same = self.applied.get(id) == Some(&body);
            if !(same && live.is_none_or(|live| merge::covers(&live.content, &body))) {
                plan.writes.push(Write::Apply { id: id.clone(), body });
            }
        }
        let is_owned_kind = |id: &ObjectId| matches!(id.kind, Kind::Service | Kind::EndpointSlice);
        for (id, live) in
            state.live.objects.iter().filter(|(id, _)| is_owned_kind(id) && !owned.contains_key(*id))
        {
            if live.content["metadata"]["deletionTimestamp"].is_null() {
                plan.writes.push(Write::Delete { id: id.clone(), live: live.clone() });
            }
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

    fn statuses(&mut self, state: &State<'_>, plan: &mut Plan) {
        let statuses = &state.revision.compiled.statuses;
        self.gate.retain(|id| statuses.contains_key(id));
        self.settled.retain(|id, _| state.live.objects.contains_key(id));
        for (id, live) in state.live.objects.iter() {
            let status = statuses.get(id).cloned();
            if status.is_none() && !says_something_of_us(id.kind, &live.content["status"]) {
                continue;
            }
            let mut wanted = Wanted { status: status.clone(), pending: None };
            match self.verdict(id, live, status.as_deref(), state) {
                Some(Verdict::Wait(until)) => {
                    plan.wake = earliest(plan.wake, Some(until));
                    continue;
                }
                Some(Verdict::Pending(message)) => wanted.pending = Some(message),
                Some(Verdict::Programmed) | None => {}
            }
            let is_settled = |(version, before): &(String, Wanted)| {
                *version == live.resource_version && before.is(&wanted)
            };
            if self.settled.get(id).is_some_and(is_settled) {
                continue;
            }
            let ours = wanted.to_json();
            match merge::merge(id.kind, &live.content["status"], ours.as_ref(), "") {
                Some(_) => {
                    plan.writes.push(Write::Status { id: id.clone(), live: live.clone(), wanted, ours });
                }
                None => _ = self.settled.insert(id.clone(), (live.resource_version.clone(), wanted)),
            }
        }
    }

    /// `None` where nothing says that it is programmed.
    fn verdict(
        &mut self,
        id: &ObjectId,
        live: &Live,
        status: Option<&Status>,
        state: &State<'_>,
    ) -> Option<Verdict> {
        let Some(Status::Gateway(status)) = status else { return None };
        let programmed =
            status.conditions.iter().any(|c| c.r#type == "Programmed" && c.status == ConditionStatus::True);
        let was = programmed::is_programmed(&live.content["status"]);
        programmed.then(|| self.gate.check(id, &state.revision.encoded, state.nodes, was, state.now))
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

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    [a, b].into_iter().flatten().min()
}

#[cfg(test)]
mod tests;
