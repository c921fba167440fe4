use serde_json::json;

use super::*;
use crate::lab::address::Subnets;
use crate::lab::pod::{Deletion, Phase};

fn id() -> ObjectId {
    ObjectId::namespaced("apps", "Deployment", "default", "web")
}

fn manifest(replicas: u32, version: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web", "v": version}}, "spec": {"containers": [{"name": "c"}]}},
        },
    })
}

/// A pod named after its version and state: `1r` is Ready of version 1, `2u` not ready, `1t` terminating, `1f` failed.
fn pod(state: &str, number: usize) -> Pod {
    let template = template_hash(&manifest(1, &state[..1])["spec"]["template"]);
    Pod {
        uid: format!("{state}{number}"),
        namespace: "default".into(),
        name: format!("web-{number}"),
        node: 1,
        address: Subnets::new(0).pod(1, 2),
        owner: Owner::Deployment { id: id(), uid: "u".into(), template },
        metadata: json!({}),
        spec: json!({}),
        created: format!("2026-01-01T00:00:{number:02}Z"),
        phase: if &state[1..] == "f" { Phase::Failed } else { Phase::Running },
        ready: &state[1..] == "r",
        restarts: BTreeMap::new(),
        message: None,
        deletion: (&state[1..] == "t")
            .then(|| Deletion { timestamp: "2026-01-01T00:00:00Z".into(), grace_seconds: 30 }),
    }
}

#[track_caller]
fn check(manifest: &Value, states: &str, make: usize, end: &str) {
    let pods: Vec<Pod> = states.split_whitespace().enumerate().map(|(n, state)| pod(state, n)).collect();
    let mut steps = Steps::default();
    deployment(
        &Rollout { id: &id(), uid: "u", value: manifest },
        &pods.iter().collect::<Vec<_>>(),
        &mut steps,
    );
    assert_eq!((steps.make.len(), steps.end.join(" ").as_str()), (make, end), "with pods {states:?}");
}

#[test]
fn deployment_makes_what_is_missing_and_ends_what_is_too_much() {
    check(&manifest(3, "1"), "", 3, "");
    check(&manifest(3, "1"), "1r 1u", 1, "");
    check(&manifest(3, "1"), "1r 1t 1r", 1, "");
    check(&manifest(1, "1"), "1r 1u 1r", 0, "1u1 1r2");
    check(&manifest(0, "1"), "1r", 0, "1r0");
    check(&manifest(1, "1"), "1f", 1, "1f0");
}

#[test]
fn deployment_rolls_with_a_new_ready_pod_before_an_old_one_ends() {
    check(&manifest(2, "2"), "1r 1r", 1, "");
    check(&manifest(2, "2"), "1r 1r 2u", 0, "");
    check(&manifest(2, "2"), "1r 1r 2r", 0, "1r0");
    check(&manifest(2, "2"), "1t 1r 2r", 1, "");
    check(&manifest(2, "2"), "1r 2r 2r", 0, "1r0");
    check(&manifest(1, "2"), "1u", 1, "1u0");
}

#[test]
fn deployment_recreates_only_when_all_old_pods_are_gone() {
    let mut recreate = manifest(1, "2");
    recreate["spec"]["strategy"] = json!({"type": "Recreate"});
    check(&recreate, "1r", 0, "1r0");
    check(&recreate, "1t", 0, "");
    check(&recreate, "", 1, "");
}

#[test]
fn bare_pods_are_replaced_when_their_manifest_changes() {
    let id = ObjectId::namespaced("", "Pod", "default", "p");
    let manifest = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}});
    let mut steps = Steps::default();
    bare(&id, &manifest, &[], &mut steps);
    assert_eq!(steps.make.len(), 1);
    let mut made = pod("1r", 0);
    made.owner = steps.make[0].owner.clone();
    let mut steps = Steps::default();
    bare(&id, &manifest, &[&made], &mut steps);
    assert_eq!(steps, Steps::default());
    let changed = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "d"}]}});
    bare(&id, &changed, &[&made], &mut steps);
    assert_eq!((steps.make.len(), steps.end), (0, vec![made.uid.clone()]));
}

#[test]
fn node_for_spreads_siblings_then_all_pods_and_keeps_to_the_spec() {
    let sibling = pod("1r", 0);
    let other = Owner::Manifest { hash: "x".into() };
    let node = |spec: Value, owner: &Owner, pods: &[Pod]| node_for(&spec, owner, 2, pods.iter());
    assert_eq!(node(json!({}), &sibling.owner, &[]), Ok(1));
    assert_eq!(node(json!({}), &sibling.owner, std::slice::from_ref(&sibling)), Ok(2));
    assert_eq!(node(json!({}), &other, std::slice::from_ref(&sibling)), Ok(2));
    assert_eq!(node(json!({"nodeName": "node-1"}), &other, std::slice::from_ref(&sibling)), Ok(1));
    let selector = json!({"nodeSelector": {"kubernetes.io/hostname": "node-9"}});
    assert_eq!(
        node(selector, &other, &[]),
        Err("asks for node \"node-9\"; this lab has node-1 to node-2".into())
    );
}
