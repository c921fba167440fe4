//! Recorded clusters, and the report on each: `tests/NAME.yaml` and `tests/NAME.txt`. `UPDATE_GOLDEN=1` writes the
//! latter anew; every difference is to be read.

use std::fs;
use std::path::Path;

use super::finding::Level;
use super::node::{self, Local};
use super::observed::Observed;
use super::{Report, findings, show};

fn check(name: &str) -> Report {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/check/tests");
    let recorded = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
    let observed: Observed = serde_yaml_ng::from_str(&recorded).unwrap();
    let report = findings(&observed);
    let (text, file) = (show::text(&report), folder.join(format!("{name}.txt")));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    assert!(text == golden, "{} is not what is said now:\n{text}", file.display());
    for finding in &report.findings {
        assert_eq!(finding.advice.is_empty(), finding.level == Level::Ok, "{finding:?}");
    }
    report
}

#[test]
fn a_cluster_that_can_take_weir_has_no_error() {
    let report = check("fresh");
    assert_eq!((report.errors, report.warnings), (0, 0));
}

#[test]
fn a_cluster_that_cannot_take_weir_is_told_why() {
    assert!(check("unfit").errors > 0);
}

#[test]
fn what_may_not_be_read_is_a_warning_and_nothing_is_said_to_be_well() {
    let report = check("refused");
    assert_eq!((report.errors, report.warnings), (0, report.findings.len()));
}

#[test]
fn a_mesh_that_works_has_no_error() {
    let report = check("installed");
    assert_eq!((report.errors, report.warnings), (0, 0));
}

#[test]
fn a_mesh_that_does_not_work_is_told_why() {
    assert!(check("broken").errors > 0);
}

#[test]
fn json_has_levels_areas_and_objects() {
    let report = serde_json::to_value(check("broken")).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let gateway = findings.iter().find(|finding| finding["object"] == "Gateway shop/web").unwrap();
    assert_eq!((&gateway["level"], &gateway["area"]), (&"error".into(), &"objects".into()));
    assert!(gateway["message"].as_str().unwrap().starts_with("Programmed=False (AddressNotAssigned)"));
    assert!(findings.iter().any(|finding| finding["level"] == "ok" && finding.get("advice").is_none()));
}

fn node_levels(local: &Local) -> Vec<(Level, String)> {
    node::findings(local).into_iter().map(|finding| (finding.level, finding.message)).collect()
}

#[test]
fn a_node_that_can_take_mesh_node_has_no_error() {
    let local = Local {
        release: "6.1.0-13-amd64".into(),
        architecture: "x86_64".into(),
        mounts: "none /sys/fs/cgroup cgroup2 rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n".into(),
        status: "CapEff:\t0\nCapBnd:\t000001ffffffffff\n".into(),
        lockdown: "none [integrity] confidentiality".into(),
        options: Some("CONFIG_BPF_SYSCALL=y\nCONFIG_CGROUP_BPF=y\n".into()),
        has_btf: true,
    };
    let said = node_levels(&local);
    assert!(said.iter().all(|(level, _)| *level == Level::Ok), "{said:?}");
}

#[test]
fn a_node_that_cannot_take_mesh_node_is_told_why() {
    let local = Local {
        release: "5.10.0-28-amd64".into(),
        architecture: "aarch64".into(),
        // Of version 1, and a bpffs elsewhere.
        mounts: "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\nbpf /mnt/bpf bpf rw 0 0\n".into(),
        // Without CAP_SYS_ADMIN (21).
        status: "CapBnd:\t000001ffffdfffff\n".into(),
        lockdown: "none integrity [confidentiality]".into(),
        options: Some("CONFIG_BPF_SYSCALL=y\n# CONFIG_CGROUP_BPF is not set\n".into()),
        has_btf: false,
    };
    let said = node_levels(&local);
    let is_said =
        |level: Level, words: &str| said.iter().any(|(l, message)| *l == level && message.contains(words));
    for words in ["5.10.0", "CONFIG_CGROUP_BPF", "cgroup2", "no bpf", "CAP_SYS_ADMIN cannot", "locked down"] {
        assert!(is_said(Level::Error, words), "{words}: {said:?}");
    }
    assert!(is_said(Level::Warning, "aarch64") && is_said(Level::Warning, "types"), "{said:?}");
    assert!(!said.iter().any(|(_, message)| message.contains("CONFIG_BPF_SYSCALL")), "{said:?}");
}
