//! Manifests: from the text of a file to objects, or to an error that says where it is wrong.
//!
//! Kinds that the lab itself acts on are read strictly; others pass, since the operator judges them. Pure: reading
//! files is in [`files`].

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::object::{Object, ObjectId, text};

pub(crate) mod check;
pub(crate) mod files;
pub(crate) mod images;

/// What is wrong in a manifest, in a user's terms.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ManifestError {
    #[error("{file}:{line}:{column}: not YAML: {message}")]
    NotYaml { file: String, line: usize, column: usize, message: String },
    #[error(
        "{file}: document {document} has no {missing}: a Kubernetes object has apiVersion, kind and metadata.name"
    )]
    NotObject { file: String, document: usize, missing: &'static str },
    #[error("unknown field {field} in {id} ({file}): remove it or correct its name")]
    UnknownField { file: String, id: Box<ObjectId>, field: String },
    #[error("{id} ({file}): field {field}: {message}")]
    Wrong { file: String, id: Box<ObjectId>, field: String, message: String },
    #[error("{id} is both in {first} and in {second}: keep one of them")]
    Twice { id: Box<ObjectId>, first: String, second: String },
    #[error("container {container} of {id} ({file}) {why}")]
    NoCommand { file: String, id: Box<ObjectId>, container: String, why: String },
    #[error("{file}: {message}")]
    LabFile { file: String, message: String },
    #[error("{file}: {message}")]
    Unreadable { file: String, message: String },
}

/// The objects of a file, in its order. `file` is for messages only.
pub(crate) fn parse(text: &str, file: &str) -> Result<Vec<Object>, ManifestError> {
    let mut objects: Vec<Object> = Vec::new();
    for (index, document) in serde_yaml_ng::Deserializer::from_str(text).enumerate() {
        let value = Value::deserialize(document).map_err(|error| not_yaml(&error, file))?;
        if value.is_null() {
            continue;
        }
        collect(value, file, index + 1, &mut objects)?;
    }
    let mut seen = BTreeMap::new();
    for object in &objects {
        if seen.insert(&object.id, ()).is_some() {
            return Err(ManifestError::Twice {
                id: Box::new(object.id.clone()),
                first: file.to_owned(),
                second: "the same file".to_owned(),
            });
        }
    }
    Ok(objects)
}

fn collect(
    value: Value,
    file: &str,
    document: usize,
    objects: &mut Vec<Object>,
) -> Result<(), ManifestError> {
    if value.get("kind").and_then(Value::as_str) == Some("List") && value.get("items").is_some() {
        let Value::Object(mut list) = value else { return Ok(()) };
        let Some(Value::Array(items)) = list.remove("items") else {
            return Err(ManifestError::NotObject {
                file: file.to_owned(),
                document,
                missing: "list in items",
            });
        };
        for item in items {
            collect(item, file, document, objects)?;
        }
        return Ok(());
    }
    let object = identify(value, file, document)?;
    check::strict(&object, file)?;
    objects.push(object);
    Ok(())
}

fn identify(mut value: Value, file: &str, document: usize) -> Result<Object, ManifestError> {
    let missing = |missing| ManifestError::NotObject { file: file.to_owned(), document, missing };
    let api_version = text(&value, "/apiVersion").ok_or_else(|| missing("apiVersion"))?;
    let group = api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
    let kind = text(&value, "/kind").filter(|k| !k.is_empty()).ok_or_else(|| missing("kind"))?.to_owned();
    let name = text(&value, "/metadata/name")
        .filter(|name| !name.is_empty())
        .ok_or_else(|| missing("metadata.name"))?
        .to_owned();
    let namespace = if is_cluster_scoped(&group, &kind) {
        None
    } else {
        let namespace = text(&value, "/metadata/namespace").unwrap_or("default").to_owned();
        value["metadata"]["namespace"] = Value::String(namespace.clone());
        Some(namespace)
    };
    Ok(Object { id: ObjectId { group, kind, namespace, name }, value })
}

/// Cluster-scoped kinds that people have in manifests. A kind that is not here is taken to have a namespace.
fn is_cluster_scoped(group: &str, kind: &str) -> bool {
    match group {
        "" => matches!(kind, "Namespace" | "Node" | "PersistentVolume"),
        "gateway.networking.k8s.io" => kind == "GatewayClass",
        "gateway.networking.x-k8s.io" => kind == "XMesh",
        "apiextensions.k8s.io" => kind == "CustomResourceDefinition",
        "rbac.authorization.k8s.io" => kind.starts_with("Cluster"),
        "networking.k8s.io" => matches!(kind, "IngressClass" | "IPAddress" | "ServiceCIDR"),
        "storage.k8s.io" => matches!(kind, "StorageClass" | "CSIDriver" | "CSINode" | "VolumeAttachment"),
        "scheduling.k8s.io" => kind == "PriorityClass",
        "admissionregistration.k8s.io" | "certificates.k8s.io" | "apiregistration.k8s.io" | "node.k8s.io" => {
            true
        }
        "weir.dev" => matches!(kind, "GatewayClassConfig" | "AddressPool"),
        _ => false,
    }
}

fn not_yaml(error: &serde_yaml_ng::Error, file: &str) -> ManifestError {
    let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
    let mut message = error.to_string();
    // The position stands in front of the message already.
    if let Some(cut) = message.find(&format!(" at line {line}")) {
        message.truncate(cut);
    }
    ManifestError::NotYaml { file: file.to_owned(), line, column, message }
}

#[cfg(test)]
mod tests;
