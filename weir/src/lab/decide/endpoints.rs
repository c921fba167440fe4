//! EndpointSlices: which pods stand behind a Service, on which ports and in which state.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::addresses::families;
use crate::lab::object::{Object, ObjectId};
use crate::lab::pod::Pod;

/// The slices of a Service: one per address family, and more only where pods resolve a named port differently.
/// A Service without selector has none: its slices are somebody else's.
pub(crate) fn slices(id: &ObjectId, service: &Value, pods: &[&Pod]) -> Vec<Object> {
    let Some(selector) = service["spec"]["selector"].as_object().filter(|s| !s.is_empty()) else {
        return Vec::new();
    };
    if service["spec"]["type"] == "ExternalName" {
        return Vec::new();
    }
    let selected = pods.iter().filter(|pod| {
        pod.namespace == id.space()
            && !pod.phase.is_final()
            && selector.iter().all(|(key, value)| pod.label(key) == value.as_str())
    });
    let always_ready = service["spec"]["publishNotReadyAddresses"] == true;
    let near = service["spec"]["trafficDistribution"].as_str();
    let mut groups: BTreeMap<String, (Vec<Value>, Vec<&Pod>)> = BTreeMap::new();
    for pod in selected {
        let ports = ports(service, pod);
        let key = Value::from(ports.clone()).to_string();
        groups.entry(key).or_insert_with(|| (ports, Vec::new())).1.push(pod);
    }
    if groups.is_empty() {
        // A Service nobody stands behind has a slice that says so.
        groups.insert(String::new(), (Vec::new(), Vec::new()));
    }
    let mut made = Vec::new();
    for family in families(service) {
        for (number, (ports, pods)) in groups.values().enumerate() {
            let endpoints: Vec<Value> =
                pods.iter().map(|pod| endpoint(pod, family, always_ready, near)).collect();
            made.push(slice(id, family, number, ports, endpoints));
        }
    }
    made
}

fn ports(service: &Value, pod: &Pod) -> Vec<Value> {
    let declared = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let one = |port: &Value| {
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let target = if port["targetPort"].is_null() { &port["port"] } else { &port["targetPort"] };
        // A name that the pod does not have leaves the port out for this pod, as in a cluster.
        let number = pod.port(target, protocol)?;
        let mut made =
            json!({"name": port["name"].as_str().unwrap_or_default(), "port": number, "protocol": protocol});
        if let Some(application) = port["appProtocol"].as_str() {
            made["appProtocol"] = json!(application);
        }
        Some(made)
    };
    declared.iter().filter_map(one).collect()
}

fn endpoint(pod: &Pod, family: &str, always_ready: bool, near: Option<&str>) -> Value {
    let address: IpAddr = if family == "IPv6" { pod.address.v6.into() } else { pod.address.v4.into() };
    let serving = pod.ready || always_ready;
    let ready = always_ready || (pod.ready && !pod.is_terminating());
    let mut made = json!({
        "addresses": [address],
        "conditions": {
            "ready": ready,
            "serving": serving,
            "terminating": pod.is_terminating(),
        },
        "nodeName": pod.node_name(),
        "targetRef": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
    });
    // As the control plane does: a ready endpoint is meant for the clients on its own node. A lab has no zones, and so
    // the other ways of distribution give no hints.
    if ready && near == Some("PreferSameNode") {
        made["hints"] = json!({"forNodes": [{"name": pod.node_name()}]});
    }
    made
}

