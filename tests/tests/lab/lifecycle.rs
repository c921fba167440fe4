//! What comes and goes: the mesh's programs, which die and come back, and pods.

use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir_tests::lab::view::Pod;
use weir_tests::lab::{Lab, can_run};
use weir_tests::link::capture::Capture;
use weir_tests::link::verdict::Verdict;
use weir_tests::wait;

use crate::{PRODUCTPAGE, SOON, has, plan, run};

const REVIEWS: &str = "http://reviews.bookinfo:9080/reviews/0";
const SPARE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: spare, namespace: guests, labels: {app: spare}}
spec:
  serviceAccountName: visitor
  terminationGracePeriodSeconds: 2
  containers:
    - name: spare
      image: "weir.dev/bookinfo:0.1.0"
      args: [echo, --port, "9080"]
      readinessProbe: {tcpSocket: {port: 9080}, periodSeconds: 1}
"#;

#[test]
fn lab_outlives_its_programs_and_pods() {
    if !can_run() {
        return;
    }
    let lab = plan("lifecycle").up().unwrap();
    run(
        lab,
        &[
            ("the loss of operator and CA disturbs no traffic", &operator_and_authority_may_die),
            ("a weight edited under load loses no request", &an_edit_loses_no_request),
            ("a pod that is deleted leaves nothing", &a_deleted_pod_leaves_nothing),
            ("traffic of a node without its program is refused", &a_node_may_die),
        ],
    );
}

fn kill_program(lab: &Lab, name: &str) -> u32 {
    signal_program(lab, name, Signal::SIGKILL)
}

/// Gives how often it had been started again before.
pub(crate) fn signal_program(lab: &Lab, name: &str, signal: Signal) -> u32 {
    let view = lab.view().unwrap();
    let program = view.programs.iter().find(|program| program.name == name).unwrap();
    kill(Pid::from_raw(program.pid.unwrap()), signal).unwrap();
    program.restarts
}

pub(crate) fn until_restarted(lab: &Lab, name: &str, restarts: u32) {
    wait::until(&format!("{name} to be back"), SOON, || {
        let view = lab.view()?;
        let back = |p: &&weir_tests::lab::view::Program| p.name == name && p.ready && p.restarts > restarts;
        Ok(view.programs.iter().find(back).map(drop))
    })
    .unwrap();
}

fn operator_and_authority_may_die(lab: &Lab) {
    let load = lab.start_load(PRODUCTPAGE, &["--duration", "60", "--concurrency", "4", REVIEWS]).unwrap();
    let programs = ["mesh-operator", "cert-authority"];
    let restarts = programs.map(|name| kill_program(lab, name));
    for (name, restarts) in programs.into_iter().zip(restarts) {
        until_restarted(lab, name, restarts);
    }
    let load = load.finish().unwrap();
    assert!(load.is_all_200(), "{load:?}");
    // The nodes find the new operator by themselves, and take changes from it.
    wait::until("the nodes to be connected again", SOON, || {
        let sessions = lab.sessions()?;
        Ok((sessions.len() == 2 && sessions.iter().all(|session| session.up_to_date)).then_some(()))
    })
    .unwrap();
    let route = weir_tests::lab::sample("canary.yaml").unwrap();
    lab.apply(&route).unwrap();
    let load = lab.load(PRODUCTPAGE, &["--requests", "100", "-H", "end-user:jason", REVIEWS]).unwrap();
    assert_eq!((load.with_status(200), load.from_version("reviews-v3")), (100, 100), "{load:?}");
}

fn an_edit_loses_no_request(lab: &Lab) {
    let route = weir_tests::lab::sample("canary.yaml").unwrap();
    let load = lab.start_load(PRODUCTPAGE, &["--duration", "60", "--concurrency", "4", REVIEWS]).unwrap();
    for weight in [50, 0, 100, 10] {
        lab.apply(&route.replace("weight: 10", &format!("weight: {weight}"))).unwrap();
    }
    let load = load.finish().unwrap();
    assert!(load.is_all_200(), "{load:?}");
}

fn spare(lab: &Lab) -> Option<Pod> {
    lab.view().unwrap().pods.into_iter().find(|pod| pod.name == "spare")
}

