//! One YAML document: which object it is, and its fields read into the object's type.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Problem, backend_tls_policy, gateway, grpc_route, http_route, name, place, route, traffic_policy,
};
use crate::object::{Kind, Object, ObjectId};
use crate::read::{self, ReadError, Unknown};

/// `line` is the number of lines of the file before the document. `Ok(None)` is an empty document, `Ok(Some(None))`
/// an object that is not ours.
pub(super) fn read(document: &str, line: usize) -> Result<Option<Option<Object>>, Problem> {
    let not_yaml = |error| Problem::new(format!("not YAML: {}", located(&error, line)));
    // It, unlike JSON's, refuses a key that is there twice.
    let value: serde_yaml_ng::Value = serde_yaml_ng::from_str(document).map_err(not_yaml)?;
    let value = serde_json::to_value(value).map_err(|error| Problem::new(format!("no JSON: {error}")))?;
    if value.is_null() {
        return Ok(None);
    }
    if !value.is_object() {
        let message =
            format!("the document at line {} is no object: it needs apiVersion, kind and metadata", line + 1);
        return Err(Problem::new(message));
    }
    let text = |value: &Value| value.as_str().filter(|s| !s.is_empty()).map(String::from);
    let named = |field: &str| value.get("metadata").and_then(|m| m.get(field)).and_then(text);
    let in_document = |field: &str, message: &str| {
        let object = value.get("kind").and_then(text).map(|kind| match named("name") {
            Some(name) => format!("{kind} {}/{name}", named("namespace").unwrap_or_else(|| "default".into())),
            None => kind,
        });
        Problem { object, ..Problem::at(field, format!("{message} (document at line {})", line + 1)) }
    };
    let missing = "missing; it must be a text that is not empty";
    let api_version =
        value.get("apiVersion").and_then(text).ok_or_else(|| in_document("apiVersion", missing))?;
    let kind_name = value.get("kind").and_then(text).ok_or_else(|| in_document("kind", missing))?;
    if kind_name == "List" {
        return Err(in_document(
            "kind",
            "a List is not read; write its items as documents, with `---` between them",
        ));
    }
    let Some(kind) = known(&api_version, &kind_name) else { return Ok(Some(None)) };
    let object_name = named("name").ok_or_else(|| in_document("metadata.name", missing))?;
    let namespace = kind.is_namespaced().then(|| named("namespace").unwrap_or_else(|| "default".into()));
    let id =
        ObjectId { kind, namespace: namespace.as_deref().map(Into::into), name: object_name.as_str().into() };
    let result = if Kind::from_manifest(&api_version, &kind_name).is_none() {
        let message = format!("{api_version} is not served; write {}", kind.api_version());
        Err(Problem::at("apiVersion", message))
    } else {
        name::check_object(&id).and_then(|()| typed(kind, document, &value, line))
    };
    let object = result.and_then(|mut object| {
        default(&mut object, namespace);
        validate(&object).map(|()| object)
    });
    object.map(|object| Some(Some(object))).map_err(|p| Problem {
        object: Some(id.to_string()),
        id: Some(id),
        ..p
    })
}

/// The kind by group and name, whatever the version.
fn known(api_version: &str, kind: &str) -> Option<Kind> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    Kind::ALL.iter().copied().find(|k| k.group() == group && k.as_str() == kind)
}

