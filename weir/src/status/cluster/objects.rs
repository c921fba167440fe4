//! The objects whose statuses Weir writes, and of each status the part that Weir wrote.

use std::collections::BTreeSet;

use kube::core::DynamicObject;
use mesh_compile::{CONTROLLER, GATEWAY_CLASS, Kind};

use crate::operator::StatusEntry;

/// The group of Weir's own kinds.
const OWN: &str = "weir.dev";

pub(super) fn kinds() -> impl Iterator<Item = Kind> {
    let has_status = |kind: &Kind| {
        let group = kind.group();
        group == OWN || (group == "gateway.networking.k8s.io" && *kind != Kind::ReferenceGrant)
    };
    Kind::ALL.iter().copied().filter(has_status)
}

/// Those of them that are Weir's concern; of a list that could not be seen, none.
pub(super) fn ours(lists: Vec<(Kind, Option<Vec<DynamicObject>>)>) -> Vec<StatusEntry> {
    let classes =
        lists.iter().find(|(kind, _)| *kind == Kind::GatewayClass).and_then(|(_, list)| list.as_ref());
    // Where the classes cannot be seen, it is the one that the mesh brings with it.
    let classes: BTreeSet<String> = match classes {
        Some(list) => list.iter().filter(|class| is_ours(class)).map(name).collect(),
        None => [GATEWAY_CLASS.to_owned()].into(),
    };
    let gateways = lists.iter().find(|(kind, _)| *kind == Kind::Gateway).and_then(|(_, list)| list.as_ref());
    let served = gateways.into_iter().flatten().filter(|gateway| is_served(gateway, &classes));
    let served: BTreeSet<(Option<String>, String)> =
        served.map(|gateway| (gateway.metadata.namespace.clone(), name(gateway))).collect();
    let objects = lists.into_iter().flat_map(|(kind, list)| {
        let entries = list.into_iter().flatten().filter_map(|object| entry(kind, object, &classes, &served));
        entries.collect::<Vec<_>>()
    });
    objects.collect()
}

/// `served` are the Gateways of our classes.
fn entry(
    kind: Kind,
    mut object: DynamicObject,
    classes: &BTreeSet<String>,
    served: &BTreeSet<(Option<String>, String)>,
) -> Option<StatusEntry> {
    let mut status = object.data["status"].take();
    let mut entries = 0;
    for list in ["parents", "ancestors"] {
        if let Some(list) = status[list].as_array_mut() {
            list.retain(|entry| entry["controllerName"] == CONTROLLER);
            entries += list.len();
        }
    }
    let concerns_us = match kind {
        Kind::GatewayClass | Kind::XMesh => is_ours(&object),
        Kind::Gateway => is_served(&object, classes),
        Kind::ListenerSet => {
            let parent = |field: &str| object.data["spec"]["parentRef"][field].as_str().map(str::to_owned);
            let namespace = parent("namespace").or(object.metadata.namespace.clone());
            served.contains(&(namespace, parent("name").unwrap_or_default()))
        }
        // Anybody's routes are of these kinds.
        _ => kind.group() == OWN || entries > 0,
    };
    concerns_us.then(|| StatusEntry {
        kind: kind.as_str().to_owned(),
        name: name(&object),
        namespace: object.metadata.namespace,
        generation: object.metadata.generation,
        status,
    })
}

fn is_served(gateway: &DynamicObject, classes: &BTreeSet<String>) -> bool {
    gateway.data["spec"]["gatewayClassName"].as_str().is_some_and(|class| classes.contains(class))
}

/// Of a class or a mesh.
fn is_ours(object: &DynamicObject) -> bool {
    object.data["spec"]["controllerName"] == CONTROLLER
}

fn name(object: &DynamicObject) -> String {
    object.metadata.name.clone().unwrap_or_default()
}
