//! ListenerSets: listeners that are given to a Gateway from outside it, by whoever the Gateway lets (GEP-1713). What one
//! asks for is evaluated by itself, and judged together with its Gateway, whose listeners and older ListenerSets go first.

use std::sync::Arc;

use mesh_ir::name::ObjectName;

use crate::api;
use crate::api::generated::gateway::GatewayAllowedListenersNamespacesFrom as From;
use crate::api::reference::{GATEWAY, parent_kind};
use crate::gateway::{Gateway, Standing};
use crate::listener::{self, Listener, Owner};
use crate::lookup::Lookup;
use crate::status::{Condition, ConditionStatus, Conditions, ListenerSetStatus};
use crate::{class, selector};

pub(crate) mod merge;

/// A ListenerSet that names a Gateway of ours, before it is judged.
#[derive(Debug, PartialEq)]
pub(crate) struct Candidate {
    pub(crate) gateway: ObjectName,
    object: Arc<api::ListenerSet>,
    listeners: Vec<Listener>,
}

/// A ListenerSet as its Gateway has it.
#[derive(Debug, PartialEq)]
pub(crate) struct ListenerSet {
    pub(crate) name: ObjectName,
    pub(crate) gateway: ObjectName,
    object: Arc<api::ListenerSet>,
    /// None where the Gateway does not let it attach.
    pub(crate) listeners: Vec<Listener>,
    refusal: Option<Refusal>,
}

/// What keeps all of it from being served, whatever its listeners are.
#[derive(Debug, PartialEq)]
enum Refusal {
    /// The Gateway does not let it attach.
    NotAllowed,
    ParentNotAccepted,
    /// Nobody will decide as long as the Gateway's class is not accepted.
    ParentUndecided,
}

pub(crate) fn evaluate(snapshot: &Lookup<'_>, name: &ObjectName) -> Option<Candidate> {
    let object = snapshot.listener_sets.get(name)?;
    let parent = &object.spec.parent_ref;
    if parent_kind(parent.group.as_deref(), parent.kind.as_deref()) != GATEWAY {
        return None;
    }
    let namespace = parent.namespace.as_deref().unwrap_or(name.namespace.as_str());
    let gateway = ObjectName::new(namespace, &parent.name).ok()?;
    let spec = &snapshot.gateways.get(&gateway)?.spec;
    class::is_accepted(snapshot, &spec.gateway_class_name)?;
    let owner = Owner::ListenerSet(name.clone());
    let listeners = listener::evaluate(snapshot, &owner, &object.spec.listeners, (&gateway, spec));
    Some(Candidate { gateway, object: object.clone(), listeners })
}

impl ListenerSet {
    fn judge(snapshot: &Lookup<'_>, name: &ObjectName, candidate: &Candidate, gateway: &Gateway) -> Self {
        let Candidate { gateway: parent, object, listeners } = candidate;
        let refusal = match gateway.standing() {
            _ if !is_allowed(snapshot, parent, &gateway.object, name) => Some(Refusal::NotAllowed),
            Standing::Accepted => None,
            Standing::Refused => Some(Refusal::ParentNotAccepted),
            Standing::Undecided => Some(Refusal::ParentUndecided),
        };
        let listeners = match refusal {
            Some(Refusal::NotAllowed) => Vec::new(),
            _ => listeners.clone(),
        };
        Self { name: name.clone(), gateway: parent.clone(), object: object.clone(), listeners, refusal }
    }

    /// Whether its Gateway lets it attach; one that does not attach has no listeners to which a route could.
    pub(crate) fn is_allowed(&self) -> bool {
        self.refusal != Some(Refusal::NotAllowed)
    }

    /// Whether its valid listeners are served, by the Gateway.
    pub(crate) fn is_served(&self) -> bool {
        self.refusal.is_none()
    }

    /// Whether it counts as attached to its Gateway.
    pub(crate) fn is_accepted(&self) -> bool {
        self.is_served() && self.listeners.iter().any(Listener::is_valid)
    }

    /// `listening` is why the Gateway's listeners cannot be reached, and `programmed` whether there is something that keeps
    /// the Gateway from being programmed, its own listeners aside; `attached` counts the routes of a listener, by place.
    pub(crate) fn status(
        &self,
        listening: &Result<(), listener::Refusal>,
        programmed: bool,
        attached: impl Fn(usize) -> usize,
    ) -> ListenerSetStatus {
        let conditions = Conditions { generation: self.object.metadata.generation };
        let numbered = self.listeners.iter().enumerate();
        ListenerSetStatus {
            gateway: self.gateway.clone(),
            conditions: vec![self.accepted(conditions), self.programmed(conditions, programmed)],
            listeners: numbered
                .map(|(place, l)| l.status(conditions, listening.clone(), attached(place)))
                .collect(),
        }
    }

    fn accepted(&self, conditions: Conditions) -> Condition {
        if let Some(refusal) = &self.refusal {
            return self.refused(conditions, "Accepted", refusal, "ParentNotAccepted");
        }
        let complaints: Vec<String> = self.listeners.iter().filter_map(Listener::complaint).collect();
        if complaints.is_empty() && self.is_accepted() {
            return conditions.ok("Accepted", "Accepted", format!("Attached to Gateway {}", self.gateway));
        }
        let status = if self.is_accepted() { ConditionStatus::True } else { ConditionStatus::False };
        conditions.condition("Accepted", status, "ListenersNotValid", complaints.join("; "))
    }

    fn programmed(&self, conditions: Conditions, parent_programmed: bool) -> Condition {
        if let Some(refusal) = &self.refusal {
            return self.refused(conditions, "Programmed", refusal, "ParentNotProgrammed");
        }
        if !self.is_accepted() {
            let message = "None of its listeners can be served; their conditions say why";
            return conditions.no("Programmed", "ListenersNotValid", message);
        }
        if !parent_programmed {
            let message = format!("Gateway {} is not programmed; its status says why", self.gateway);
            return conditions.no("Programmed", "ParentNotProgrammed", message);
        }
        conditions.ok("Programmed", "Programmed", "The nodes are told to serve it")
    }

    fn refused(
        &self,
        conditions: Conditions,
        r#type: &'static str,
        refusal: &Refusal,
        by_parent: &'static str,
    ) -> Condition {
        let gateway = &self.gateway;
        let parent = || format!("Gateway {gateway} is not accepted; its status says why");
        match refusal {
            Refusal::NotAllowed => {
                let message = format!(
                    "Gateway {gateway} lets no ListenerSet of namespace {} attach (spec.allowedListeners)",
                    self.name.namespace
                );
                conditions.no(r#type, "NotAllowed", message)
            }
            Refusal::ParentNotAccepted => conditions.no(r#type, by_parent, parent()),
            Refusal::ParentUndecided => {
                conditions.condition(r#type, ConditionStatus::Unknown, "Pending", parent())
            }
        }
    }
}

/// Whether a Gateway lets ListenerSets of a namespace attach. One that says nothing lets none.
fn is_allowed(snapshot: &Lookup<'_>, name: &ObjectName, gateway: &api::Gateway, set: &ObjectName) -> bool {
    let namespaces = gateway.spec.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
    let Some(namespaces) = namespaces else { return false };
    match namespaces.from.as_ref().unwrap_or(&From::None) {
        From::None => false,
        From::All => true,
        From::Same => set.namespace == name.namespace,
        From::Selector => {
            selector::matches_namespace(snapshot, namespaces.selector.as_ref(), set.namespace.as_str())
        }
    }
}
