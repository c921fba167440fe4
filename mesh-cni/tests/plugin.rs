//! The program as a container runtime starts it: environment, standard input, standard output, and a mesh-node at a
//! real Unix socket, or none.
#![allow(clippy::unwrap_used, reason = "clippy spares only the test functions themselves")]

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mesh_cni::wire::{Answer, Pod, Request, receive};
use serde_json::{Value, json};

const NETNS: &str = "/proc/self/ns/net";
const POD: &str = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-1;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=0f3e";
/// Written as a runtime might: the plugin must give it back as it is.
const RESULT: &str = r#"{"cniVersion":"1.0.0", "ips":[ {"address":"10.244.1.7/24"}], "x":1e2}"#;

struct Run {
    succeeded: bool,
    output: String,
    log: String,
}

impl Run {
    fn error(&self) -> (u64, String) {
        assert!(!self.succeeded, "{}", self.output);
        let error: Value = serde_json::from_str(&self.output).unwrap();
        let text = format!("{}: {}", error["msg"].as_str().unwrap(), error["details"].as_str().unwrap());
        (error["code"].as_u64().unwrap(), text)
    }
}

fn config(socket: &Path, more: Value) -> String {
    let mut config = json!({"cniVersion": "1.0.0", "name": "pods", "type": "mesh-cni", "socket": socket,
        "timeoutSeconds": 1, "required": true, "excludeNamespaces": ["kube-system"]});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let text = config.to_string();
    format!("{}, \"prevResult\": {RESULT}}}", text.strip_suffix('}').unwrap())
}

fn run(command: &str, environment: &[(&str, &str)], input: &str) -> Run {
    let mut command_line = Command::new(env!("CARGO_BIN_EXE_mesh-cni"));
    command_line.env_clear().env("CNI_COMMAND", command).envs(environment.iter().copied());
    let streams = command_line.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = streams.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Run {
        succeeded: output.status.success(),
        output: String::from_utf8(output.stdout).unwrap(),
        log: String::from_utf8(output.stderr).unwrap(),
    }
}

fn add(input: &str) -> Run {
    let environment =
        [("CNI_CONTAINERID", "c1"), ("CNI_NETNS", NETNS), ("CNI_IFNAME", "eth0"), ("CNI_ARGS", POD)];
    run("ADD", &environment, input)
}

/// A mesh-node that hears one request and answers with these bytes. Gives the request, and the inode of the namespace
/// that came with it.
fn node(folder: &Path, answer: Vec<u8>) -> (PathBuf, JoinHandle<(Request, Option<u64>)>) {
    let path = folder.join("cni.sock");
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let heard = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut bytes, mut netns) = (Vec::new(), None);
        loop {
            let (count, file) = receive(&stream, &mut bytes).unwrap();
            netns = netns.or(file.map(|file| std::fs::File::from(file).metadata().unwrap().ino()));
            if count == 0 {
                break;
            }
        }
        stream.write_all(&answer).unwrap();
        (serde_json::from_slice(&bytes).unwrap(), netns)
    });
    (path, heard)
}

fn says(answer: &Answer) -> Vec<u8> {
    serde_json::to_vec(answer).unwrap()
}

fn pod() -> Pod {
    Pod { namespace: "shop".to_owned(), name: "cart-1".to_owned(), uid: "0f3e".to_owned() }
}

#[test]
fn plugin_hands_the_pod_over_and_passes_the_result_on() {
    let folder = tempfile::tempdir().unwrap();
    for answer in [Answer::Captured, Answer::LeftAlone] {
        let (socket, heard) = node(folder.path(), says(&answer));
        let added = add(&config(&socket, json!({})));
        assert!(added.succeeded && added.log.is_empty(), "{} {}", added.output, added.log);
        assert_eq!(added.output, RESULT);
        let (request, netns) = heard.join().unwrap();
        assert_eq!(request, Request::Add { pod: pod(), sandbox: "c1".to_owned(), wait_ms: 1000 });
        assert_eq!(netns, Some(std::fs::metadata(NETNS).unwrap().ino()));
    }
}

#[test]
fn plugin_has_the_runtime_try_again_while_mesh_node_cannot_answer() {
    let folder = tempfile::tempdir().unwrap();
    let check = |socket: &Path, words: &str| {
        let (code, text) = add(&config(socket, json!({}))).error();
        assert!(code == 11 && text.contains(words) && text.contains("shop/cart-1"), "{code} {text}");
        // Where the plugin is not required the pod starts, and the runtime's log says why it was not captured.
        let added = add(&config(socket, json!({"required": false})));
        assert!(added.succeeded && added.log.contains(words), "{} {}", added.output, added.log);
        assert_eq!(added.output, RESULT);
    };
    let absent = folder.path().join("absent.sock");
    check(&absent, "no mesh-node answers at");
    // A mesh-node that has ended leaves its socket's file.
    drop(UnixListener::bind(folder.path().join("left.sock")).unwrap());
    check(&folder.path().join("left.sock"), "no mesh-node answers at");
    for (answer, words) in [
        (says(&Answer::Refused { why: "no certificate yet".to_owned() }), "no certificate yet"),
        (says(&Answer::Done), "another question"),
        (b"{\"captured".to_vec(), "cannot be asked"),
        (Vec::new(), "closed the connection"),
    ] {
        for required in [true, false] {
            let (socket, heard) = node(folder.path(), answer.clone());
            let added = add(&config(&socket, json!({ "required": required })));
            assert_eq!(added.succeeded, !required);
            assert!(
                format!("{}{}", added.output, added.log).contains(words),
                "{}{}",
                added.output,
                added.log
            );
            heard.join().unwrap();
        }
    }
}

