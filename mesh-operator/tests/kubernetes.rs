//! The operator against a real API server, the one of `KUBECONFIG`: it needs the definitions of the Gateway API and of
//! Weir in it, and that no other operator of Weir runs. Every test has a namespace of its own, and an operator in this
//! process.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::time::{Duration, Instant};

use mesh_operator::Source;
use serde_json::{Value, json};

use cluster::{Cluster, condition};
use lab::Lab;
use node::{Node, node_identity, tls};
use proxy::Proxy;

#[path = "kubernetes/cluster.rs"]
mod cluster;
#[path = "operator/lab.rs"]
#[allow(dead_code, reason = "shared with the tests of the folder")]
mod lab;
#[path = "operator/node.rs"]
#[allow(dead_code, reason = "shared with the tests of the folder")]
mod node;
#[path = "kubernetes/proxy.rs"]
mod proxy;

impl Cluster {
    /// An operator with its cert-authority; several take part in one election.
    async fn operator(&self) -> Lab {
        self.operator_by(self.server().await).await
    }

    async fn operator_by(&self, server: mesh_operator::ApiServer) -> Lab {
        let source = Source::Cluster { server, namespace: self.namespace.clone() };
        let mut lab = Lab::with_source(Some(source)).await;
        lab.start_authority().await;
        lab.wait_until("ready", async |lab| lab.admin("/readyz").await.0 == 200).await;
        lab
    }