fn typed(kind: Kind, document: &str, value: &Value, line: usize) -> Result<Object, Problem> {
    use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
    use k8s_openapi::api::{core::v1 as core, discovery::v1::EndpointSlice};
    let read = match kind {
        // Less is kept of these than a manifest may say.
        Kind::Pod => part::<core::Pod>(kind, value),
        Kind::EndpointSlice => part::<EndpointSlice>(kind, value),
        Kind::ConfigMap => part::<core::ConfigMap>(kind, value),
        Kind::ClusterTrustBundle => {
            // Its versions are alike, and not all of them are known as a type.
            let mut known = value.clone();
            known["apiVersion"] = "certificates.k8s.io/v1beta1".into();
            part::<ClusterTrustBundle>(kind, &known)
        }
        // What it defines is not ours to judge.
        Kind::CustomResourceDefinition => Object::from_json(kind, value).map(|object| (object, Vec::new())),
        _ => Object::read_strictly(kind, value),
    };
    let (object, mut unknown) = read.map_err(|error| wrong_value(&error, document, line))?;
    unknown.retain(|unknown| !matches!(unknown.field().as_str(), "apiVersion" | "kind"));
    match unknown.split_first() {
        Some((first, others)) => Err(unknown_field(first, others)),
        None => Ok(object),
    }
}

fn part<T: DeserializeOwned>(kind: Kind, value: &Value) -> Result<(Object, Vec<Unknown>), ReadError> {
    let (_, unknown) = read::read_strictly::<T>(value)?;
    Ok((Object::from_json(kind, value)?, unknown))
}

fn unknown_field(first: &Unknown, others: &[Unknown]) -> Problem {
    let mut message = String::from("unknown field");
    if let Some(meant) = first.meant() {
        message += &format!("; did you mean {meant}?");
    }
    if !others.is_empty() {
        let shown: Vec<String> = others.iter().take(5).map(Unknown::field).collect();
        let more = if others.len() > shown.len() { ", …" } else { "" };
        message += &format!(" (also unknown: {}{more})", shown.join(", "));
    }
    Problem::at(first.field(), message)
}

fn wrong_value(error: &ReadError, document: &str, line: usize) -> Problem {
    let place = place::of(document, error.path());
    let place = place.map(|at| format!(" (line {}, column {})", line + at.line(), at.column()));
    let message = format!("{}{}", error.message, place.unwrap_or_default());
    match error.path() {
        [] => Problem::new(message),
        _ => Problem::at(error.field(), message),
    }
}

/// The error's message with the place in the file, where the parser knows only that in the document.
fn located(error: &serde_yaml_ng::Error, line: usize) -> String {
    let text = error.to_string();
    let Some(location) = error.location() else { return text };
    let suffix = format!(" at line {} column {}", location.line(), location.column());
    let plain = text.replace(&suffix, "");
    format!("{plain} (line {}, column {})", line + location.line(), location.column())
}

/// What the API server fills in.
fn default(object: &mut Object, namespace: Option<String>) {
    use std::sync::Arc;
    match object {
        Object::Namespace(o) => {
            let metadata = &mut Arc::make_mut(o).metadata;
            let name = metadata.name.clone().unwrap_or_default();
            let labels = metadata.labels.get_or_insert_default();
            labels.insert("kubernetes.io/metadata.name".into(), name);
        }
        Object::Node(_)
        | Object::ClusterTrustBundle(_)
        | Object::CustomResourceDefinition(_)
        | Object::GatewayClass(_)
        | Object::XMesh(_)
        | Object::AddressPool(_) => {}
        Object::Pod(o) => Arc::make_mut(o).metadata.namespace = namespace.as_deref().map(Into::into),
        Object::Service(o) => Arc::make_mut(o).metadata.namespace = namespace,
        Object::EndpointSlice(o) => {
            Arc::make_mut(o).metadata.namespace = namespace.as_deref().map(Into::into);
        }
        Object::NetworkPolicy(o) => Arc::make_mut(o).metadata.namespace = namespace,
        Object::Secret(o) => {
            let secret = Arc::make_mut(o);
            secret.metadata.namespace = namespace;
            let written = secret.string_data.take().into_iter().flatten();
            let written = written.map(|(key, text)| (key, k8s_openapi::ByteString(text.into_bytes())));
            secret.data.get_or_insert_default().extend(written);
        }
        Object::ConfigMap(o) => {
            Arc::make_mut(o).metadata.namespace = namespace.as_deref().map(Into::into);
        }
        Object::Gateway(o) => Arc::make_mut(o).metadata.namespace = namespace,
        Object::ListenerSet(o) => Arc::make_mut(o).metadata.namespace = namespace,
        Object::HttpRoute(o) => Arc::make_mut(o).metadata.namespace = namespace,
        Object::GrpcRoute(o) => Arc::make_mut(o).metadata.namespace = namespace,
        Object::TcpRoute(o) => Arc::make_mut(o).metadata.namespace = namespace,
        Object::TlsRoute(o) => Arc::make_mut(o).metadata.namespace = namespace,
        Object::UdpRoute(o) => Arc::make_mut(o).metadata.namespace = namespace,
        Object::BackendTlsPolicy(o) => Arc::make_mut(o).metadata.namespace = namespace,
        Object::XBackendTrafficPolicy(o) => Arc::make_mut(o).metadata.namespace = namespace,
        Object::ReferenceGrant(o) => Arc::make_mut(o).metadata.namespace = namespace,
        Object::BackendPolicy(o) => Arc::make_mut(o).metadata.namespace = namespace,
    }
}