#[test]
fn plugin_waits_no_longer_than_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let silent = folder.path().join("silent.sock");
    let _listener = UnixListener::bind(&silent).unwrap();
    let began = Instant::now();
    let (code, text) = add(&config(&silent, json!({}))).error();
    assert!(code == 11 && text.contains("did not answer in time"), "{code} {text}");
    // One second that mesh-node may wait, five for its answer, and a slow machine.
    assert!(
        (Duration::from_secs(6)..Duration::from_secs(15)).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn plugin_lets_pass_what_is_not_the_meshes() {
    let folder = tempfile::tempdir().unwrap();
    let input = config(&folder.path().join("absent.sock"), json!({}));
    let excluded = POD.replace("shop", "kube-system");
    for args in [excluded.as_str(), "IgnoreUnknown=1", ""] {
        let environment = [("CNI_CONTAINERID", "c1"), ("CNI_NETNS", NETNS), ("CNI_ARGS", args)];
        for (command, output) in [("ADD", RESULT), ("CHECK", ""), ("DEL", ""), ("STATUS", ""), ("GC", "")] {
            let done = run(command, &environment, &input);
            assert!(done.succeeded, "{command} {args}: {}", done.output);
            assert_eq!(done.output, output, "{command} {args}");
        }
    }
}

#[test]
fn plugin_tells_of_sandboxes_that_go_and_of_pods_that_are_not_captured() {
    let folder = tempfile::tempdir().unwrap();
    let pods = [("CNI_CONTAINERID", "c1"), ("CNI_ARGS", POD)];
    let (socket, heard) = node(folder.path(), says(&Answer::Done));
    assert!(run("DEL", &pods, &config(&socket, json!({}))).succeeded);
    assert_eq!(heard.join().unwrap().0, Request::Del { sandbox: "c1".to_owned() });

    let (socket, heard) = node(folder.path(), says(&Answer::Done));
    let valid = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": [{"containerID": "c2", "ifname": "eth0"}]});
    assert!(run("GC", &[], &config(&socket, valid)).succeeded);
    assert_eq!(heard.join().unwrap().0, Request::Gc { sandboxes: vec!["c2".to_owned()] });

    let (socket, heard) = node(folder.path(), says(&Answer::Refused { why: "it is not".to_owned() }));
    let (code, text) = run("CHECK", &pods, &config(&socket, json!({}))).error();
    assert!(code == 100 && text.contains("it is not"), "{code} {text}");
    assert_eq!(heard.join().unwrap().0, Request::Check { pod: pod() });
}

#[test]
fn plugin_says_what_is_wrong_with_what_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let good = config(&folder.path().join("absent.sock"), json!({}));
    let check = |environment: &[(&str, &str)], command: &str, input: &str, code: u64, words: &str| {
        let (said, text) = run(command, environment, input).error();
        assert!(said == code && text.contains(words), "{command} {input}: {said} {text}");
    };
    let pod = [("CNI_CONTAINERID", "c1"), ("CNI_NETNS", NETNS), ("CNI_ARGS", POD)];
    check(&pod, "ADD", "", 6, "not JSON");
    check(&pod, "ADD", "{\"cniVersion\"", 6, "not JSON");
    check(&pod, "ADD", &good.replace("1.0.0\",\"ex", "9.9.9\",\"ex"), 1, "9.9.9");
    check(&pod, "ADD", "{}", 1, "1.1.0");
    check(&pod, "ADD", r#"{"cniVersion": "1.0.0", "socket": 3}"#, 7, "invalid network configuration");
    check(&pod, "ADD", &good.replace("prevResult", "other"), 7, "prevResult");
    check(&pod, "MOVE", &good, 4, "MOVE");
    check(&[("CNI_ARGS", POD), ("CNI_NETNS", NETNS)], "ADD", &good, 4, "CNI_CONTAINERID");
    check(&[("CNI_ARGS", POD), ("CNI_CONTAINERID", "c1")], "ADD", &good, 4, "CNI_NETNS");
    let gone = [("CNI_CONTAINERID", "c1"), ("CNI_NETNS", "/run/netns/gone"), ("CNI_ARGS", POD)];
    check(&gone, "ADD", &good, 3, "/run/netns/gone");
    let old = POD.replace("K8S_POD_UID", "OTHER");
    check(
        &[("CNI_ARGS", &old), ("CNI_CONTAINERID", "c1"), ("CNI_NETNS", NETNS)],
        "ADD",
        &good,
        4,
        "K8S_POD_UID",
    );
}

#[test]
fn plugin_says_which_versions_it_knows() {
    let said = run("VERSION", &[], r#"{"cniVersion": "1.1.0"}"#);
    assert!(said.succeeded);
    let versions: Value = serde_json::from_str(&said.output).unwrap();
    assert_eq!(versions["cniVersion"], "1.1.0");
    for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        assert!(versions["supportedVersions"].as_array().unwrap().contains(&json!(version)), "{version}");
    }
}
