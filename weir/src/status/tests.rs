//! The command's parts against a real socket, and the report against statuses that the compiler made.

use std::path::Path;

use mesh_compile::{Settings, Snapshot, compile, manifest};
use mesh_ir::resource::{Mode, SameNode};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

use super::lab::gather;
use super::report::{Gathered, ProgramState, Report};
use super::show;
use crate::health::Health;
use crate::operator::{Operator, StatusDocument};

/// Answers each path as an operator would, on a socket of its own.
async fn operator(folder: &Path, answers: Vec<(&'static str, u16, String)>) -> Operator {
    let socket = folder.join("operator.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answers = answers.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                let first = lines.next_line().await.unwrap().unwrap();
                while lines.next_line().await.unwrap().is_some_and(|line| !line.is_empty()) {}
                let path = first.split(' ').nth(1).unwrap();
                let (_, status, body) = answers.iter().find(|(known, ..)| *known == path).unwrap();
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
                write.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            });
        }
    });
    Operator { socket, lab: None }
}

/// The status document that the operator makes of these manifests.
fn document(text: &str, problems: Value) -> Value {
    let mut snapshot = Snapshot::default();
    for object in manifest::parse(text).into_iter().filter_map(|object| object.ok().flatten()) {
        snapshot.insert(object);
    }
    let settings = Settings {
        trust_domain: "cluster.local".parse().unwrap(),
        default_mode: Mode::Permissive,
        same_node: SameNode::Direct,
    };
    let statuses = compile(&snapshot, &settings).statuses;
    let objects = statuses.iter().map(|(id, status)| {
        json!({"apiVersion": id.kind.api_version(), "kind": id.kind.as_str(), "namespace": id.namespace.as_deref(),
            "name": &*id.name, "status": status})
    });
    json!({"objects": objects.collect::<Vec<_>>(), "problems": problems})
}

fn golden(case: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/{case}/in.yaml"));
    std::fs::read_to_string(path).unwrap()
}

fn session(node: &str, up_to_date: bool, rejected: Value) -> Value {
    json!({"node": node, "address": "127.0.0.1:9", "programVersion": "0.1.0", "connected": "2026-01-01T00:00:00Z",
        "acknowledgedVersion": "00000000000000aa", "upToDate": up_to_date, "rejected": rejected, "sent": 3})
}

async fn report(document: Value, sessions: Value, ready: (u16, &str)) -> Report {
    let folder = tempfile::tempdir().unwrap();
    let workload = json!({"kind": "Workload", "uid": "u", "name": "shop/web",
        "node": "node-1", "addresses": ["10.0.0.1"], "serviceAccount": "default", "meshed": true, "mode": "Strict",
        "sameNode": "Direct", "services": []});
    let config = json!({"Workload u": workload, "Node node-1": {"kind": "Node", "name": "node-1", "addresses": []},
        "Node node-2": {"kind": "Node", "name": "node-2", "addresses": []}});
    let answers = vec![
        ("/readyz", ready.0, ready.1.to_owned()),
        ("/status", 200, document.to_string()),
        ("/nodes", 200, sessions.to_string()),
        ("/config", 200, config.to_string()),
    ];
    let operator = operator(folder.path(), answers).await;
    Report::new(gather(&operator).await.unwrap())
}

