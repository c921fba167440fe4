//! The operator over real sockets: mutual TLS with certificates of a real cert-authority, and a real folder.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use mesh_ir::resource::Resource;
use mesh_operator::Source;
use mesh_trust::Program;
use serde_json::json;
use tonic::Code;

use lab::{Lab, PATIENCE, trust_domain};
use node::{Node, keys, node_identity, subscribe, tls};

mod lab;
mod node;

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec: {{clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1], ports: [{{name: http, port: {port}}}]}}\n---\n"
    )
}

fn port_of(node: &Node, key: &str) -> u16 {
    match &*node.config.resources[&key.parse().unwrap()] {
        Resource::Service(service) => service.ports[0].port,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_sends_a_changed_file_within_a_second_and_nothing_else() {
    let lab = Lab::start().await;
    lab.write("a.yaml", &service("a", 80));
    lab.write("b.yaml", &service("b", 80));
    lab.wait_until("compiled", async |lab| lab.admin_json("/config").await.as_object().unwrap().len() == 2)
        .await;

    let mut node = Node::new("node-1");
    node.connect(&lab, tls(&lab, "node-1", &node_identity()).await).await;
    assert_eq!(keys(&node.next().await), ["Service shop/a", "Service shop/b"]);

    for port in 81..86 {
        let started = Instant::now();
        lab.write("a.yaml", &service("a", port));
        let delta = node.next().await;
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
        assert_eq!((keys(&delta), delta.removes), (vec!["Service shop/a".to_owned()], vec![]));
        assert_eq!(port_of(&node, "Service shop/a"), port);
    }

    // Written in place, as an editor or a redirection does.
    fs::write(lab.path("objects/c.yaml"), service("c", 80)).unwrap();
    assert_eq!(keys(&node.next().await), ["Service shop/c"]);
    lab.remove("b.yaml");
    let delta = node.next().await;
    assert_eq!((keys(&delta).len(), delta.removes), (0, vec!["Service shop/b".parse().unwrap()]));
    // In /nodes the acknowledgement arrives a moment later.
    lab.wait_until("acknowledged", async |lab| lab.admin_json("/nodes").await[0]["upToDate"] == true).await;
    let nodes = lab.admin_json("/nodes").await;
    let nodes = nodes.as_array().unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!((&nodes[0]["node"], &nodes[0]["sent"]), (&json!("node-1"), &json!(2 + 5 + 1 + 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_keeps_the_objects_of_a_broken_file_and_says_so() {
    let lab = Lab::start().await;
    lab.write("a.yaml", &service("a", 80));
    lab.write("b.yaml", &service("b", 80));
    let mut node = Node::new("node-1");
    node.connect(&lab, tls(&lab, "node-1", &node_identity()).await).await;
    while !(node.has("Service shop/a") && node.has("Service shop/b")) {
        node.next().await;
    }
    let problems = async |count: usize| {
        let is = async |lab: &Lab| lab.status()["problems"].as_array().is_some_and(|p| p.len() == count);
        lab.wait_until("told", is).await;
        lab.status()["problems"].clone()
    };

    lab.write("a.yaml", "kind: [");
    let told = problems(1).await;
    assert!(told[0]["file"].as_str().unwrap().ends_with("/objects/a.yaml"), "{told}");
    assert!(told[0]["message"].as_str().is_some_and(|message| !message.is_empty()), "{told}");

    lab.write("b.yaml", &service("b", 81).replace("ports:", "portz:"));
    let told = problems(2).await;
    assert_eq!(
        (&told[1]["object"], &told[1]["field"]),
        (&json!("Service shop/b"), &json!("spec.portz")),
        "{told}"
    );
    lab.wait_until("shown", async |lab| lab.admin_json("/status").await["problems"] == told).await;

    // Others change; these two are as they were.
    lab.write("c.yaml", &service("c", 80));
    assert_eq!(keys(&node.next().await), ["Service shop/c"]);
    assert_eq!((port_of(&node, "Service shop/a"), port_of(&node, "Service shop/b")), (80, 80));

    lab.write("a.yaml", &service("a", 82));
    assert_eq!(keys(&node.next().await), ["Service shop/a"]);
    lab.remove("b.yaml");
    assert_eq!(node.next().await.removes, vec!["Service shop/b".parse().unwrap()]);
    problems(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_refuses_who_is_no_node() {
    let lab = Lab::start().await;
    let operator = Program::MeshOperator.identity(&trust_domain());
    let config = tls(&lab, "mesh-operator", &operator).await;
    let Err(status) = subscribe(&lab, config).await else { panic!("an operator may not subscribe") };
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains(&node_identity().to_string()), "{status:?}");
    assert!(status.message().contains(&operator.to_string()), "{status:?}");

    // Without a certificate the handshake is refused.
    let client = mesh_trust::CertificateClient::open(lab.trust("node-1"), PATIENCE).await.unwrap();
    let bundle = client.bundle().borrow().clone();
    let config =
        mesh_trust::client_config(None, &bundle, mesh_trust::Expect::Exactly(operator), &[b"h2"]).unwrap();
    let Err(status) = subscribe(&lab, config).await else { panic!("nobody may not subscribe") };
    assert_ne!(status.code(), Code::PermissionDenied, "{status:?}");
    assert_eq!(lab.admin_json("/nodes").await, json!([]));
    let metrics = lab.admin("/metrics").await.1;
    assert!(metrics.contains("weir_operator_sessions_refused_total 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_resumes_after_a_reconnect_and_a_restart() {
    let mut lab = Lab::start().await;
    lab.write("all.yaml", &(0..50).map(|i| service(&format!("s{i}"), 80)).collect::<String>());
    let config = tls(&lab, "node-1", &node_identity()).await;
    let mut node = Node::new("node-1");
    node.connect(&lab, config.clone()).await;
    while node.config.resources.len() < 50 {
        node.next().await;
    }

    node.stream = None;
    lab.wait_until("disconnected", async |lab| lab.admin_json("/nodes").await == json!([])).await;
    node.connect(&lab, config.clone()).await;
    assert!(node.next().await.is_empty(), "nothing changed meanwhile");

    // The node's connection is ended by the operator, which another process replaces; meanwhile things change.
    lab.stop_operator().await;
    let end = tokio::time::timeout(PATIENCE, node.stream.take().unwrap().incoming.message()).await.unwrap();
    assert_eq!(end.unwrap_err().code(), Code::Unavailable);
    lab.write("more.yaml", &service("more", 80));
    lab.start_operator().await;
    lab.wait_until("ready", async |lab| lab.admin("/readyz").await.0 == 200).await;
    node.connect(&lab, config).await;
    assert_eq!(keys(&node.next().await), ["Service shop/more"]);
    lab.wait_until("acknowledged", async |lab| lab.admin_json("/nodes").await[0]["upToDate"] == true).await;
    assert_eq!(lab.admin_json("/nodes").await[0]["sent"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_is_not_held_up_by_a_node_that_does_not_read() {
    let lab = Lab::start().await;
    lab.write("all.yaml", &(0..100).map(|i| service(&format!("s{i}"), 80)).collect::<String>());
    lab.wait_until("compiled", async |lab| lab.admin_json("/config").await.as_object().unwrap().len() == 100)
        .await;
    let config = tls(&lab, "node-1", &node_identity()).await;

    let mut stuck = Node::new("stuck");
    stuck.connect(&lab, config.clone()).await;
    let mut nodes = Vec::new();
    for index in 0..9 {
        let mut node = Node::new(&format!("node-{index}"));
        node.connect(&lab, config.clone()).await;
        assert_eq!(node.next().await.upserts.len(), 100);
        nodes.push(node);
    }
    for port in 81..91 {
        let started = Instant::now();
        lab.write("changed.yaml", &service("changed", port));
        for node in &mut nodes {
            assert_eq!(keys(&node.next().await), ["Service shop/changed"]);
        }
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    }
    lab.wait_until("acknowledged", async |lab| {
        let nodes = lab.admin_json("/nodes").await;
        nodes.as_array().unwrap().iter().filter(|node| node["upToDate"] == true).count() == 9
    })
    .await;
    let told = lab.admin_json("/nodes").await;
    let told = told.as_array().unwrap().iter().find(|node| node["node"] == "stuck").unwrap();
    assert_eq!(told["upToDate"], false);

    // When it reads again it gets the first configuration, then the newest, and nothing of what was between.
    assert_eq!(stuck.next().await.upserts.len(), 100);
    assert_eq!(keys(&stuck.next().await), ["Service shop/changed"]);
    assert_eq!(port_of(&stuck, "Service shop/changed"), 90);
    assert_eq!(stuck.config, nodes[0].config);
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_tells_what_a_node_rejected() {
    let lab = Lab::start().await;
    lab.write("all.yaml", &[service("a", 80), service("b", 80)].concat());
    lab.wait_until("compiled", async |lab| lab.admin_json("/config").await.as_object().unwrap().len() == 2)
        .await;
    let mut node = Node::new("node-1");
    node.connect(&lab, tls(&lab, "node-1", &node_identity()).await).await;
    let delta = node.next_with(|resource| match resource.key().to_string().as_str() {
        "Service shop/a" => Err("not here".into()),
        _ => Ok(()),
    });
    assert_eq!(keys(&delta.await), ["Service shop/b"]);
    lab.wait_until("acknowledged", async |lab| lab.admin_json("/nodes").await[0]["upToDate"] == true).await;
    let rejected = json!([{"resource": "Service shop/a", "message": "Service shop/a: not here"}]);
    assert_eq!(lab.admin_json("/nodes").await[0]["rejected"], rejected);
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_ends_a_session_that_breaks_the_protocol() {
    let lab = Lab::start().await;
    let mut node = Node::new("node-1");
    node.connect(&lab, tls(&lab, "node-1", &node_identity()).await).await;
    let mut stream = node.stream.take().unwrap();
    let ack = mesh_wire::proto::Ack { sequence: 7, rejected: vec![], complete: true };
    let message = Some(mesh_wire::proto::node_message::Message::Ack(ack));
    stream.outgoing.send(mesh_wire::proto::NodeMessage { session: 1, message }).await.unwrap();
    let end = async {
        loop {
            match stream.incoming.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a reason"),
                Err(status) => return status,
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, end).await.unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    lab.wait_until("gone", async |lab| lab.admin_json("/nodes").await == json!([])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_cuts_off_a_node_that_makes_no_progress() {
    let mut lab = Lab::start().await;
    lab.stop_operator().await;
    lab.stall_timeout = Duration::from_millis(300);
    lab.start_operator().await;
    lab.wait_until("ready", async |lab| lab.admin("/readyz").await.0 == 200).await;
    let config = tls(&lab, "node-1", &node_identity()).await;
    // One never says hello, one never acknowledges, one is up to date and has nothing to say.
    let silent = subscribe(&lab, config.clone()).await.unwrap();
    let mut owing = Node::new("owing");
    owing.connect(&lab, config.clone()).await;
    let mut idle = Node::new("idle");
    idle.connect(&lab, config).await;
    idle.next().await;
    for mut stream in [silent, owing.stream.take().unwrap()] {
        let end = async {
            loop {
                if let Err(status) = stream.incoming.message().await {
                    return status;
                }
            }
        };
        let status = tokio::time::timeout(PATIENCE, end).await.unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    }
    lab.wait_until("gone", async |lab| lab.admin_json("/nodes").await.as_array().unwrap().len() == 1).await;
    lab.write("a.yaml", &service("a", 80));
    assert_eq!(keys(&idle.next().await), ["Service shop/a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_writes_statuses_and_the_objects_of_gateways() {
    let mut lab = Lab::start().await;
    let gateway = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: front, namespace: shop}\n\
                   spec: {gatewayClassName: weir, listeners: [{name: http, port: 80, protocol: HTTP}]}";
    lab.write("gateway.yaml", gateway);
    let written = |lab: &Lab| fs::read_dir(lab.path("published/objects")).unwrap().count();
    let accepted = |lab: &Lab| {
        let object = lab.status()["objects"][0].clone();
        (object["kind"] == "Gateway" && object["name"] == "front" && object["namespace"] == "shop")
            .then(|| object["status"]["conditions"][0].clone())
    };
    lab.wait_until("written", async |lab| accepted(lab).is_some() && written(lab) > 0).await;
    let condition = accepted(&lab).unwrap();
    assert_eq!((&condition["type"], &condition["status"]), (&json!("Accepted"), &json!("True")));
    let time = condition["lastTransitionTime"].as_str().unwrap();

    // Another operator keeps the times that it finds, as long as they hold.
    lab.stop_operator().await;
    let text = fs::read_to_string(lab.path("published/status.json")).unwrap();
    fs::write(lab.path("published/status.json"), text.replace(time, "2020-01-01T00:00:00Z")).unwrap();
    lab.start_operator().await;
    lab.write("route.yaml", &service("a", 80));
    lab.wait_until("shown", async |lab| lab.admin_json("/status").await["objects"][0]["name"] == "front")
        .await;
    assert_eq!(accepted(&lab).unwrap()["lastTransitionTime"], "2020-01-01T00:00:00Z");

    lab.remove("gateway.yaml");
    lab.wait_until("removed", async |lab| written(lab) == 0 && lab.status()["objects"] == json!([])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_waits_for_the_authority_and_says_why() {
    let mut lab = Lab::without_authority().await;
    lab.write("a.yaml", &service("a", 80));
    lab.wait_until("compiled", async |lab| {
        let (status, body) = lab.admin("/config").await;
        status == 200 && body.contains("Service shop/a")
    })
    .await;
    lab.wait_until("waiting", async |lab| lab.admin("/readyz").await.1.contains("bundle.pem")).await;
    assert_eq!(lab.admin("/readyz").await.0, 503);
    assert_eq!(lab.health("/readyz").await, lab.admin("/readyz").await);
    assert_eq!(lab.health("/healthz").await, (200, "ok\n".into()));
    lab.start_authority().await;
    lab.wait_until("ready", async |lab| lab.admin("/readyz").await == (200, "ok\n".into())).await;
    let mut node = Node::new("node-1");
    node.connect(&lab, tls(&lab, "node-1", &node_identity()).await).await;
    assert_eq!(keys(&node.next().await), ["Service shop/a"]);
    lab.wait_until("counted", async |lab| {
        lab.health("/metrics").await.1.contains("weir_operator_nodes_connected 1")
    })
    .await;
    // What may hold what is nobody's business stays on the socket.
    for path in ["/config", "/status", "/nodes"] {
        assert_eq!(lab.health(path).await.0, 404, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_without_its_api_server_is_alive_and_says_what_it_waits_for() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = kube::Client::try_from(kube::Config::new(format!("http://{nobody}").parse().unwrap()));
    let source = Source::Cluster { server: client.unwrap().into(), namespace: "weir-system".into() };
    let mut lab = Lab::with_source(Some(source)).await;
    lab.start_authority().await;
    let expected = "not synced: waiting for the first list of ";
    lab.wait_until("waiting for lists", async |lab| {
        let (status, why) = lab.health("/readyz").await;
        status == 503 && why.starts_with(expected) && why.contains("cannot reach the API server")
    })
    .await;
    assert_eq!(lab.health("/healthz").await, (200, "ok\n".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_is_for_its_owner_and_shows_no_key() {
    let lab = Lab::start().await;
    let mode = fs::metadata(lab.path("operator.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(lab.admin("/nothing").await.0, 404);
    let metrics = lab.admin("/metrics").await.1;
    assert!(metrics.contains("weir_operator_resources 0"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operator_says_which_folder_is_missing() {
    let lab = Lab::without_authority().await;
    let settings = mesh_operator::Settings {
        source: mesh_operator::Source::Folders {
            manifests: vec![lab.path("nowhere")],
            output: lab.path("other"),
        },
        listen: "127.0.0.1:0".parse().unwrap(),
        same_node: mesh_ir::resource::SameNode::Direct,
        admin: lab.path("other.sock"),
        metrics: None,
        trust: lab.trust("mesh-operator"),
        stall_timeout: mesh_operator::STALL_TIMEOUT,
    };
    let error = mesh_operator::Operator::start(settings).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot watch the manifest folder ") && error.contains("nowhere"), "{error}");
}
