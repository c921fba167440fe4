//! The whole mesh, end to end: the real programs in labs of their own. One test is one lab, on which many checks run one
//! after another; a check that fails does not keep the others from running.

// All of this is test code, which the lints know only by its #[test] functions.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use weir_tests::lab::{Lab, Plan};

#[path = "../shared/agent.rs"]
#[allow(dead_code, reason = "bad_input needs more of it")]
mod agent;
mod datagrams;
mod external_auth;
#[path = "../shared/frames.rs"]
#[allow(dead_code, reason = "bad_input needs more of it")]
mod frames;
mod gateway;
mod guides;
mod http;
mod kinds;
mod lifecycle;
mod listener_sets;
mod routing;
mod rules;
mod same_node;
mod services;
mod tls;
mod tracing;
mod transport;
mod xbackends;

/// Where requests are made in the sample.
const PRODUCTPAGE: &str = "bookinfo/deploy/productpage-v1";
/// For what takes the mesh a moment.
const SOON: Duration = Duration::from_secs(15);
/// In which an endpoint that answered slowly once, and is avoided for it, is chosen again.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// The sample with a namespace beside it that is in the mesh as well.
fn plan(hint: &str) -> Plan {
    ["lab.yaml", "bookinfo.yaml", "outside.yaml"]
        .into_iter()
        .fold(Plan::new(hint), Plan::sample)
        .manifest("guests.yaml", include_str!("manifests/guests.yaml"))
}

type Check<'a> = (&'static str, &'a dyn Fn(&Lab));

/// Runs the checks on the lab, takes it down, and looks whether it has left anything.
fn run(lab: Lab, checks: &[Check<'_>]) {
    let name = lab.name().to_owned();
    let mut failed = Vec::new();
    for (check, run) in checks {
        let begun = Instant::now();
        let held = catch_unwind(AssertUnwindSafe(|| run(&lab))).is_ok();
        println!(
            "{check}: {} ({:.1} s)",
            if held { "held" } else { "FAILED" },
            begun.elapsed().as_secs_f64()
        );
        if !held {
            failed.push(*check);
        }
    }
    let complaints = lab.complaints();
    lab.down().unwrap();
    let left = left_of(&name);
    assert!(left.is_empty(), "lab {name} has left {left:?}");
    assert!(failed.is_empty(), "failed: {failed:?}\nthe programs complained of:\n{complaints}");
    assert!(!complaints.contains("panicked"), "a program panicked:\n{complaints}");
}

/// What of the machine still bears a lab's name.
fn left_of(lab: &str) -> Vec<String> {
    let mut left = Vec::new();
    let state = Path::new("/run/weir-lab").join(lab);
    if state.exists() {
        left.push(state.display().to_string());
    }
    for (what, text) in [
        ("mount", std::fs::read_to_string("/proc/self/mountinfo").unwrap()),
        ("namespace", output("ip", &["netns", "list"])),
        ("link", output("ip", &["-d", "link"])),
    ] {
        left.extend(text.lines().filter(|line| line.contains(lab)).map(|line| format!("{what} {line}")));
    }
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let group = std::fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
        if group.contains(&format!("weir-lab-{lab}")) {
            left.push(format!("process {}", process.file_name().display()));
        }
    }
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    for line in mounts.lines().filter(|line| line.contains(" cgroup2 ")) {
        let group = Path::new(line.split(' ').nth(1).unwrap()).join(format!("weir-lab-{lab}"));
        if group.exists() {
            left.push(group.display().to_string());
        }
    }
    left
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether the machine has a program that a check needs beside the mesh's own.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        weir_tests::lab::skip(&format!("needs {program}"));
    }
    found
}
