//! The report as text.

use super::report::{NodeState, Report};
use crate::text::table;

pub(super) fn text(report: &Report) -> String {
    let mut text = format!("{}\n\n", report.mesh);
    let dash = || "-".to_owned();
    let programs = report.programs.iter().map(|program| {
        let state = match &program.problem {
            None if program.leads && report.programs.len() > 1 => "ready, leads".to_owned(),
            None => "ready".to_owned(),
            Some(problem) => format!("NOT READY: {problem}"),
        };
        vec![program.name.clone(), dash(), dash(), state]
    });
    let nodes = report.nodes.iter().map(|node| {
        let version = node.acknowledged_version.clone().unwrap_or_else(dash);
        vec![node.name.clone(), version, captured(node), state(node)]
    });
    let rows = programs.chain(nodes).collect();
    table(&mut text, &["PROGRAM", "ACKNOWLEDGED", "CAPTURED PODS", "STATE"], rows);
    let namespaces = report.namespaces.iter();
    let rows = namespaces.map(|n| vec![n.name.clone(), n.meshed_pods.to_string(), format!("{:?}", n.mode)]);
    table(&mut text, &["NAMESPACE", "PODS IN THE MESH", "MODE"], rows.collect());
    let rows = report.gateways.iter().map(|gateway| {
        let addresses = if gateway.addresses.is_empty() { dash() } else { gateway.addresses.join(", ") };
        vec![gateway.name.clone(), addresses, gateway.programmed.clone()]
    });
    table(&mut text, &["GATEWAY", "ADDRESSES", "PROGRAMMED"], rows.collect());
    let rows = report.objects.iter().map(|(kind, objects)| {
        let troubled = if objects.troubled == 0 { dash() } else { objects.troubled.to_string() };
        vec![kind.clone(), objects.all.to_string(), troubled]
    });
    table(&mut text, &["KIND", "OBJECTS", "NOT AS WANTED"], rows.collect());
    for node in &report.nodes {
        for rejected in &node.rejected {
            text.push_str(&format!("{} rejected {}\n  {}\n", node.name, rejected.resource, rejected.message));
        }
    }
    for complaint in &report.complaints {
        let part = if complaint.part.is_empty() { String::new() } else { format!(", {}", complaint.part) };
        let mut said = complaint.conditions.clone();
        said.push(format!("({})", complaint.reason));
        text.push_str(&format!("{}{part}\n", complaint.object));
        text.push_str(&format!("  {}: {}\n", said.join(" "), complaint.message));
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
    for unseen in &report.unseen {
        text.push_str(&format!("not seen: {unseen}\n"));
    }
    if !text.ends_with("\n\n") {
        text.push('\n');
    }
    text.push_str(&closing(report));
    text.push('\n');
    text
}

/// How many pods it has captured, and of how many, where it is not all.
fn captured(node: &NodeState) -> String {
    match (node.captured_pods, node.meshed_pods) {
        (None, _) => "-".into(),
        (Some(captured), Some(meshed)) if captured < meshed => format!("{captured} of {meshed}"),
        (Some(captured), _) => captured.to_string(),
    }
}

fn state(node: &NodeState) -> String {
    match (node.connected, &node.problem) {
        (Some(false), None) => "NOT CONNECTED".into(),
        (Some(false), Some(problem)) => format!("NOT CONNECTED: {problem}"),
        (_, Some(problem)) => format!("NOT READY: {problem}"),
        (_, None) if !node.rejected.is_empty() => format!("{} resources REJECTED", node.rejected.len()),
        (None, None) => "ready; whether it is connected is not known".into(),
        (Some(true), None) if !node.up_to_date => "behind: the newest configuration is on its way".into(),
        (Some(true), None) => "ready, up to date".into(),
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
    let all = report.objects.values().map(|objects| objects.all).sum();
    if troubled > 0 {
        let object = if all == 1 { "object" } else { "objects" };
        parts.push(format!("{troubled} of {all} {object} not as wanted"));
    } else if all > 0 {
        parts.push(format!("all {} accepted", count(all, "object", "objects")));
    } else {
        parts.push("no object has a status".to_owned());
    }
    if !report.problems.is_empty() {
        parts.push(count(report.problems.len(), "problem in manifests", "problems in manifests"));
    }
    let nodes = report.nodes.iter().filter(|node| !node.is_healthy()).count();
    match (nodes, report.nodes.len()) {
        (_, 0) => parts.push("no node is known".to_owned()),
        (0, all) if report.nodes.iter().all(|node| node.up_to_date) => {
            parts.push(count(all, "node up to date", "nodes up to date"));
        }
        (0, all) => parts.push(count(all, "node ready", "nodes ready")),
        (bad, all) => parts.push(format!("{bad} of {} not ready", count(all, "node", "nodes"))),
    }
    let unready = report.programs.iter().filter(|program| program.problem.is_some());
    parts.extend(unready.map(|program| format!("{} is not ready", program.name)));
    if !report.unseen.is_empty() {
        parts.push("not everything could be seen".to_owned());
    }
    parts.join("; ")
}