#[tokio::test]
async fn status_of_a_mesh_that_is_well() {
    let sessions = json!([session("node-1", true, json!([])), session("node-2", true, json!([]))]);
    let report = report(document(&golden("mesh-canary"), json!([])), sessions, (200, "ok\n")).await;
    assert!(report.healthy, "{report:?}");
    let text = show::text(&report);
    let (mesh, text) = text.split_once("\n\n").unwrap();
    assert!(mesh.starts_with("mesh-operator at /") && mesh.ends_with("/operator.sock"), "{mesh}");
    let expected = "\
PROGRAM        ACKNOWLEDGED      CAPTURED PODS  STATE
mesh-operator  -                 -              ready
node-1         00000000000000aa  -              ready, up to date
node-2         00000000000000aa  -              ready, up to date

NAMESPACE  PODS IN THE MESH  MODE
shop       1                 Strict

KIND       OBJECTS  NOT AS WANTED
HTTPRoute  1        -

all 1 object accepted; 2 nodes up to date
";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn status_names_what_is_wrong_and_what_to_do() {
    let rejected = json!([{"resource": "Certificate shop/c", "message": "the key does not fit"}]);
    let problems = json!([{"file": "objects/a.yaml", "object": "Service shop/b", "field": "spec.portz",
        "message": "unknown field"}, {"file": "", "object": null, "field": null, "message": "too large"}]);
    let manifests = format!("{}\n---\n{}", golden("backend-unresolved"), golden("policy-conflict"));
    let report = report(
        document(&manifests, problems),
        json!([session("node-1", true, rejected)]),
        (503, "not serving nodes: no certificate\n"),
    )
    .await;
    assert!(!report.healthy);
    let text = show::text(&report);
    for line in [
        "mesh-operator  -                 -              NOT READY: not serving nodes: no certificate",
        "node-1         00000000000000aa  -              1 resources REJECTED",
        "node-2         -                 -              NOT CONNECTED",
        "node-1 rejected Certificate shop/c",
        "BackendPolicy shop/a-younger, target Service shop/web",
        "  to do: remove one of the two policies, or let them target different Services",
        "objects/a.yaml",
        "  Service shop/b: spec.portz: unknown field",
        "the configuration",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\nis not in\n{text}");
    }
    assert!(text.contains("  ResolvedRefs=False (BackendNotFound): "), "{text}");
    let last = text.lines().last().unwrap();
    assert!(
        last.ends_with("2 problems in manifests; 2 of 2 nodes not ready; mesh-operator is not ready"),
        "{last}"
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["healthy"], &json["nodes"][1]["connected"]), (&json!(false), &json!(false)));
}

/// No status that the compiler writes is wrong for a reason that nothing is advised about.
#[test]
fn status_has_advice_for_every_golden_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let mut seen = 0;
    for case in std::fs::read_dir(root).unwrap() {
        let case = case.unwrap().file_name().into_string().unwrap();
        let document: StatusDocument = serde_json::from_value(document(&golden(&case), json!([]))).unwrap();
        for complaint in document.objects.iter().flat_map(super::condition::complaints) {
            assert!(complaint.advice.is_some(), "{case}: {complaint:?}");
            assert!(!complaint.message.is_empty(), "{case}: {complaint:?}");
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn status_shows_what_a_node_says_of_itself() {
    let session = serde_json::from_value(session("node-1", true, json!([]))).unwrap();
    let answer = |unready: Option<&str>, captured_pods| {
        let unready = unready.map(str::to_owned);
        Some(Health { unready, captured_pods })
    };
    let report = Report::new(Gathered {
        mesh: "lab lab".into(),
        programs: vec![ProgramState { name: "mesh-operator".into(), leads: true, problem: None }],
        document: StatusDocument::default(),
        sessions: vec![session],
        all_sessions: true,
        meshed: None,
        unseen: Vec::new(),
        nodes: vec![
            ("node-1".into(), answer(None, Some(5))),
            ("node-2".into(), answer(Some("no configuration"), None)),
        ],
    });
    let text = show::text(&report);
    assert!(text.contains("node-1         00000000000000aa  5              ready, up to date\n"), "{text}");
    assert!(text.contains("NOT CONNECTED: no configuration\n"), "{text}");
    assert!(text.ends_with("no object has a status; 1 of 2 nodes not ready\n"), "{text}");
}

#[tokio::test]
async fn status_says_which_socket_cannot_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none.sock");
    let error = gather(&Operator { socket: socket.clone(), lab: None }).await.unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot reach the mesh-operator at {}: ", socket.display())),
        "{error}"
    );
    let layout = crate::lab::layout::Layout::new("nosuchlab".parse().unwrap());
    let operator = Operator { socket: layout.operator_admin(), lab: Some(layout) };
    let error = gather(&operator).await.unwrap_err().to_string();
    assert!(error.contains("weir lab up --name nosuchlab -f PATH"), "{error}");
}