fn slice(service: &ObjectId, family: &str, number: usize, ports: &[Value], endpoints: Vec<Value>) -> Object {
    let suffix = if number == 0 { String::new() } else { format!("-{number}") };
    let name = format!("{}-{}{suffix}", service.name, family.to_ascii_lowercase());
    let id = ObjectId::namespaced("discovery.k8s.io", "EndpointSlice", service.space(), &name);
    let value = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": service.space(),
            "labels": {
                "kubernetes.io/service-name": service.name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": family,
        "ports": ports,
        "endpoints": endpoints,
    });
    Object { id, value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::address::Subnets;
    use crate::lab::pod::{Deletion, Owner, Phase};

    fn pod(host: u8, port: u16, ready: bool, terminating: bool) -> Pod {
        Pod {
            uid: format!("uid-{host}"),
            namespace: "default".into(),
            name: format!("web-{host}"),
            node: 1,
            address: Subnets::new(0).pod(1, host),
            owner: Owner::Manifest { hash: String::new() },
            metadata: json!({"labels": {"app": "web", "extra": "x"}}),
            spec: json!({"containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port}]}]}),
            created: String::new(),
            phase: Phase::Running,
            ready,
            restarts: BTreeMap::new(),
            message: None,
            deletion: terminating.then(|| Deletion { timestamp: String::new(), grace_seconds: 1 }),
        }
    }

    fn service(spec: Value) -> Value {
        let mut service = json!({"spec": {"selector": {"app": "web"}, "ports": [{"name": "w", "port": 80, "targetPort": "http"}]}});
        for (key, value) in spec.as_object().unwrap() {
            service["spec"][key] = value.clone();
        }
        service
    }

    fn slices_of(spec: Value, pods: &[Pod]) -> Vec<Object> {
        let id = ObjectId::namespaced("", "Service", "default", "web");
        slices(&id, &service(spec), &pods.iter().collect::<Vec<_>>())
    }

    #[test]
    fn slices_say_who_is_ready_in_both_families() {
        let made = slices_of(
            json!({}),
            &[pod(2, 8080, true, false), pod(3, 8080, false, false), pod(4, 8080, true, true)],
        );
        assert_eq!(made.iter().map(|o| o.id.name.as_str()).collect::<Vec<_>>(), ["web-ipv4", "web-ipv6"]);
        assert_eq!(made[0].value["ports"], json!([{"name": "w", "port": 8080, "protocol": "TCP"}]));
        let states: Vec<String> = made[1].value["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| {
                format!(
                    "{} {} {} {}",
                    e["addresses"][0].as_str().unwrap(),
                    e["conditions"]["ready"],
                    e["conditions"]["serving"],
                    e["conditions"]["terminating"]
                )
            })
            .collect();
        assert_eq!(
            states,
            [
                "fd77:6569:0:1::2 true true false",
                "fd77:6569:0:1::3 false false false",
                "fd77:6569:0:1::4 false true true"
            ]
        );
        assert_eq!(made[0].value["endpoints"][0]["targetRef"]["uid"], "uid-2");
    }

    #[test]
    fn slices_split_where_pods_resolve_a_named_port_differently() {
        let spec = json!({"ipFamilyPolicy": "SingleStack"});
        let made = slices_of(spec, &[pod(2, 8080, true, false), pod(3, 9090, true, false)]);
        let ports: Vec<String> = made.iter().map(|o| o.value["ports"][0]["port"].to_string()).collect();
        assert_eq!(ports, ["8080", "9090"]);
    }

    #[test]
    fn slices_publish_addresses_that_are_not_ready_when_asked_to() {
        let made = slices_of(json!({"publishNotReadyAddresses": true}), &[pod(2, 1, false, true)]);
        assert_eq!(made[0].value["endpoints"][0]["conditions"]["ready"], true);
    }

    #[test]
    fn slices_hint_at_the_own_node_of_what_is_ready_when_asked_to() {
        let pods = [pod(2, 1, true, false), pod(3, 1, false, false), pod(4, 1, true, true)];
        let made = slices_of(json!({"trafficDistribution": "PreferSameNode"}), &pods);
        let hints: Vec<&Value> =
            made[0].value["endpoints"].as_array().unwrap().iter().map(|e| &e["hints"]).collect();
        assert_eq!(hints, [&json!({"forNodes": [{"name": "node-1"}]}), &Value::Null, &Value::Null]);
        let made = slices_of(json!({"trafficDistribution": "PreferSameZone"}), &pods);
        assert!(made[0].value["endpoints"][0]["hints"].is_null());
    }

    #[test]
    fn slices_are_not_made_without_a_selector_and_are_empty_without_pods() {
        assert!(slices_of(json!({"selector": null}), &[pod(2, 1, true, false)]).is_empty());
        let made = slices_of(json!({"selector": {"app": "other"}}), &[pod(2, 1, true, false)]);
        assert_eq!((made.len(), &made[0].value["endpoints"]), (2, &json!([])));
    }
}
