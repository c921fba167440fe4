//! Gateways, routes, policies and pools: what the operator says of them, where all is not well.

use std::collections::BTreeSet;

use serde_json::Value;

use super::finding::{Area, Finding};
use super::observed::Observed;
use crate::operator::StatusEntry;
use crate::status::condition::{Complaint, complaints};

const CONTROLLER: &str = "weir.dev/gateway-controller";
/// Group, versions (the first that is served is asked for), kind and plural of the kinds that the operator writes a status
/// to.
pub(super) const KINDS: &[(&str, &[&str], &str, &str)] = &[
    ("gateway.networking.k8s.io", &["v1"], "GatewayClass", "gatewayclasses"),
    ("gateway.networking.k8s.io", &["v1"], "Gateway", "gateways"),
    ("gateway.networking.k8s.io", &["v1"], "ListenerSet", "listenersets"),
    ("gateway.networking.k8s.io", &["v1"], "GRPCRoute", "grpcroutes"),
    ("gateway.networking.k8s.io", &["v1"], "HTTPRoute", "httproutes"),
    ("gateway.networking.k8s.io", &["v1", "v1alpha2"], "TCPRoute", "tcproutes"),
    ("gateway.networking.k8s.io", &["v1", "v1alpha3", "v1alpha2"], "TLSRoute", "tlsroutes"),
    ("gateway.networking.k8s.io", &["v1", "v1alpha2"], "UDPRoute", "udproutes"),
    ("gateway.networking.k8s.io", &["v1", "v1alpha3"], "BackendTLSPolicy", "backendtlspolicies"),
    ("gateway.networking.x-k8s.io", &["v1alpha1"], "XBackendTrafficPolicy", "xbackendtrafficpolicies"),
    ("gateway.networking.x-k8s.io", &["v1alpha1"], "XMesh", "xmeshes"),
    ("weir.dev", &["v1alpha1"], "BackendPolicy", "backendpolicies"),
    ("weir.dev", &["v1alpha1"], "AddressPool", "addresspools"),
];

pub(super) fn findings(observed: &Observed) -> Vec<Finding> {
    if !observed.installed() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let classes = our_classes(observed);
    let gateways = our_gateways(observed, &classes);
    let mut looked_at = 0;
    for (_, _, kind, plural) in KINDS {
        let Some(seen) = observed.objects.get(*kind) else { continue };
        let objects = match seen.known() {
            Ok(objects) => objects,
            Err(why) => {
                findings.push(Finding::unseen(Area::Objects, plural, why));
                continue;
            }
        };
        for object in objects.iter().filter_map(|object| entry(kind, object, &classes, &gateways)) {
            looked_at += 1;
            findings.extend(complaints(&object).into_iter().map(finding));
        }
        if *kind == "Gateway" {
            let mine = objects.iter().filter(|gateway| is_ours(gateway, &classes));
            findings.extend(mine.filter(|gateway| !is_noticed(gateway)).map(unnoticed));
        }
        if *kind == "AddressPool" {
            findings.extend(objects.iter().filter_map(exhausted));
        }
    }
    if findings.is_empty() {
        findings.push(match looked_at {
            0 => Finding::ok(Area::Objects, "none yet"),
            1 => Finding::ok(Area::Objects, "the one that Weir serves is as wanted"),
            more => Finding::ok(Area::Objects, format!("all {more} that Weir serves are as wanted")),
        });
    }
    findings
}

fn our_classes(observed: &Observed) -> BTreeSet<&str> {
    let classes = observed.objects.get("GatewayClass").map(|seen| seen.all()).unwrap_or_default();
    let ours = classes.iter().filter(|class| class["spec"]["controllerName"] == CONTROLLER);
    ours.filter_map(|class| class["metadata"]["name"].as_str()).collect()
}

/// Namespaces and names.
fn our_gateways<'o>(observed: &'o Observed, classes: &BTreeSet<&str>) -> BTreeSet<(&'o str, &'o str)> {
    let gateways = observed.objects.get("Gateway").map(|seen| seen.all()).unwrap_or_default();
    let ours = gateways.iter().filter(|gateway| is_ours(gateway, classes));
    ours.filter_map(|g| Some((g["metadata"]["namespace"].as_str()?, g["metadata"]["name"].as_str()?)))
        .collect()
}

fn is_ours(gateway: &Value, classes: &BTreeSet<&str>) -> bool {
    gateway["spec"]["gatewayClassName"].as_str().is_some_and(|class| classes.contains(class))
}

/// What our operator says of an object; nothing where it says nothing.
fn entry(
    kind: &str,
    object: &Value,
    classes: &BTreeSet<&str>,
    gateways: &BTreeSet<(&str, &str)>,
) -> Option<StatusEntry> {
    let ours = match kind {
        "GatewayClass" | "XMesh" => object["spec"]["controllerName"] == CONTROLLER,
        "Gateway" => is_ours(object, classes),
        "ListenerSet" => {
            let (metadata, parent) = (&object["metadata"], &object["spec"]["parentRef"]);
            let namespace = parent["namespace"].as_str().or(metadata["namespace"].as_str())?;
            gateways.contains(&(namespace, parent["name"].as_str()?))
        }
        _ => true,
    };
    let mut status = object.get("status").filter(|_| ours)?.clone();
    // Other controllers speak for their own parents.
    for field in ["parents", "ancestors"] {
        if let Some(parts) = status.get_mut(field).and_then(Value::as_array_mut) {
            parts.retain(|part| part["controllerName"] == CONTROLLER);
            if parts.is_empty() {
                return None;
            }
        }
    }
    let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
    Some(StatusEntry {
        kind: kind.into(),
        namespace: text("namespace"),
        name: text("name")?,
        // A Gateway that the operator has not looked at yet is `unnoticed`.
        generation: None,
        status,
    })
}

fn finding(complaint: Complaint) -> Finding {
    let Complaint { object, part, conditions, reason, message, advice } = complaint;
    let part = if part.is_empty() { part } else { format!("{part}: ") };
    let message = format!("{part}{} ({reason}): {message}", conditions.join(" "));
    Finding::error(
        Area::Objects,
        object,
        message,
        advice.unwrap_or("see the message; weir status shows the conditions"),
    )
}

/// Whether the operator has looked at a Gateway as it is.
fn is_noticed(gateway: &Value) -> bool {
    let generation = gateway["metadata"]["generation"].as_i64().unwrap_or_default();
    let conditions = gateway["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut accepted = conditions.iter().filter(|condition| condition["type"] == "Accepted");
    accepted.any(|condition| condition["observedGeneration"].as_i64().unwrap_or_default() >= generation)
}

fn unnoticed(gateway: &Value) -> Finding {
    let text = |field: &str| gateway["metadata"][field].as_str().unwrap_or_default();
    Finding::warning(
        Area::Objects,
        format!("Gateway {}/{}", text("namespace"), text("name")),
        "the mesh-operator has not looked at it as it is now",
        "wait some seconds; if that stays so, see the operator's replicas and its leader above",
    )
}

fn exhausted(pool: &Value) -> Option<Finding> {
    let number = |field: &str| pool["status"][field].as_i64();
    let (capacity, assigned) = (number("capacity")?, number("assigned")?);
    (assigned >= capacity).then(|| {
        Finding::warning(
            Area::Objects,
            format!("AddressPool {}", pool["metadata"]["name"].as_str().unwrap_or_default()),
            format!("all of its {capacity} addresses are in use: the next Gateway may get none"),
            "add addresses to it, or another AddressPool",
        )
    })
}
