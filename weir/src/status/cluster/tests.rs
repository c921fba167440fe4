//! The report of a cluster, from objects as an API server gives them, over a real connection.

use kube::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::super::report::Report;
use super::super::show;
use super::*;

const SYSTEM: &str = "/api/v1/namespaces/weir-system/pods";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/weir-system/leases";
const GATEWAY_API: &str = "/apis/gateway.networking.k8s.io/v1";

/// A server of these answers by their paths; of others it says that they are not there.
async fn server(answers: Vec<(String, u16, String)>) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answers = answers.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                while let Ok(Some(first)) = lines.next_line().await {
                    while lines.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {}
                    let path = first.split([' ', '?']).nth(1).unwrap();
                    let none = (String::new(), 404, refusal(404, "the server could not find it"));
                    let (_, status, body) = answers.iter().find(|(known, ..)| known == path).unwrap_or(&none);
                    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                    write.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                }
            });
        }
    });
    let mut config = Config::new(format!("http://{address}").parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn refusal(code: u16, message: &str) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "X", "code": code})
    .to_string()
}

fn list(path: &str, items: Value) -> (String, u16, String) {
    let list =
        json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "7"}, "items": items});
    (path.to_owned(), 200, list.to_string())
}

fn pod(namespace: &str, name: &str, program: &str, node: &str, ready: bool) -> Value {
    let truth = if ready { "True" } else { "False" };
    json!({"metadata": {"namespace": namespace, "name": name, "uid": format!("uid-{name}"),
            "labels": {"app.kubernetes.io/name": program, "app.kubernetes.io/part-of": "weir"}},
        "spec": {"nodeName": node, "containers": [], "serviceAccountName": "default"},
        "status": {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": truth, "message": "containers are not ready"}]}})
}

fn system() -> Value {
    json!([
        pod("weir-system", "cert-authority-1", "cert-authority", "node-1", true),
        pod("weir-system", "mesh-operator-1", "mesh-operator", "node-1", true),
        pod("weir-system", "mesh-operator-2", "mesh-operator", "node-2", true),
        pod("weir-system", "mesh-node-1", "mesh-node", "node-1", true),
        pod("weir-system", "mesh-node-2", "mesh-node", "node-2", true),
    ])
}

fn lease(name: &str, holder: &str, renewed: &str, nodes: Option<Value>) -> Value {
    let mut lease = json!({"metadata": {"namespace": "weir-system", "name": name},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": renewed}});
    if let Some(nodes) = nodes {
        lease["metadata"]["labels"] = json!({"weir.dev/replica-of": "mesh-operator"});
        lease["metadata"]["annotations"] = json!({"weir.dev/nodes": nodes.to_string()});
    }
    lease
}

fn leases(first: Value, second: Value) -> Value {
    let stale = json!({"acknowledged": {"0000000000000001": ["node-1"]}});
    let now = "2026-11-21T07:00:10.000000Z";
    json!([
        lease("weir-operator", "mesh-operator-1-0000000a", now, None),
        lease("weir-operator-mesh-operator-1-0000000a", "mesh-operator-1-0000000a", now, Some(first)),
        lease("weir-operator-mesh-operator-2-0000000b", "mesh-operator-2-0000000b", now, Some(second)),
        // Of the process before, and of a pod that is gone: what they say is over.
        lease(
            "weir-operator-mesh-operator-1-0000000c",
            "mesh-operator-1-0000000c",
            "2026-11-21T07:00:00.000000Z",
            Some(stale.clone())
        ),
        lease("weir-operator-mesh-operator-0-0000000d", "mesh-operator-0-0000000d", now, Some(stale)),
    ])
}

fn condition(kind: &str, status: &str, reason: &str, generation: i64) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": format!("{reason}, it says"),
        "observedGeneration": generation, "lastTransitionTime": "2026-11-21T07:00:00Z"})
}

fn gateway_api() -> Vec<(String, u16, String)> {
    let class = |name: &str, controller: &str| {
        let accepted = condition("Accepted", "True", "Accepted", 1);
        json!({"metadata": {"name": name, "generation": 1}, "spec": {"controllerName": controller},
            "status": {"conditions": [accepted]}})
    };
    let gateway = |name: &str, class: &str, status: &str| {
        json!({"metadata": {"namespace": "shop", "name": name, "generation": 2}, "spec": {"gatewayClassName": class},
            "status": {"addresses": [{"type": "IPAddress", "value": "192.0.2.1"}],
                "conditions": [condition("Programmed", status, "AddressNotAssigned", 2)]}})
    };
    let parent = |controller: &str, status: &str| {
        json!({"parentRef": {"name": "front"}, "controllerName": controller,
            "conditions": [condition("ResolvedRefs", status, "BackendNotFound", 3)]})
    };
    let route = |name: &str, parents: Value| json!({"metadata": {"namespace": "shop", "name": name, "generation": 4}, "status": {"parents": parents}});
    let ours = "weir.dev/gateway-controller";
    vec![
        list(
            &format!("{GATEWAY_API}/gatewayclasses"),
            json!([class("weir", ours), class("other", "example.com/c")]),
        ),
        list(
            &format!("{GATEWAY_API}/gateways"),
            json!([gateway("front", "weir", "True"), gateway("theirs", "other", "False")]),
        ),
        list(
            &format!("{GATEWAY_API}/httproutes"),
            json!([
                route("broken", json!([parent("example.com/c", "False"), parent(ours, "False")])),
                route("theirs", json!([parent("example.com/c", "False")])),
            ]),
        ),
        list(
            "/apis/weir.dev/v1alpha1/addresspools",
            json!([{"metadata": {"name": "lan", "generation": 1}, "spec": {"addresses": []}}]),
        ),
    ]
}

fn workloads() -> Vec<(String, u16, String)> {
    let namespace = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
    let mut outside = pod("shop", "left-out", "a", "node-1", true);
    outside["metadata"]["labels"]["weir.dev/mesh"] = "disabled".into();
    vec![
        list(
            "/api/v1/namespaces",
            json!([
                namespace("shop", json!({"weir.dev/mesh": "enabled", "weir.dev/mode": "strict"})),
                namespace("plain", json!({})),
            ]),
        ),
        list(
            "/api/v1/pods",
            json!([
                pod("shop", "web", "web", "node-1", true),
                pod("shop", "db", "db", "node-2", true),
                pod("shop", "cache", "cache", "node-2", true),
                pod("plain", "other", "other", "node-1", true),
                outside,
            ]),
        ),
    ]
}

fn asked(pod: &str, unready: Option<&str>, captured: u64) -> Vec<(String, u16, String)> {
    let path = |path: &str| format!("{SYSTEM}/{pod}:15014/proxy{path}");
    let ready = unready.map_or((200, "ok\n"), |reason| (503, reason));
    vec![
        (path("/readyz"), ready.0, ready.1.to_owned()),
        (path("/metrics"), 200, format!("weir_captured_pods {captured}\n")),
    ]
}

async fn report(answers: Vec<(String, u16, String)>) -> Report {
    Report::new(gather(&server(answers).await, "weir-system").await.unwrap())
}

#[tokio::test]
async fn status_of_a_cluster_shows_its_nodes_gateways_and_what_is_wrong() {
    let first = json!({"acknowledged": {"00000000000000aa": ["node-1"]}, "rejected": {}, "behind": []});
    let second = json!({"acknowledged": {"00000000000000a9": ["node-2"]}, "behind": ["node-2"],
        "rejected": {"node-2": {"Certificate shop/c": "the key does not fit"}}});
    let mut answers = vec![list(SYSTEM, system()), list(LEASES, leases(first, second))];
    answers.extend([gateway_api(), workloads()].concat());
    answers
        .extend([asked("mesh-node-1", None, 1), asked("mesh-node-2", Some("capturing: no BPF"), 1)].concat());
    let report = report(answers).await;
    assert!(!report.healthy);
    let expected = "\
cluster, Weir in namespace weir-system

PROGRAM           ACKNOWLEDGED      CAPTURED PODS  STATE
cert-authority-1  -                 -              ready
mesh-operator-1   -                 -              ready, leads
mesh-operator-2   -                 -              ready
node-1            00000000000000aa  1              ready, up to date
node-2            00000000000000a9  1 of 2         NOT READY: capturing: no BPF

NAMESPACE  PODS IN THE MESH  MODE
shop       3                 Strict

GATEWAY     ADDRESSES  PROGRAMMED
shop/front  192.0.2.1  True

KIND          OBJECTS  NOT AS WANTED
AddressPool   1        1
Gateway       1        -
GatewayClass  1        -
HTTPRoute     1        1

node-2 rejected Certificate shop/c
  the key does not fit
HTTPRoute shop/broken, parent Gateway front
  ResolvedRefs=False (BackendNotFound): BackendNotFound, it says
  to do: create that Service or XBackend, or correct backendRefs; until then its share is answered 500
HTTPRoute shop/broken
  (Outdated): What is said of it is of its generation 3; it is at 4
  to do: wait a moment; if it stays so, see to it that a mesh-operator leads, and read that one's log
AddressPool lan
  (NoStatus): Nothing has been said of it
  to do: wait a moment; if it stays so, see to it that a mesh-operator leads, and read that one's log

2 of 4 objects not as wanted; 1 of 2 nodes not ready
";
    assert_eq!(show::text(&report), expected);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["namespaces"], json!([{"name": "shop", "mode": "Strict", "meshedPods": 3}]));
    assert_eq!(json["objects"]["HTTPRoute"], json!({"all": 1, "troubled": 1}));
}

#[tokio::test]
async fn status_of_a_cluster_says_what_the_caller_may_not_see() {
    let forbidden = |path: &str, what: &str| {
        let message = format!("{what} is forbidden: User \"eve\" cannot list it");
        (path.to_owned(), 403, refusal(403, &message))
    };
    let refused = "pods \"mesh-node-1\" is forbidden: User \"eve\" cannot get resource \"pods/proxy\"";
    let answers = vec![
        list(SYSTEM, system()),
        forbidden(LEASES, "leases"),
        forbidden("/api/v1/pods", "pods"),
        list("/api/v1/namespaces", json!([])),
        (format!("{SYSTEM}/mesh-node-1:15014/proxy/readyz"), 403, refusal(403, refused)),
        (format!("{SYSTEM}/mesh-node-2:15014/proxy/readyz"), 403, refusal(403, refused)),
    ];
    let report = report(answers).await;
    let text = show::text(&report);
    assert!(report.healthy, "{text}");
    let nodes: Vec<Option<bool>> = report.nodes.iter().map(|node| node.connected).collect();
    assert_eq!(nodes, [None, None]);
    for line in [
        "not seen: leases is forbidden: User \"eve\" cannot list it",
        "not seen: pods is forbidden: User \"eve\" cannot list it",
        &format!("not seen: cannot ask mesh-node on node-1 (and 1 more) itself: {refused}"),
        "node-1            -             -              ready; whether it is connected is not known",
        "no object has a status; 2 nodes ready; not everything could be seen",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\nis not in\n{text}");
    }
}

#[tokio::test]
async fn status_of_a_cluster_without_weir_or_without_a_leader_is_not_well() {
    let nothing = report(vec![list(SYSTEM, json!([])), list(LEASES, json!([]))]).await;
    let text = show::text(&nothing);
    let missing = "mesh-operator   -             -              NOT READY: no pod of it runs in namespace weir-system; \
                   say with --namespace where Weir is installed";
    assert!(!nothing.healthy && text.lines().any(|line| line == missing), "{text}");

    let nobody = json!([lease("weir-operator", "", "2026-11-21T07:00:10.000000Z", None)]);
    let leaderless =
        report(vec![list(SYSTEM, system()), list(LEASES, nobody), list("/api/v1/pods", json!([]))]).await;
    let text = show::text(&leaderless);
    assert!(text.contains("NOT READY: no replica leads: "), "{text}");
    assert!(text.ends_with("; mesh-operator is not ready; not everything could be seen\n"), "{text}");

    let error =
        gather(&server(vec![(SYSTEM.into(), 401, refusal(401, "Unauthorized"))]).await, "weir-system").await;
    assert_eq!(error.unwrap_err().to_string(), "cannot ask the cluster: Unauthorized");
}

#[test]
fn status_says_why_a_pod_is_not_ready() {
    let waiting = |state: Value| {
        let mut pod = pod("weir-system", "p", "mesh-node", "node-1", false);
        pod["status"]["containerStatuses"] = json!([{"name": "c", "image": "", "imageID": "", "ready": false,
            "restartCount": 0, "state": state}]);
        programs::problem(&serde_json::from_value(pod).unwrap())
    };
    let reason = json!({"waiting": {"reason": "ErrImagePull", "message": "no such image"}});
    assert_eq!(waiting(reason).as_deref(), Some("ErrImagePull: no such image"));
    assert_eq!(waiting(json!({"running": {}})).as_deref(), Some("containers are not ready"));
}
