//! `weir lab get`: what there is, as tables or as JSON.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::bail;

use super::{ask_living, print};
use crate::lab::cluster::view::View;
use crate::lab::control::{Answer, Request};
use crate::lab::layout::Layout;
use crate::text::table;

pub(crate) fn get(layout: &Layout, json: bool) -> anyhow::Result<ExitCode> {
    let Answer::View(view) = ask_living(layout, &Request::Get)? else {
        bail!("the lab's supervisor is of another version of weir");
    };
    let text = if json { serde_json::to_string_pretty(&view)? + "\n" } else { tables(&view) };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The view for people.
pub(crate) fn tables(view: &View) -> String {
    let join = |list: &[std::net::IpAddr]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let mut text = String::new();
    let nodes =
        view.nodes.iter().map(|node| vec![node.name.clone(), join(&node.addresses), node.netns.clone()]);
    table(&mut text, &["NODE", "ADDRESSES", "NETNS"], nodes.collect());
    let programs = view.programs.iter().map(|program| {
        vec![
            program.name.clone(),
            if program.ready { "yes" } else { "no" }.to_owned(),
            program.restarts.to_string(),
        ]
    });
    table(&mut text, &["PROGRAM", "READY", "RESTARTS"], programs.collect());
    let pods = view.pods.iter().map(|pod| {
        let state = match (&pod.message, pod.terminating, pod.ready) {
            (_, true, _) => "Terminating".to_owned(),
            (_, _, true) => "Ready".to_owned(),
            (Some(message), ..) => format!("{}: {}", pod.phase, message.lines().next().unwrap_or_default()),
            _ => pod.phase.clone(),
        };
        let name = format!("{}/{}", pod.namespace, pod.name);
        vec![name, pod.node.clone(), join(&pod.addresses), pod.restarts.to_string(), state]
    });
    table(&mut text, &["POD", "NODE", "ADDRESSES", "RESTARTS", "STATE"], pods.collect());
    let services = view.services.iter().map(|service| {
        let addresses = match service.cluster_ips.as_slice() {
            [] => "-".to_owned(),
            addresses => join(addresses),
        };
        let external =
            if service.external_ips.is_empty() { "-".to_owned() } else { join(&service.external_ips) };
        let name = format!("{}/{}", service.namespace, service.name);
        vec![name, service.kind.clone(), addresses, external, service.ports.join(",")]
    });
    table(&mut text, &["SERVICE", "TYPE", "CLUSTER-IPS", "EXTERNAL-IPS", "PORTS"], services.collect());
    let gateways = view
        .gateways
        .iter()
        .map(|gateway| vec![format!("{}/{}", gateway.namespace, gateway.name), gateway.addresses.join(",")]);
    table(&mut text, &["GATEWAY", "ADDRESSES"], gateways.collect());
    if !view.problems.is_empty() {
        text.push_str("PROBLEMS\n");
        for problem in &view.problems {
            writeln!(text, "  {problem}").expect("writing to a String cannot fail");
        }
    }
    text
}
