use serde_json::{Value, json};

use super::*;
use crate::lab::address::Subnets;
use crate::lab::pod::{Owner, Phase};

fn pod(container: Value) -> Pod {
    Pod {
        uid: "uid-1".into(),
        namespace: "shop".into(),
        name: "web-1".into(),
        node: 2,
        address: Subnets::new(0).pod(2, 7),
        owner: Owner::Manifest { hash: String::new() },
        metadata: json!({"labels": {"app": "web"}}),
        spec: json!({"serviceAccountName": "web", "containers": [container]}),
        created: String::new(),
        phase: Phase::Pending,
        ready: false,
        restarts: BTreeMap::new(),
        message: None,
        deletion: None,
    }
}

fn planned(container: Value) -> Result<Plan, String> {
    let base = BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]);
    plan(&pod(container), "100.64.0.12", &Images::new(), &base).map(|plan| plan.containers[0].clone())
}

#[test]
fn environment_comes_from_values_fields_and_other_variables() {
    let from = |path: &str| json!({"fieldRef": {"fieldPath": path}});
    let plan = planned(json!({
        "name": "c", "command": ["run", "--at=$(IP):$(PORT)", "$$(IP)", "$(NONE) $"],
        "env": [
            {"name": "PORT", "value": "80"},
            {"name": "IP", "valueFrom": from("status.podIP")},
            {"name": "ALL", "value": "$(IP)/$(PORT)"},
            {"name": "NODE", "valueFrom": from("spec.nodeName")},
            {"name": "APP", "valueFrom": from("metadata.labels['app']")},
        ],
    }))
    .unwrap();
    assert_eq!(plan.command, ["run", "--at=100.64.2.7:80", "$(IP)", "$(NONE) $"]);
    assert_eq!(plan.environment["ALL"], "100.64.2.7/80");
    assert_eq!(plan.environment["NODE"], "node-2");
    assert_eq!(plan.environment["APP"], "web");
    assert_eq!(plan.environment["HOSTNAME"], "web-1");
}

#[test]
fn what_the_lab_cannot_give_is_an_error_that_names_the_container() {
    let with = |env: Value| {
        planned(json!({"name": "c", "command": ["x"], "env": [env]})).map(|plan| plan.environment.len())
    };
    let secret = |optional: bool| json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": optional}}});
    assert_eq!(with(secret(true)), Ok(2));
    let error = with(secret(false)).unwrap_err();
    assert_eq!(error, "container c of Pod shop/web-1 env A: the lab reads value and valueFrom.fieldRef only");
    let error = planned(json!({"name": "c", "image": "img"})).unwrap_err();
    assert!(error.starts_with("container c of Pod shop/web-1 has image \"img\""), "{error}");
}

#[test]
fn probes_get_the_defaults_of_kubernetes_and_resolve_named_ports() {
    let plan = planned(json!({
        "name": "c", "command": ["x"], "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 2},
    }))
    .unwrap();
    let expected = Check {
        action: Action::Http { port: 8080, path: "/".into(), headers: vec![] },
        initial_delay: Duration::ZERO,
        period: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        successes: 1,
        failures: 3,
    };
    assert_eq!(plan.readiness, Some(expected));
    let error =
        planned(json!({"name": "c", "command": ["x"], "readinessProbe": {"tcpSocket": {"port": "no"}}}));
    assert!(error.unwrap_err().contains("port \"no\""));
}
