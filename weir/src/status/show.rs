//! The report as text.

use super::report::{NodeState, Report};
use crate::text::table;

pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let operator = match &report.operator.problem {
        None => "ready".to_owned(),
        Some(problem) => format!("NOT READY: {problem}"),
    };
    let dash = || "-".to_owned();
    let rows = std::iter::once(vec!["mesh-operator".to_owned(), dash(), dash(), operator])
        .chain(report.nodes.iter().map(|node| {
            let version = node.acknowledged_version.clone().unwrap_or_else(dash);
            let pods = node.captured_pods.map_or_else(dash, |pods| pods.to_string());
            vec![node.name.clone(), version, pods, state(node)]
        }))
        .collect();
    table(&mut text, &["PROGRAM", "ACKNOWLEDGED", "CAPTURED PODS", "STATE"], rows);
    for node in &report.nodes {
        for rejected in &node.rejected {
            text.push_str(&format!("{} rejected {}\n  {}\n", node.name, rejected.resource, rejected.message));
        }
    }
    for complaint in &report.complaints {
        let part = if complaint.part.is_empty() { String::new() } else { format!(", {}", complaint.part) };
        let conditions = complaint.conditions.join(" ");
        text.push_str(&format!("{}{part}\n", complaint.object));
        text.push_str(&format!("  {conditions} ({}): {}\n", complaint.reason, complaint.message));
        if let Some(advice) = complaint.advice {
            text.push_str(&format!("  to do: {advice}\n"));
        }
    }
    for problem in &report.problems {
        let parts = [problem.object.as_deref(), problem.field.as_deref(), Some(problem.message.as_str())];
        let what: Vec<&str> = parts.into_iter().flatten().collect();
        let file = if problem.file.is_empty() { "the configuration" } else { &problem.file };
        text.push_str(&format!("{file}\n  {}\n", what.join(": ")));
    }
    if !text.ends_with("\n\n") {
        text.push('\n');
    }
    text.push_str(&closing(report));
    text.push('\n');
    text
}

fn state(node: &NodeState) -> String {
    match (node.connected, &node.problem) {
        (false, None) => "NOT CONNECTED".into(),
        (false, Some(problem)) => format!("NOT CONNECTED: {problem}"),
        (true, Some(problem)) => format!("NOT READY: {problem}"),
        (true, None) if !node.rejected.is_empty() => format!("{} resources REJECTED", node.rejected.len()),
        (true, None) if !node.up_to_date => "behind: the newest configuration is on its way".into(),
        (true, None) => "ready, up to date".into(),
    }
}

/// One line that says it all.
fn closing(report: &Report) -> String {
    let count = |number: usize, one: &str, more: &str| match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {more}"),
    };
    let mut parts = Vec::new();
    let troubled = report.troubled().len();
    if troubled > 0 {
        let object = if report.objects == 1 { "object" } else { "objects" };
        parts.push(format!("{troubled} of {} {object} not as wanted", report.objects));
    } else if report.objects > 0 {
        parts.push(format!("all {} accepted", count(report.objects, "object", "objects")));
    } else {
        parts.push("no object has a status".to_owned());
    }
    if !report.problems.is_empty() {
        parts.push(count(report.problems.len(), "problem in manifests", "problems in manifests"));
    }
    let nodes = report.nodes.iter().filter(|node| !node.is_healthy()).count();
    match (nodes, report.nodes.len()) {
        (_, 0) => parts.push("no node is known".to_owned()),
        (0, all) => parts.push(count(all, "node up to date", "nodes up to date")),
        (bad, all) => parts.push(format!("{bad} of {} not ready", count(all, "node", "nodes"))),
    }
    if report.operator.problem.is_some() {
        parts.push("the mesh-operator is not ready".to_owned());
    }
    parts.join("; ")
}
