//! What the operator does in a cluster, against what the chart lets it do: neither may go beyond the other.

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
        let is_of_users = matches!(group, "gateway.networking.k8s.io" | "weir.dev");
        if is_of_users && *kind != Kind::ReferenceGrant {
            // Read again after a conflict.
            needed.extend(rights(group, &plural, &["get"]));
            needed.extend(rights(group, &format!("{plural}/status"), &["patch"]));
        }
    }
    needed.extend(rights("apiextensions.k8s.io", "customresourcedefinitions", &["list", "watch"]));
    needed.extend(rights("gateway.networking.k8s.io", "gatewayclasses", &["create"]));
    needed.extend(rights("gateway.networking.k8s.io", "gateways/finalizers", &["update"]));
    needed.extend(rights("", "services", &["create", "delete", "patch"]));
    needed.extend(rights("", "services/status", &["patch"]));
    needed.extend(rights("discovery.k8s.io", "endpointslices", &["create", "delete", "patch"]));
    needed
}

/// Of the chart as `tests/cluster/chart-test` has rendered it.
fn granted() -> BTreeSet<Right> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cluster/chart/default.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    let mut documents =
        serde_yaml_ng::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    let role = documents
        .find(|document| {
            document["kind"] == "ClusterRole" && document["metadata"]["name"] == "weir:mesh-operator"
        })
        .unwrap();
    let words = |rule: &Value, field: &str| -> Vec<String> {
        serde_yaml_ng::from_value(rule[field].clone()).unwrap()
    };
    let mut granted = BTreeSet::new();
    for rule in role["rules"].as_sequence().unwrap() {
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

#[test]
fn chart_grants_the_operator_what_it_does_and_no_more() {
    let (needed, granted) = (needed(), granted());
    let missing: Vec<_> = needed.difference(&granted).collect();
    let unused: Vec<_> = granted.difference(&needed).collect();
    assert!(
        missing.is_empty() && unused.is_empty(),
        "edit charts/weir/templates/rbac.yaml and the table in mesh-operator/README.md, then run \
         UPDATE_GOLDEN=1 tests/cluster/chart-test\nmissing: {missing:#?}\nunused: {unused:#?}"
    );
}
