//! What is kept of an object: what compiling reads, and what is compared before it is written. The rest would only take
//! memory, and would have everything compiled again whenever it changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::DynamicObject;
use mesh_compile::read::ReadError;
use mesh_compile::{
    AUTHORITIES_KEY, BUNDLE_VERSION_ANNOTATION, EXPERIMENTAL_GROUP, GATEWAY_GROUP, GATEWAY_NAME_LABEL, Kind,
    MANAGED_BY_LABEL, MANAGER, Object, ObjectId,
};
use serde_json::{Value, json};

use super::Live;

/// It repeats the whole object, Secrets included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

pub(super) struct Stripped {
    pub(super) id: ObjectId,
    pub(super) object: Result<Object, ReadError>,
    pub(super) live: Option<Live>,
}

/// Whether anything of an object is read. Most ConfigMaps are about other things, and so are most definitions.
pub(super) fn matters(kind: Kind, object: &DynamicObject) -> bool {
    match kind {
        Kind::ConfigMap => object.data["data"][AUTHORITIES_KEY].is_string(),
        Kind::CustomResourceDefinition => {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            name.split_once('.').is_some_and(|(_, group)| matches!(group, GATEWAY_GROUP | EXPERIMENTAL_GROUP))
        }
        _ => true,
    }
}

pub(super) fn strip(kind: Kind, object: DynamicObject) -> Stripped {
    let DynamicObject { mut metadata, mut data, .. } = object;
    let id = id(kind, &metadata);
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    let resource_version = metadata.resource_version.take().unwrap_or_default();
    let live = live(kind, &metadata, &data).map(|content| Live { resource_version, content });
    match kind {
        Kind::CustomResourceDefinition => definition(&mut metadata),
        Kind::Node => node(&mut metadata, &mut data),
        Kind::NetworkPolicy => network_policy(&mut metadata, &mut data),
        kind if kind.status_shape().is_some() => take(&mut data, "status"),
        _ => {}
    }
    data["metadata"] = json!(metadata);
    Stripped { id, object: Object::from_json(kind, &data), live }
}

pub(super) fn id(kind: Kind, metadata: &ObjectMeta) -> ObjectId {
    ObjectId {
        kind,
        namespace: metadata.namespace.as_deref().map(Into::into),
        name: metadata.name.as_deref().unwrap_or_default().into(),
    }
}

fn live(kind: Kind, metadata: &ObjectMeta, data: &Value) -> Option<Value> {
    match kind {
        kind if kind.status_shape().is_some() => Some(json!({ "status": data["status"] })),
        Kind::Service | Kind::EndpointSlice => {
            let ours = metadata.labels.as_ref().is_some_and(|labels| {
                labels.contains_key(GATEWAY_NAME_LABEL)
                    && labels.get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGER)
            });
            let mut whole = ours.then(|| data.clone())?;
            whole["metadata"] = serde_json::to_value(metadata).ok()?;
            Some(whole)
        }
        _ => None,
    }
}

fn definition(metadata: &mut ObjectMeta) {
    let annotations = metadata.annotations.take().into_iter().flatten();
    let annotations = annotations.filter(|(key, _)| key == BUNDLE_VERSION_ANNOTATION).collect();
    *metadata =
        ObjectMeta { name: metadata.name.take(), annotations: Some(annotations), ..ObjectMeta::default() };
}

/// What it allows is for the CNI alone.
fn network_policy(metadata: &mut ObjectMeta, data: &mut Value) {
    metadata.annotations = None;
    metadata.labels = None;
    metadata.generation = None;
    keep(&mut data["spec"], &["podSelector"]);
}

fn node(metadata: &mut ObjectMeta, data: &mut Value) {
    metadata.annotations = None;
    keep(&mut data["spec"], &["podCIDR", "podCIDRs", "unschedulable"]);
    keep(&mut data["status"], &["addresses", "conditions"]);
    if let Some(conditions) = data["status"]["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"] == "Ready");
        for condition in conditions {
            // The kubelet's heartbeat.
            keep(condition, &["type", "status"]);
        }
    }
}

fn keep(value: &mut Value, fields: &[&str]) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, _| fields.contains(&name.as_str()));
    }
}

fn take(value: &mut Value, field: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(field);
    }
}
