//! What there is on a node that a mesh, or a pod, may leave behind: counted before and after, to be compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use super::node::Node;
use crate::error::Error;

/// Where mesh-node pins its programs and maps.
const PINS: &str = "/sys/fs/bpf/weir";
/// Maps whose entries are not counted: those of connections, which the kernel drops by age or with the connection, and the
/// sockets, which cannot be read and leave their map when they are closed.
const UNCOUNTED: [&str; 4] = ["FLOWS", "ORIGINS", "BYPASS", "LISTENERS"];

/// How many there are of each thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint(pub BTreeMap<String, usize>);

/// A program, link or map in the kernel. A number is never given twice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelObject {
    pub kind: String,
    pub id: u64,
}

impl Footprint {
    /// # Errors
    /// One of the tools fails.
    pub fn of(node: &Node) -> Result<Self, Error> {
        let mut footprint = Self::default();
        for pin in pins(node)? {
            let is_map = !(pin.starts_with("link-") || pin.starts_with("pod-"));
            if is_map && !UNCOUNTED.contains(&pin.as_str()) {
                footprint.0.insert(
                    format!("entries of {pin}"),
                    shown(node, &["map", "dump", "pinned", &format!("{PINS}/{pin}")])?.len(),
                );
            }
            // A pod's is named after its UID.
            let name =
                if pin.starts_with("pod-") { "pods' programs".to_owned() } else { format!("pin {pin}") };
            footprint.add(name);
        }
        for (family, arguments) in [("IPv4", ["-4", "rule"]), ("IPv6", ["-6", "rule"])] {
            for rule in node.said("ip", &arguments)?.lines() {
                footprint
                    .add(format!("{family} rule {}", rule.split_whitespace().collect::<Vec<_>>().join(" ")));
            }
        }
        for (what, arguments) in
            [("network namespaces", &["netns", "list"][..]), ("links", &["-oneline", "link"][..])]
        {
            footprint.0.insert(what.to_owned(), node.said("ip", arguments)?.lines().count());
        }
        for line in node.said("ip", &["-oneline", "address", "show", "dev", "eth0"])?.lines() {
            let address = line.split_whitespace().nth(3).unwrap_or_default();
            footprint.add(format!("address {address}"));
        }
        // Of tables only: kube-proxy's name the Services of Gateways.
        for line in node.said("nft", &["list", "tables"])?.lines() {
            footprint.add(format!("nft {line}"));
        }
        footprint.add_descriptors(node)?;
        Ok(footprint)
    }

    /// What there is more of in the later one, in words.
    pub fn grown(&self, later: &Self) -> Vec<String> {
        let before = |what: &String| self.0.get(what).copied().unwrap_or_default();
        let grown = later.0.iter().filter(|(what, count)| **count > before(what));
        grown.map(|(what, count)| format!("{what}: {} before, {count} after", before(what))).collect()
    }

    fn add(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }

    /// Of the mesh-node, by what they are. Sockets are left out: connections of pods that stay are kept for reuse.
    fn add_descriptors(&mut self, node: &Node) -> Result<(), Error> {
        for process in node.processes("mesh-node")? {
            for entry in fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten() {
                let Ok(target) = fs::read_link(entry.path()) else { continue };
                let target = target.display().to_string();
                let kind = target.split([':', '[']).next().unwrap_or_default();
                if kind != "socket" {
                    let kind = if kind == "anon_inode" { &target } else { kind };
                    self.add(format!("mesh-node's descriptors of {kind}"));
                }
            }
        }
        Ok(())
    }
}

/// What a mesh-node has in the kernel: what it has pinned, and what it holds by a descriptor.
///
/// # Errors
/// bpftool fails.
pub fn kernel_objects(node: &Node) -> Result<BTreeSet<KernelObject>, Error> {
    let mut objects = BTreeSet::new();
    for process in node.processes("mesh-node")? {
        for entry in fs::read_dir(format!("/proc/{process}/fdinfo")).into_iter().flatten().flatten() {
            let info = fs::read_to_string(entry.path()).unwrap_or_default();
            for line in info.lines() {
                let Some((name, id)) = line.split_once(":\t") else { continue };
                let kind = name.strip_suffix("_id").filter(|kind| ["prog", "link", "map"].contains(kind));
                if let (Some(kind), Ok(id)) = (kind, id.trim().parse()) {
                    objects.insert(KernelObject { kind: kind.to_owned(), id });
                }
            }
        }
    }
    for kind in ["link", "map"] {
        for object in shown(node, &["--bpffs", kind, "show"])? {
            let pinned = object["pinned"].as_array().into_iter().flatten().filter_map(Value::as_str);
            if pinned.into_iter().any(|path| path.starts_with(PINS)) {
                for (kind, id) in [(kind, &object["id"]), ("prog", &object["prog_id"])] {
                    objects.extend(id.as_u64().map(|id| KernelObject { kind: kind.to_owned(), id }));
                }
            }
        }
    }
    Ok(objects)
}

/// Those that are still in the kernel.
///
/// # Errors
/// bpftool fails.
pub fn still_there(node: &Node, objects: &BTreeSet<KernelObject>) -> Result<Vec<KernelObject>, Error> {
    let mut present = BTreeSet::new();
    for kind in ["prog", "link", "map"] {
        for object in shown(node, &[kind, "show"])? {
            present.extend(object["id"].as_u64().map(|id| KernelObject { kind: kind.to_owned(), id }));
        }
    }
    Ok(objects.intersection(&present).cloned().collect())
}

/// The network namespaces of the node's pods in which a rule or a setting of the mesh's is left: one process of each.
///
/// # Errors
/// The processes cannot be listed.
pub fn pods_with_rules(node: &Node, priority: u32) -> Result<Vec<u32>, Error> {
    let mut seen = BTreeSet::new();
    let mut left = Vec::new();
    for process in node.all_processes()? {
        // One that has ended meanwhile has none.
        let Ok(namespace) = fs::metadata(format!("/proc/{process}/ns/net")) else { continue };
        if !seen.insert(namespace.ino()) {
            continue;
        }
        for family in ["-4", "-6"] {
            let mut command = std::process::Command::new("nsenter");
            command.args(["--target", &process.to_string(), "--net", "ip", family, "rule", "show"]);
            let rules = super::command::said(command.args(["priority", &priority.to_string()]));
            if rules.is_ok_and(|rules| !rules.trim().is_empty()) {
                left.push(process);
            }
        }
    }
    Ok(left)
}

fn pins(node: &Node) -> Result<Vec<String>, Error> {
    let found = node.said("find", &["/sys/fs/bpf", "-mindepth", "1", "-not", "-name", "*.debug"])?;
    let name = |path: &str| path.trim_start_matches(PINS).trim_start_matches('/').to_owned();
    Ok(found.lines().map(name).filter(|name| !name.is_empty()).collect())
}

fn shown(node: &Node, arguments: &[&str]) -> Result<Vec<Value>, Error> {
    let text = node.said("bpftool", &[&["--json"], arguments].concat())?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| Error::unreadable(format!("bpftool {}", arguments.join(" ")), error))?;
    Ok(value.as_array().cloned().unwrap_or_default())
}