/// What the API server refuses though the types allow it, as far as compiling relies on it.
fn validate(object: &Object) -> Result<(), Problem> {
    match object {
        Object::Gateway(gateway) => gateway::validate(&gateway.spec),
        Object::ListenerSet(set) => gateway::validate_set(&set.spec),
        Object::GrpcRoute(route) => grpc_route::validate(&route.spec),
        Object::HttpRoute(route) => http_route::validate(&route.spec),
        Object::BackendTlsPolicy(policy) => backend_tls_policy::validate(&policy.spec),
        Object::XBackendTrafficPolicy(policy) => traffic_policy::validate(&policy.spec),
        Object::TlsRoute(tls) => {
            if tls.spec.hostnames.is_empty() {
                return Err(Problem::at(
                    "spec.hostnames",
                    "empty; a TLSRoute names the servers that it is for",
                ));
            }
            route::check_hostnames(&tls.spec.hostnames)?;
            let rules = tls.spec.rules.iter().map(|rule| rule.backend_refs.as_slice());
            route::check_connections(tls.spec.parent_refs.as_deref(), rules)
        }
        Object::TcpRoute(tcp) => {
            let rules = tcp.spec.rules.iter().map(|rule| rule.backend_refs.as_slice());
            route::check_connections(tcp.spec.parent_refs.as_deref(), rules)
        }
        Object::UdpRoute(udp) => {
            let rules = udp.spec.rules.iter().map(|rule| rule.backend_refs.as_slice());
            route::check_connections(udp.spec.parent_refs.as_deref(), rules)
        }
        Object::Service(service) => {
            let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
            ports
                .enumerate()
                .try_for_each(|(i, p)| name::check_port(&format!("spec.ports[{i}].port"), p.port))
        }
        Object::NetworkPolicy(policy) => {
            let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.as_ref());
            selector.map_or(Ok(()), |selector| check_selector("spec.podSelector", selector))
        }
        Object::BackendPolicy(policy) if policy.spec.target_refs.is_empty() => {
            Err(Problem::at("spec.targetRefs", "empty; name the Service that the policy is for"))
        }
        _ => Ok(()),
    }
}

fn check_selector(field: &str, selector: &LabelSelector) -> Result<(), Problem> {
    for (i, expression) in selector.match_expressions.iter().flatten().enumerate() {
        let field = format!("{field}.matchExpressions[{i}]");
        let values = expression.values.iter().flatten().next().is_some();
        let message = match (expression.operator.as_str(), values) {
            ("In" | "NotIn", true) | ("Exists" | "DoesNotExist", false) => continue,
            ("In" | "NotIn", false) => "the operator needs values, and there are none",
            ("Exists" | "DoesNotExist", true) => "the operator takes no values, and there are some",
            _ => "the operator must be In, NotIn, Exists or DoesNotExist",
        };
        return Err(Problem::at(&field, message));
    }
    Ok(())
}
