//! The strict reading of the kinds that the lab acts on: no unknown field, no value of a wrong type, nothing that a
//! cluster would refuse and the lab would trip over.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, PodSpec, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use mesh_compile::read::read_strictly;
use serde::de::DeserializeOwned;

use super::ManifestError;
use crate::lab::object::Object;

/// Reads the object as its kind's type and gives up at the first field that does not belong.
pub(crate) fn strict(object: &Object, file: &str) -> Result<(), ManifestError> {
    match (object.id.group.as_str(), object.id.kind.as_str()) {
        ("", "Namespace") => read::<Namespace>(object, file).map(drop),
        ("", "ServiceAccount") => read::<ServiceAccount>(object, file).map(drop),
        ("", "ConfigMap") => read::<ConfigMap>(object, file).map(drop),
        ("", "Secret") => read::<Secret>(object, file).map(drop),
        ("discovery.k8s.io", "EndpointSlice") => read::<EndpointSlice>(object, file).map(drop),
        ("", "Service") => service(&read(object, file)?).map_err(|w| w.in_object(object, file)),
        ("", "Pod") => {
            let pod: Pod = read(object, file)?;
            let spec = pod.spec.ok_or_else(|| Wrong::new("spec", "is missing").in_object(object, file))?;
            containers(&spec, "spec").map_err(|w| w.in_object(object, file))
        }
        ("apps", "Deployment") => deployment(&read(object, file)?).map_err(|w| w.in_object(object, file)),
        _ => Ok(()),
    }
}

struct Wrong {
    field: String,
    message: String,
}

impl Wrong {
    fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Wrong { field: field.into(), message: message.into() }
    }

    fn in_object(self, object: &Object, file: &str) -> ManifestError {
        ManifestError::Wrong {
            file: file.to_owned(),
            id: Box::new(object.id.clone()),
            field: self.field,
            message: self.message,
        }
    }
}

fn read<T: DeserializeOwned>(object: &Object, file: &str) -> Result<T, ManifestError> {
    let (read, unknown) = read_strictly::<T>(&object.value)
        .map_err(|error| Wrong::new(error.field(), error.message.clone()).in_object(object, file))?;
    // k8s-openapi's types take apiVersion and kind as fields of their own, so neither is ever reported here.
    match unknown.first() {
        Some(unknown) => Err(ManifestError::UnknownField {
            file: file.to_owned(),
            id: Box::new(object.id.clone()),
            field: unknown.field(),
        }),
        None => Ok(read),
    }
}

fn deployment(deployment: &Deployment) -> Result<(), Wrong> {
    let spec = deployment.spec.as_ref().ok_or_else(|| Wrong::new("spec", "is missing"))?;
    if spec.replicas.is_some_and(|replicas| !(0..=200).contains(&replicas)) {
        return Err(Wrong::new("spec.replicas", "must be 0 to 200 in a lab"));
    }
    let labels = spec.template.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default();
    let wanted = spec.selector.match_labels.clone().unwrap_or_default();
    if wanted.is_empty() {
        return Err(Wrong::new("spec.selector.matchLabels", "must name at least one label of the template"));
    }
    for (key, value) in &wanted {
        if labels.get(key) != Some(value) {
            let message =
                format!("asks for {key}={value}, which spec.template.metadata.labels does not have");
            return Err(Wrong::new("spec.selector.matchLabels", message));
        }
    }
    let pod = spec.template.spec.as_ref().ok_or_else(|| Wrong::new("spec.template.spec", "is missing"))?;
    containers(pod, "spec.template.spec")
}

fn containers(spec: &PodSpec, at: &str) -> Result<(), Wrong> {
    if spec.containers.is_empty() {
        return Err(Wrong::new(format!("{at}.containers"), "must hold at least one container"));
    }
    let mut names = std::collections::BTreeSet::new();
    for (list, field) in [
        (&spec.containers, "containers"),
        (spec.init_containers.as_ref().unwrap_or(&Vec::new()), "initContainers"),
    ] {
        for (index, container) in list.iter().enumerate() {
            let shaped = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            if container.name.is_empty() || !container.name.bytes().all(shaped) {
                let message = "must be a name of lower-case letters, digits and hyphens";
                return Err(Wrong::new(format!("{at}.{field}[{index}].name"), message));
            }
            if !names.insert(container.name.clone()) {
                let message = format!("{:?} is the name of another container already", container.name);
                return Err(Wrong::new(format!("{at}.{field}[{index}].name"), message));
            }
        }
    }
    Ok(())
}

fn service(service: &Service) -> Result<(), Wrong> {
    let spec = service.spec.as_ref().ok_or_else(|| Wrong::new("spec", "is missing"))?;
    let ports = spec.ports.as_deref().unwrap_or_default();
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    if !matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName") {
        return Err(Wrong::new(
            "spec.type",
            format!("{kind:?} is none of ClusterIP, NodePort, LoadBalancer, ExternalName"),
        ));
    }
    let headless = spec.cluster_ip.as_deref() == Some("None");
    if ports.is_empty() && !headless && kind != "ExternalName" {
        return Err(Wrong::new("spec.ports", "must hold at least one port"));
    }
    if kind == "ExternalName" && spec.external_name.as_deref().unwrap_or_default().is_empty() {
        return Err(Wrong::new("spec.externalName", "is missing, and spec.type is ExternalName"));
    }
    for (index, port) in ports.iter().enumerate() {
        if !(1..=65535).contains(&port.port) {
            return Err(Wrong::new(
                format!("spec.ports[{index}].port"),
                format!("{} is not 1 to 65535", port.port),
            ));
        }
        if ports.len() > 1 && port.name.as_deref().unwrap_or_default().is_empty() {
            let message = "is missing: with several ports each needs a name";
            return Err(Wrong::new(format!("spec.ports[{index}].name"), message));
        }
    }
    Ok(())
}
