//! What the operator and its last step, `uninstall`, do in a cluster, against what the chart lets them do: neither may go
//! beyond the other.

use std::collections::BTreeSet;

use mesh_compile::Kind;
use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::apply::kubernetes::resource;
use crate::watch::kubernetes::KINDS;

/// Group, resource and verb.
type Right = (String, String, String);

fn rights(group: &str, resource: &str, verbs: &[&str]) -> Vec<Right> {
    verbs.iter().map(|verb| (group.into(), resource.into(), (*verb).into())).collect()
}

fn needed() -> BTreeSet<Right> {
    let mut needed = BTreeSet::new();
    for kind in KINDS {
        let (group, plural) = (kind.group(), resource(*kind).plural);
        needed.extend(rights(group, &plural, &["list", "watch"]));
        let is_of_users =
            matches!(group, "gateway.networking.k8s.io" | "gateway.networking.x-k8s.io" | "weir.dev");
        if is_of_users && *kind != Kind::ReferenceGrant {
            // Read again after a conflict.
            needed.extend(rights(group, &plural, &["get"]));
            needed.extend(rights(group, &format!("{plural}/status"), &["patch"]));
        }
    }
    needed.extend(rights("apiextensions.k8s.io", "customresourcedefinitions", &["list", "watch"]));
    needed.extend(rights("gateway.networking.k8s.io", "gatewayclasses", &["create"]));
    needed.extend(rights("gateway.networking.x-k8s.io", "xmeshes", &["create"]));
    needed.extend(rights("gateway.networking.k8s.io", "gateways/finalizers", &["update"]));
    needed.extend(rights("", "services", &["create", "delete", "patch"]));
    needed.extend(rights("", "services/status", &["patch"]));
    needed.extend(rights("discovery.k8s.io", "endpointslices", &["create", "delete", "patch"]));
    needed
}

/// By `uninstall`, and the wait for a rollout that it ends with.
fn needed_to_clean_up() -> BTreeSet<Right> {
    let mut needed = BTreeSet::new();
    for owned in [Kind::Service, Kind::EndpointSlice] {
        needed.extend(rights(owned.group(), &resource(owned).plural, &["list", "delete"]));
    }
    needed.extend(rights("gateway.networking.k8s.io", "gatewayclasses", &["get", "delete"]));
    needed.extend(rights("gateway.networking.x-k8s.io", "xmeshes", &["get", "delete"]));
    for plural in ["gateways", "listenersets"] {
        needed.extend(rights("gateway.networking.k8s.io", plural, &["list"]));
        needed.extend(rights("gateway.networking.k8s.io", &format!("{plural}/status"), &["patch"]));
    }
    needed.extend(rights("coordination.k8s.io", "leases", &["list", "delete"]));
    needed.extend(rights("", "configmaps", &["delete"]));
    needed.extend(rights("apps", "daemonsets", &["get", "list", "watch"]));
    needed
}

/// By the roles of these kinds and names, in the chart as `tests/cluster/chart-test` has rendered it.
fn granted(roles: &[(&str, &str)]) -> BTreeSet<Right> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cluster/chart/default.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let documents: Vec<Value> = serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect();
    let find = |(kind, name): &(&str, &str)| {
        let is = |document: &&Value| document["kind"] == *kind && document["metadata"]["name"] == *name;
        documents.iter().find(is).unwrap_or_else(|| panic!("the chart has no {kind} {name}"))
    };
    let words = |rule: &Value, field: &str| -> Vec<String> {
        serde_yaml_ng::from_value(rule[field].clone()).unwrap()
    };
    let mut granted = BTreeSet::new();
    for rule in roles.iter().map(find).flat_map(|role| role["rules"].as_sequence().unwrap()) {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for verb in words(rule, "verbs") {
                    granted.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    granted
}

fn check(needed: &BTreeSet<Right>, roles: &[(&str, &str)], file: &str) {
    let granted = granted(roles);
    let missing: Vec<_> = needed.difference(&granted).collect();
    let unused: Vec<_> = granted.difference(needed).collect();
    assert!(
        missing.is_empty() && unused.is_empty(),
        "edit charts/weir/templates/{file} and mesh-operator/README.md, then run \
         UPDATE_GOLDEN=1 tests/cluster/chart-test\nmissing: {missing:#?}\nunused: {unused:#?}"
    );
}

#[test]
fn chart_grants_the_operator_what_it_does_and_no_more() {
    check(&needed(), &[("ClusterRole", "weir:mesh-operator")], "rbac.yaml");
}

#[test]
fn chart_grants_the_clean_up_what_it_does_and_no_more() {
    let roles = [("Role", "weir-clean-up"), ("ClusterRole", "weir:clean-up")];
    check(&needed_to_clean_up(), &roles, "clean-up.yaml");
}
