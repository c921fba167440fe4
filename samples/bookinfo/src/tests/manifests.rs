//! The manifests agree with each other and with the program's command line.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Parser;
use serde::Deserialize;
use serde_yaml_ng::Value;

use crate::cli::Cli;

#[test]
fn manifests_run_commands_that_the_program_has() {
    let deployments = of_kind("Deployment");
    assert_eq!(deployments.len(), 7);
    for deployment in &deployments {
        let name = text(&deployment["metadata"]["name"]);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let args = container["args"].as_sequence().unwrap().iter().map(text);
        Cli::try_parse_from(["bookinfo"].into_iter().chain(args))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(images().contains_key(text(&container["image"])), "{name}: lab.yaml does not map its image");
        assert_eq!(
            deployment["spec"]["selector"]["matchLabels"],
            deployment["spec"]["template"]["metadata"]["labels"],
            "{name}"
        );
    }
}

#[test]
fn manifests_name_only_what_there_is() {
    let (deployments, services) = (of_kind("Deployment"), of_kind("Service"));
    for service in &services {
        let name = text(&service["metadata"]["name"]);
        let selector = service["spec"]["selector"].as_mapping().unwrap();
        let selects = |deployment: &&Value| {
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        let versions = if name == "reviews" { 3 } else { 1 };
        assert_eq!(deployments.iter().filter(selects).count(), versions, "pods of Service {name}");
    }

    let services = names(&services);
    let accounts = names(&of_kind("ServiceAccount"));
    for deployment in &deployments {
        if let Some(account) = deployment["spec"]["template"]["spec"].get("serviceAccountName") {
            assert!(accounts.contains(&text(account).to_owned()), "{account:?}");
        }
    }
    for route in of_kind("HTTPRoute") {
        for rule in route["spec"]["rules"].as_sequence().unwrap() {
            for backend in rule["backendRefs"].as_sequence().unwrap() {
                assert!(services.contains(&text(&backend["name"]).to_owned()), "{backend:?}");
            }
        }
    }
    for policy in of_kind("BackendPolicy") {
        assert!(services.contains(&text(&policy["spec"]["targetRefs"][0]["name"]).to_owned()));
    }
}

fn of_kind(kind: &str) -> Vec<Value> {
    let files = ["bookinfo", "gateway", "canary", "circuit-breaker", "strict", "outside"];
    let documents = files.iter().flat_map(|file| {
        let text = read(file);
        let parsed: Result<Vec<Value>, _> =
            serde_yaml_ng::Deserializer::from_str(&text).map(Value::deserialize).collect();
        parsed.unwrap_or_else(|error| panic!("{file}.yaml: {error}"))
    });
    documents.filter(|document| text(&document["kind"]) == kind).collect()
}

fn images() -> BTreeMap<String, Vec<String>> {
    #[derive(Deserialize)]
    struct Lab {
        images: BTreeMap<String, Vec<String>>,
    }
    serde_yaml_ng::from_str::<Lab>(&read("lab")).unwrap().images
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(file).with_extension("yaml");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().map(|object| text(&object["metadata"]["name"]).to_owned()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value:?} is not a text"))
}