    async fn leader(&self) -> String {
        let lease = self.get("Lease", "weir-operator").await;
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// A Gateway, a Service, and a route from the one to the other.
    async fn create_shop(&self) {
        self.create("Service", "web", json!({"spec": {"ports": [{"name": "http", "port": 80}]}})).await;
        self.create("Gateway", "front", gateway(&[80])).await;
        let spec = json!({
            "parentRefs": [{"name": "front"}, {"group": "", "kind": "Service", "name": "web"}],
            "rules": [{"backendRefs": [{"name": "web", "port": 80}]}],
        });
        self.create("HTTPRoute", "web", json!({ "spec": spec })).await;
    }
}

fn gateway(ports: &[u16]) -> Value {
    let listener = |port: &u16| json!({"name": format!("p{port}"), "port": port, "protocol": "HTTP"});
    let listeners: Vec<Value> = ports.iter().map(listener).collect();
    json!({"spec": {"gatewayClassName": "weir", "listeners": listeners}})
}

fn controllers(route: &Value) -> Vec<&str> {
    let parents = route["status"]["parents"].as_array().map(Vec::as_slice).unwrap_or_default();
    parents.iter().map(|parent| parent["controllerName"].as_str().unwrap()).collect()
}

const OURS: &str = "weir.dev/gateway-controller";

#[tokio::test(flavor = "multi_thread")]
async fn apply_writes_statuses_and_objects_and_keeps_what_others_wrote() {
    cluster::test(async |cluster| {
        let mut lab = cluster.operator().await;
        cluster.wait("GatewayClass", "weir", |c| condition(&c["status"], "Accepted") == "True").await;
        cluster.create_shop().await;
        cluster.wait("Gateway", "front", |g| condition(&g["status"], "Accepted") == "True").await;
        let route = cluster.wait("HTTPRoute", "web", |r| controllers(r) == [OURS, OURS]).await;
        let service = cluster.wait("Service", "front-weir", |s| s["spec"]["type"] == "LoadBalancer").await;
        let slice = cluster.wait("EndpointSlice", "front-weir-ipv4", |s| !s["endpoints"].is_null()).await;
        let nodes = cluster.node_names().await;
        let named: Vec<&str> =
            slice["endpoints"].as_array().unwrap().iter().map(|e| e["nodeName"].as_str().unwrap()).collect();
        assert_eq!(named, nodes);

        // Others write into the same objects.
        let theirs = json!({
            "parentRef": {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "elsewhere"},
            "controllerName": "example.com/other",
            "conditions": [{"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
                            "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        });
        let mut parents = route["status"]["parents"].as_array().unwrap().clone();
        parents.push(theirs.clone());
        cluster.patch_status("HTTPRoute", "web", json!({"status": {"parents": parents}})).await;
        let node_port = service["spec"]["ports"][0]["nodePort"].clone();
        let annotated = json!({
            "metadata": {"annotations": {"example.com/kept": "yes"}},
            "spec": {"externalTrafficPolicy": "Local"},
        });
        cluster.patch("Service", "front-weir", annotated).await;

        cluster.patch("Gateway", "front", gateway(&[80, 81])).await;
        let ports = |s: &Value| s["spec"]["ports"].as_array().map_or(0, Vec::len);
        let service = cluster.wait("Service", "front-weir", |s| ports(s) == 2).await;
        assert_eq!(service["spec"]["ports"][0]["nodePort"], node_port);
        assert_eq!(service["metadata"]["annotations"]["example.com/kept"], "yes");
        assert_eq!(service["spec"]["externalTrafficPolicy"], "Local");
        cluster.patch("Gateway", "front", gateway(&[81])).await;
        cluster.wait("Service", "front-weir", |s| ports(s) == 1).await;
        cluster
            .wait("Gateway", "front", |g| g["status"]["listeners"].as_array().is_some_and(|l| l.len() == 1))
            .await;

        // What is gone is gone in the statuses, and in the cluster.
        cluster.delete("Gateway", "front").await;
        cluster.wait("HTTPRoute", "web", |r| controllers(r) == ["example.com/other", OURS]).await;
        cluster.wait_gone("Service", "front-weir").await;
        cluster.wait_gone("EndpointSlice", "front-weir-ipv4").await;
        cluster.patch("HTTPRoute", "web", json!({"spec": {"parentRefs": [{"name": "elsewhere"}]}})).await;
        let route = cluster.wait("HTTPRoute", "web", |r| controllers(r) == ["example.com/other"]).await;
        assert_eq!(route["status"]["parents"], json!([theirs]));

        // Nothing is written again and again.
        let before = cluster.get("HTTPRoute", "web").await["metadata"]["resourceVersion"].clone();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(cluster.get("HTTPRoute", "web").await["metadata"]["resourceVersion"], before);
        lab.stop_operator().await;
        assert_eq!(cluster.leader().await, "", "the lease was not given back");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_has_an_address_and_is_programmed_when_nodes_have_it() {
    cluster::test(async |cluster| {
        // Of the range for benchmarks, and most likely no other test's.
        let network = format!("198.18.{}", fastrand::u8(..));
        let (address, outside) = (format!("{network}.9"), format!("{network}.77"));
        let pool = cluster.create_pool(&[&format!("{network}.8-{address}")]).await;
        // The leader serves no node: the other replica does.
        let mut leader = cluster.operator().await;
        cluster.wait("Lease", "weir-operator", |l| l["spec"]["holderIdentity"] != "").await;
        let mut other = cluster.operator().await;
        let mut front = gateway(&[80]);
        front["spec"]["addresses"] = json!([{"type": "IPAddress", "value": address}]);
        cluster.create("Gateway", "front", front.clone()).await;
        front["spec"]["addresses"] = json!([{"type": "IPAddress", "value": outside}]);
        cluster.create("Gateway", "outside", front.clone()).await;

        let name = cluster.node_names().await.remove(0);
        let mut node = Node::new(&name);
        node.connect(&other, tls(&other, "node-1", &node_identity()).await).await;
        let pending = |g: &Value| {
            let programmed = cluster::find(&g["status"], "Programmed");
            programmed["reason"] == "Pending" && programmed["message"].as_str().unwrap().contains(&name)
        };
        let gateway = cluster.wait("Gateway", "front", pending).await;
        assert_eq!(gateway["status"]["addresses"], json!([{"type": "IPAddress", "value": address}]));
        assert_eq!(condition(&gateway["status"]["listeners"][0], "Programmed"), "False");

        let key = format!("Gateway {}/front", cluster.namespace);
        let acknowledging = async {
            loop {
                node.next().await;
            }
        };
        tokio::select! {
            () = acknowledging => {}
            _ = cluster.wait("Gateway", "front", |g| condition(&g["status"], "Programmed") == "True") => {}
        }
        assert!(node.has(&key));
        let annotation = |s: &Value| s["metadata"]["annotations"]["weir.dev/announced-by"] == name.as_str();
        let service = cluster.wait("Service", "front-weir", annotation).await;
        let ingress = json!([{"ip": address, "ipMode": "VIP"}]);
        assert_eq!(service["status"]["loadBalancer"]["ingress"], ingress);
        let refused = cluster::find(&cluster.get("Gateway", "outside").await["status"], "Programmed").clone();
        assert_eq!(refused["reason"], "AddressNotUsable");
        assert!(
            refused["message"].as_str().unwrap().starts_with(&format!("{outside} of spec.addresses")),
            "{refused}"
        );

        cluster.delete_pool(&pool).await;
        let gone = |s: &Value| s["status"]["loadBalancer"]["ingress"].as_array().is_none_or(Vec::is_empty);
        let service = cluster.wait("Service", "front-weir", gone).await;
        assert_eq!(service["spec"]["type"], "LoadBalancer");
        cluster.wait("Gateway", "front", |g| condition(&g["status"], "Programmed") == "False").await;
        other.stop_operator().await;
        leader.stop_operator().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn election_has_another_replica_take_over() {
    cluster::test(async |cluster| {
        let proxy = Proxy::start().await;
        let mut first = cluster.operator_by(proxy.server().await).await;
        cluster.wait("Lease", "weir-operator", |l| l["spec"]["holderIdentity"] != "").await;
        let mut second = cluster.operator().await;
        let leader = cluster.leader().await;

        // The first hears and is heard no more.
        let started = Instant::now();
        proxy.cut();
        cluster.wait("Lease", "weir-operator", |l| l["spec"]["holderIdentity"] != leader.as_str()).await;
        let took = started.elapsed();
        println!("another replica took over in {took:?}");
        assert!(took < Duration::from_secs(15), "{took:?}");
        cluster.create_shop().await;
        cluster.wait("HTTPRoute", "web", |r| controllers(r) == [OURS, OURS]).await;

        // It comes back, and waits; the second gives the lease back.
        proxy.restore();
        let leader = cluster.leader().await;
        let started = Instant::now();
        second.stop_operator().await;
        let led = |l: &Value| !["", &leader].contains(&l["spec"]["holderIdentity"].as_str().unwrap());
        cluster.wait("Lease", "weir-operator", led).await;
        let took = started.elapsed();
        println!("after a regular end another replica took over in {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        cluster.delete("Gateway", "front").await;
        cluster.wait("HTTPRoute", "web", |r| controllers(r) == [OURS]).await;
        first.stop_operator().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_goes_on_after_the_api_server_was_away() {
    cluster::test(async |cluster| {
        let proxy = Proxy::start().await;
        let mut lab = cluster.operator_by(proxy.server().await).await;
        cluster.create_shop().await;
        cluster.wait("HTTPRoute", "web", |r| controllers(r) == [OURS, OURS]).await;
        let key = format!("Route HTTPRoute {}/web", cluster.namespace);
        let has_route = async |lab: &Lab| lab.admin_json("/config").await.to_string().contains("/web");
        assert!(has_route(&lab).await, "{key}");

        proxy.cut();
        cluster.delete("HTTPRoute", "web").await;
        cluster.delete("Gateway", "front").await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        // What was known stays.
        assert!(has_route(&lab).await);
        assert_eq!(lab.admin("/readyz").await.0, 200);
        let started = Instant::now();
        proxy.restore();
        let gone = async |lab: &Lab| {
            let status = lab.admin_json("/status").await;
            let of_test = |o: &Value| o["namespace"] == cluster.namespace.as_str();
            !status["objects"].as_array().unwrap().iter().any(of_test)
        };
        lab.wait_until("without the route", gone).await;
        println!("caught up in {:?}", started.elapsed());
        lab.stop_operator().await;
    })
    .await;
}
