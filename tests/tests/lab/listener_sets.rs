//! ListenerSets: listeners of others at a Gateway, which come and go without a trace in the Gateway's own traffic.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;
use weir_tests::lab::{Lab, can_run};
use weir_tests::wait;

use crate::gateway::{Pair, certificate, secret};
use crate::{SOON, has, plan, run};

const SECURE: &str = include_str!("manifests/listener-set-secure.yaml");
const GUESTS: &str = include_str!("manifests/listener-set-guests.yaml");
/// What `details` answers, and what `visitor` does, which echoes.
const PATH: &str = "/details/0";

#[test]
fn lab_listener_sets_serve_at_their_gateway() {
    if !can_run() || !has("openssl") || !has("curl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let good = certificate(folder.path(), "good");
    let manifest = format!("{}---\n{}", include_str!("manifests/listener-sets.yaml"), secret("good", &good));
    let lab = plan("listener-sets").manifest("gateway.yaml", manifest).up().unwrap();
    run(
        lab,
        &[
            ("the Gateway serves its own listener alone", &|lab| {
                assert_eq!(page(lab, "http", 80, "own.example", None), "200");
                assert_eq!(page(lab, "http", 80, "good.example", None), "404");
                assert_eq!(page(lab, "https", 443, "good.example", Some(&good)), "000");
            }),
            ("the listeners of a ListenerSet serve, HTTPS too", &|lab| {
                lab.apply(SECURE).unwrap();
                until_served(lab, "secure");
                assert_eq!(page(lab, "http", 80, "good.example", None), "200");
                assert_eq!(page(lab, "https", 443, "good.example", Some(&good)), "200");
                assert_eq!(page(lab, "http", 80, "own.example", None), "200");
                assert_eq!(status(lab, "Gateway", "shared")["attachedListenerSets"], 1);
                // Its listeners are its own.
                let own = status(lab, "Gateway", "shared")["listeners"].as_array().unwrap().len();
                assert_eq!(own, 1);
            }),
            ("one that comes later gets what is left", &|lab| {
                lab.apply(GUESTS).unwrap();
                until_served(lab, "visitors");
                assert_eq!(page(lab, "http", 8080, "any.example", None), "200");
                let visitors = status(lab, "ListenerSet", "visitors");
                let conflicted = condition(&visitors["listeners"][0], "Conflicted");
                assert_eq!(
                    (&conflicted["status"], &conflicted["reason"]),
                    (&"True".into(), &"HostnameConflict".into())
                );
                // Still the one that was there.
                assert_eq!(body(lab, "good.example"), body(lab, "own.example"));
            }),
            ("what goes before it is gone, and it takes its place", &|lab| {
                lab.delete(SECURE).unwrap();
                wait::until("the conflict to be over", SOON, || {
                    let visitors = status(lab, "ListenerSet", "visitors");
                    let programmed = condition(&visitors["listeners"][0], "Programmed")["status"] == "True";
                    Ok(programmed.then_some(()))
                })
                .unwrap();
                assert_eq!(page(lab, "http", 80, "good.example", None), "200");
                assert_ne!(body(lab, "good.example"), body(lab, "own.example"));
                assert_eq!(page(lab, "https", 443, "good.example", Some(&good)), "000");
                lab.delete(GUESTS).unwrap();
                assert_eq!(page(lab, "http", 8080, "any.example", None), "000");
            }),
            ("they come and go, and the Gateway's own traffic goes on", &|lab| {
                let url = format!("http://{}{PATH}", address(lab, 80));
                let arguments = ["--duration", "60", "--concurrency", "4", "-H", "host:own.example", &url];
                let load = lab.start_load_from_host(&arguments).unwrap();
                for _ in 0..5 {
                    for set in [SECURE, GUESTS] {
                        lab.apply(set).unwrap();
                    }
                    assert_eq!(page(lab, "https", 443, "good.example", Some(&good)), "200");
                    for set in [SECURE, GUESTS] {
                        lab.delete(set).unwrap();
                    }
                    assert_eq!(page(lab, "http", 80, "good.example", None), "404");
                }
                let load = load.finish().unwrap();
                assert!(load.is_all_200(), "{load:?}");
            }),
        ],
    );
}

fn address(lab: &Lab, port: u16) -> SocketAddr {
    SocketAddr::new(lab.gateway("bookinfo", "shared").unwrap()[0], port)
}

/// The status of the answer as curl tells it: 000 where there was none.
fn page(lab: &Lab, scheme: &str, port: u16, host: &str, trusted: Option<&Pair>) -> String {
    let mut curl = curl(lab, port);
    curl.args(["--output", "/dev/null", "--write-out", "%{http_code}"]);
    if let Some(pair) = trusted {
        curl.arg("--cacert").arg(&pair.file);
    }
    curl.arg(format!("{scheme}://{host}:{port}{PATH}"));
    String::from_utf8(curl.output().unwrap().stdout).unwrap()
}

fn body(lab: &Lab, host: &str) -> Vec<u8> {
    curl(lab, 80).arg(format!("http://{host}{PATH}")).output().unwrap().stdout
}

fn curl(lab: &Lab, port: u16) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "5", "--connect-to", &format!("::{}", address(lab, port))]);
    curl.stdin(Stdio::null());
    curl
}

fn until_served(lab: &Lab, set: &str) {
    wait::until("the ListenerSet to be programmed", SOON, || {
        Ok((condition(&status(lab, "ListenerSet", set), "Programmed")["status"] == "True").then_some(()))
    })
    .unwrap();
}

fn status(lab: &Lab, kind: &str, name: &str) -> Value {
    let status: Value = lab.operator("/status").unwrap();
    let objects = status["objects"].as_array().unwrap();
    objects
        .iter()
        .find(|o| o["kind"] == kind && o["name"] == name)
        .map(|o| o["status"].clone())
        .unwrap_or_default()
}

fn condition(of: &Value, kind: &str) -> Value {
    let conditions = of["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}
