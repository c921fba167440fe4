//! Statuses as the API server is to hold them, but for the times: `lastTransitionTime` is set by whoever writes one.

use mesh_ir::name::ObjectName;
use serde::Serialize;

use crate::CONTROLLER;
pub use crate::api::ParentReference;

/// The `.status` of an object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Status {
    GatewayClass(GatewayClassStatus),
    Mesh(MeshStatus),
    Gateway(GatewayStatus),
    ListenerSet(ListenerSetStatus),
    Route(RouteStatus),
    Policy(PolicyStatus),
    AddressPool(AddressPoolStatus),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    pub r#type: &'static str,
    pub status: ConditionStatus,
    pub reason: &'static str,
    pub message: String,
    /// `None` where the source of the object counts no generations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayClassStatus {
    pub conditions: Vec<Condition>,
    pub supported_features: Vec<Feature>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MeshStatus {
    pub conditions: Vec<Condition>,
    pub supported_features: Vec<Feature>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Feature {
    pub name: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    pub addresses: Vec<GatewayAddress>,
    /// `None` where the Gateway has nothing to do with ListenerSets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attached_listener_sets: Option<u32>,
    pub conditions: Vec<Condition>,
    /// Its own.
    pub listeners: Vec<ListenerStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ListenerSetStatus {
    /// What its listeners are served by.
    #[serde(skip)]
    pub gateway: ObjectName,
    pub conditions: Vec<Condition>,
    pub listeners: Vec<ListenerStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GatewayAddress {
    pub r#type: &'static str,
    pub value: String,
    /// `None` is a load balancer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routability: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    pub name: String,
    pub supported_kinds: Vec<RouteGroupKind>,
    pub attached_routes: u32,
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteGroupKind {
    pub group: &'static str,
    pub kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteStatus {
    pub parents: Vec<RouteParentStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteParentStatus {
    pub parent_ref: ParentReference,
    pub controller_name: &'static str,
    pub conditions: Vec<Condition>,
}

/// GEP-713.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyStatus {
    pub ancestors: Vec<PolicyAncestorStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAncestorStatus {
    pub ancestor_ref: ParentReference,
    pub controller_name: &'static str,
    pub conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolStatus {
    /// How many addresses the pool holds; more than fit are as many as fit.
    pub capacity: i64,
    /// How many of them Gateways have.
    pub assigned: i64,
    pub conditions: Vec<Condition>,
}

/// Makes the conditions of one object, all of which were observed at its generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    pub(crate) generation: Option<i64>,
}

impl Conditions {
    pub(crate) fn ok(
        self,
        r#type: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Condition {
        self.condition(r#type, ConditionStatus::True, reason, message)
    }

    pub(crate) fn no(
        self,
        r#type: &'static str,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Condition {
        self.condition(r#type, ConditionStatus::False, reason, message)
    }

    pub(crate) fn condition(
        self,
        r#type: &'static str,
        status: ConditionStatus,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Condition {
        Condition { r#type, status, reason, message: message.into(), observed_generation: self.generation }
    }
}

impl RouteParentStatus {
    pub(crate) fn new(parent_ref: ParentReference, conditions: Vec<Condition>) -> Self {
        Self { parent_ref, controller_name: CONTROLLER, conditions }
    }
}

impl PolicyAncestorStatus {
    pub(crate) fn new(ancestor_ref: ParentReference, conditions: Vec<Condition>) -> Self {
        Self { ancestor_ref, controller_name: CONTROLLER, conditions }
    }
}
