//! Which of the mesh's programs a lab runs, with which flags, and where their files are found.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::act::enter::Enter;
use super::address::Subnets;
use super::layout::{Layout, node_name};
use super::supervise::program::{Program, Readiness};

const AUTHORITY: &str = "cert-authority";
const OPERATOR: &str = "mesh-operator";
const NODE: &str = "mesh-node";
const TRUST_DOMAIN: &str = "cluster.local";
const AUTHORITY_PORT: u16 = 15012;
const OPERATOR_PORT: u16 = 15010;
const METRICS_PORT: u16 = 15020;
/// How mesh-node's memory is managed, as in its image, which says why.
const TUNABLES: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1048576:glibc.malloc.trim_threshold=4194304");

/// The files of the programs.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    authority: PathBuf,
    operator: PathBuf,
    node: PathBuf,
    /// What every mesh-node gets after the flags of the lab.
    node_flags: Vec<String>,
}

/// Finds the programs: beside `weir` itself first, then on the PATH.
///
/// # Errors
/// Which programs are missing and what to do.
pub(crate) fn find(path: &str, node_flags: &[String]) -> Result<Binaries, String> {
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_owned));
    let mut missing = Vec::new();
    let mut look = |name: &str| {
        let folders = beside.iter().cloned().chain(std::env::split_paths(path));
        let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
        if found.is_none() {
            missing.push(name.to_owned());
        }
        found.unwrap_or_default()
    };
    let binaries = Binaries {
        authority: look(AUTHORITY),
        operator: look(OPERATOR),
        node: look(NODE),
        node_flags: node_flags.to_vec(),
    };
    if missing.is_empty() {
        return Ok(binaries);
    }
    Err(format!(
        "{} not found beside weir nor on the PATH: build the workspace (cargo build), or leave the mesh out with --no-mesh",
        missing.join(", ")
    ))
}

/// The program that signs certificates.
pub(crate) fn authority(layout: &Layout, plan: Subnets, binaries: &Binaries, control: PathBuf) -> Program {
    let listen = SocketAddr::new(plan.host().v4.into(), AUTHORITY_PORT);
    let flags = [
        ("--state", layout.authority().display().to_string()),
        ("--listen", listen.to_string()),
        ("--trust-domain", TRUST_DOMAIN.to_owned()),
        ("--bundle-out", layout.bundle().display().to_string()),
        ("--lab-objects", layout.objects().display().to_string()),
        ("--lab-tokens", layout.tokens().display().to_string()),
    ];
    program(
        layout,
        AUTHORITY,
        &binaries.authority,
        &flags,
        None,
        control,
        Readiness::File(layout.bundle(), listen),
    )
}

/// The program that compiles manifests to configuration.
pub(crate) fn operator(layout: &Layout, plan: Subnets, binaries: &Binaries, control: PathBuf) -> Program {
    let host = IpAddr::from(plan.host().v4);
    let flags = [
        ("--manifests", layout.objects().display().to_string()),
        ("--output", layout.published().display().to_string()),
        ("--listen", SocketAddr::new(host, OPERATOR_PORT).to_string()),
        ("--trust-domain", TRUST_DOMAIN.to_owned()),
        ("--ca", SocketAddr::new(host, AUTHORITY_PORT).to_string()),
        ("--ca-bundle", layout.bundle().display().to_string()),
        ("--token-file", layout.tokens().join(OPERATOR).display().to_string()),
        ("--admin", layout.operator_admin().display().to_string()),
    ];
    let ready = Readiness::Admin(layout.operator_admin());
    program(layout, OPERATOR, &binaries.operator, &flags, None, control, ready)
}

/// A node's program.
pub(crate) fn node(layout: &Layout, plan: Subnets, binaries: &Binaries, node: u8, cgroup: &Path) -> Program {
    let host = IpAddr::from(plan.host().v4);
    let own = plan.node(node).v4;
    let name = node_name(node);
    let flags = [
        ("--node", name.clone()),
        ("--node-ip", own.to_string()),
        ("--operator", SocketAddr::new(host, OPERATOR_PORT).to_string()),
        ("--ca", SocketAddr::new(host, AUTHORITY_PORT).to_string()),
        ("--ca-bundle", layout.bundle().display().to_string()),
        ("--token-file", layout.tokens().join(&name).display().to_string()),
        ("--trust-domain", TRUST_DOMAIN.to_owned()),
        ("--pods", layout.node_pods(node).display().to_string()),
        ("--cgroup", cgroup.join("pods").display().to_string()),
        ("--bpf", layout.node_bpf(node).display().to_string()),
        ("--admin", layout.node_admin(node).display().to_string()),
        ("--metrics", SocketAddr::new(own.into(), METRICS_PORT).to_string()),
    ];
    let netns = Some(layout.node_netns_path(node));
    let ready = Readiness::Admin(layout.node_admin(node));
    let label = format!("{NODE}-{node}");
    let mut program = program(layout, &label, &binaries.node, &flags, netns, cgroup.join("weir"), ready);
    program.enter.command.extend_from_slice(&binaries.node_flags);
    program.environment.push((TUNABLES.0.to_owned(), TUNABLES.1.to_owned()));
    program
}

/// The names under which bootstrap tokens are kept.
pub(crate) fn token_names(nodes: u8) -> Vec<String> {
    std::iter::once(OPERATOR.to_owned()).chain((1..=nodes).map(node_name)).collect()
}

fn program(
    layout: &Layout,
    name: &str,
    file: &Path,
    flags: &[(&str, String)],
    netns: Option<PathBuf>,
    cgroup: PathBuf,
    ready: Readiness,
) -> Program {
    let mut command = vec![file.display().to_string()];
    command.extend(flags.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]));
    let enter = Enter { netns, cgroup: Some(cgroup), hostname: None, etc: None, workdir: None, command };
    Program { name: name.to_owned(), enter, environment: Vec::new(), log: layout.program_log(name), ready }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_manage_their_memory_as_in_their_image() {
        let image = include_str!("../../../images/mesh-node/Dockerfile");
        assert!(image.contains(&format!("ENV {}={}\n", TUNABLES.0, TUNABLES.1)));
    }
}