/// What a captured pod has on its node.
fn traces(lab: &Lab, pod: &Pod) -> Vec<PathBuf> {
    let node = lab.state().join(&pod.node);
    let pins = std::fs::read_dir(node.join("bpf")).unwrap().flatten().map(|entry| entry.path());
    let of_pod = |path: &PathBuf| path.to_string_lossy().contains(&pod.uid);
    let namespace = node.join("pods").join(&pod.uid);
    pins.filter(of_pod).chain(namespace.exists().then_some(namespace)).collect()
}

/// How many pods the kernel's maps of a node hold; nothing where there is no program to look with.
fn entries(lab: &Lab, node: &str, map: &str) -> Option<usize> {
    if !has("bpftool") {
        return None;
    }
    let pin = lab.state().join(node).join("bpf").join(map);
    let output = Command::new("bpftool").args(["-j", "map", "dump", "pinned"]).arg(&pin).output().unwrap();
    let dump: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    Some(dump.as_array().unwrap().len())
}

fn a_deleted_pod_leaves_nothing(lab: &Lab) {
    let mut uids = Vec::new();
    for round in 0..2 {
        let captured = |node: &str| lab.metrics(node).unwrap().sum("weir_captured_pods", &[]);
        let before: Vec<_> = ["node-1", "node-2"].map(|n| (captured(n), entries(lab, n, "PODS"))).to_vec();
        lab.apply(SPARE).unwrap();
        let pod =
            wait::until("the pod to be ready", SOON, || Ok(spare(lab).filter(|pod| pod.ready))).unwrap();
        assert!(traces(lab, &pod).len() >= 2, "a pin and a namespace: {:?}", traces(lab, &pod));
        let url = format!("http://{}:9080/x", pod.address(false));
        let answer = lab.get(PRODUCTPAGE, &[&url]).unwrap().response().unwrap();
        assert_eq!((answer.status, answer.header("x-bookinfo-pod")), (200, "spare"), "round {round}");
        let load = lab.load("guests/spare", &["--requests", "20", REVIEWS]).unwrap();
        assert!(load.is_all_200(), "{load:?}");
        lab.delete(SPARE).unwrap();
        wait::until("the pod to be gone", SOON, || Ok(spare(lab).is_none().then_some(()))).unwrap();
        wait::until("the pod's traces to be gone", SOON, || Ok(traces(lab, &pod).is_empty().then_some(())))
            .unwrap();
        wait::until("the node to count as before", SOON, || {
            let now: Vec<_> = ["node-1", "node-2"].map(|n| (captured(n), entries(lab, n, "PODS"))).to_vec();
            Ok((now == before).then_some(()))
        })
        .unwrap();
        uids.push(pod.uid);
    }
    assert_ne!(uids[0], uids[1]);
}

fn a_node_may_die(lab: &Lab) {
    let source = lab.pod("bookinfo", "productpage-v1").unwrap();
    let view = lab.view().unwrap();
    let netns = std::path::Path::new("/run/netns").join(&view.nodes[0].netns);
    let pods = view.pods.iter().filter(|pod| pod.namespace == "bookinfo");
    let addresses = pods.flat_map(|pod| pod.addresses.iter().copied()).collect();
    let capture = Capture::start(&netns, "eth0").unwrap();
    let load = lab.start_load(PRODUCTPAGE, &["--duration", "60", "--concurrency", "2", REVIEWS]).unwrap();
    let name = format!("mesh-{}", source.node);
    let restarts = kill_program(lab, &name);
    until_restarted(lab, &name, restarts);
    // By all that are behind it: those of another node are reached when the pods have their certificates again.
    wait::until("requests to be answered again", SOON, || {
        Ok(lab.load(PRODUCTPAGE, &["--requests", "20", REVIEWS])?.is_all_200().then_some(()))
    })
    .unwrap();
    let load = load.finish().unwrap();
    let verdict = Verdict::of(&capture.stop().unwrap(), &addresses);
    assert!(load.errors > 0, "somebody answered while {name} was away: {load:?}");
    let known = ["refused", "reset", "closed"];
    assert!(load.error_kinds.keys().all(|kind| known.contains(&kind.as_str())), "{load:?}");
    assert!(
        verdict.clear.is_empty(),
        "sent in clear around the death of {name}: {}",
        verdict.clear_in_words()
    );
    let after = lab.load(PRODUCTPAGE, &["--requests", "500", "--concurrency", "8", REVIEWS]).unwrap();
    assert!(after.is_all_200(), "{after:?}");
    assert!(lab.view().unwrap().pods.iter().all(|pod| pod.ready));
}
