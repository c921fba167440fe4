//! The beginning of a lab: its name and index are claimed, leftovers of dead labs removed, its folders, cgroups, mounts and
//! network made.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

use super::pod::Machine;
use super::program::Program;
use crate::lab::act::{cgroup, network};
use crate::lab::address::{MAX_LABS, Subnets};
use crate::lab::layout::{LabName, Layout, STATE_ROOT, node_name};
use crate::lab::programs::{self, Binaries};
use crate::lab::teardown;

/// The lab that somebody wants.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) name: LabName,
    pub(crate) nodes: u8,
    pub(crate) files: Vec<PathBuf>,
    /// The mesh's programs; none for a lab without the mesh.
    pub(crate) binaries: Option<Binaries>,
    pub(crate) ready_timeout: Duration,
}

/// `lab.json`: what others need to know of a lab without asking its supervisor.
#[derive(Debug, Deserialize, Serialize)]
struct Description {
    name: String,
    index: u8,
    nodes: u8,
    mesh: bool,
    supervisor: u32,
    /// The machine's link into the lab.
    link: String,
    lan_netns: String,
    node_netns: Vec<String>,
}

/// A lab's hold on its name and index, for as long as it is not dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) plan: Subnets,
    _lock: File,
}

/// Removes what dead labs have left, and claims the name and a free index.
pub(crate) async fn claim(order: &Order, layout: &Layout) -> anyhow::Result<Claim> {
    let _alone = locked_root()?;
    let mut taken = Vec::new();
    for name in teardown::present()? {
        let other = Layout::new(name);
        if !teardown::is_alive(&other)? {
            teardown::remove(&other)
                .await
                .with_context(|| format!("removing what is left of lab {}", other.name()))?;
        } else if other.name() == layout.name() {
            bail!("lab {0} is up already: weir lab down --name {0}, or choose another --name", layout.name());
        } else {
            taken.push(index_of(&other)?);
        }
    }
    let plan = free_index(&taken)?;
    fs::DirBuilder::new().mode(0o700).create(layout.state())?;
    let lock = File::create_new(layout.lock())?;
    lock.try_lock().map_err(|error| anyhow!("locking the lab's state: {error}"))?;
    fs::create_dir(layout.logs())?;
    take_standard_error(layout)?;
    let description = Description {
        name: layout.name().to_string(),
        index: plan.index(),
        nodes: order.nodes,
        mesh: order.binaries.is_some(),
        supervisor: std::process::id(),
        link: network::host_link(plan),
        lan_netns: layout.lan_netns(),
        node_netns: (1..=order.nodes).map(|node| layout.node_netns(node)).collect(),
    };
    fs::write(layout.description(), serde_json::to_vec_pretty(&description)?)?;
    Ok(Claim { plan, _lock: lock })
}

/// Makes everything that is there before the first pod.
pub(crate) async fn build(order: &Order, layout: &Layout, plan: Subnets) -> anyhow::Result<Arc<Machine>> {
    for folder in [
        layout.objects(),
        layout.staging(),
        layout.published_objects(),
        layout.authority(),
        layout.pod_logs(),
    ] {
        fs::create_dir_all(folder)?;
    }
    let group = cgroup::mount_point()?.join(layout.cgroup());
    fs::create_dir_all(group.join("control"))?;
    if order.binaries.is_some() {
        write_tokens(layout, order.nodes).context("writing bootstrap tokens")?;
    }
    network::make_lan(layout, plan).await.context("making the lab's LAN")?;
    for node in 1..=order.nodes {
        fs::create_dir_all(layout.node_pods(node))?;
        fs::create_dir_all(layout.node_bpf(node))?;
        for part in ["pods", "weir"] {
            fs::create_dir_all(group.join(node_name(node)).join(part))?;
        }
        if order.binaries.is_some() {
            mount(Some("bpffs"), &layout.node_bpf(node), Some("bpf"), MsFlags::empty(), Some("mode=0700"))
                .with_context(|| format!("mounting a bpffs for node-{node}"))?;
        }
        network::make_node(layout, plan, node, order.nodes)
            .await
            .with_context(|| format!("making node-{node}"))?;
    }
    Ok(Arc::new(Machine { layout: layout.clone(), plan, cgroup: group, mesh: order.binaries.is_some() }))
}

/// The mesh's programs in the order of their start, last first.
pub(crate) fn stages(machine: &Machine, binaries: &Binaries, nodes: u8) -> Vec<Vec<Program>> {
    let Machine { layout, plan, cgroup, .. } = machine;
    let control = cgroup.join("control");
    let node = |node| programs::node(layout, *plan, binaries, node, &cgroup.join(node_name(node)));
    vec![
        (1..=nodes).map(node).collect(),
        vec![programs::operator(layout, *plan, binaries, control.clone())],
        vec![programs::authority(layout, *plan, binaries, control)],
    ]
}

/// What containers and programs see of the environment of `weir lab up`. The folder of `weir` itself ends the PATH, so that
/// what was built with it is found.
pub(crate) fn base_environment() -> BTreeMap<String, String> {
    let mut environment: BTreeMap<String, String> =
        ["PATH", "HOME", "LANG", "TZ", "RUST_LOG", "RUST_BACKTRACE"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect();
    let path =
        environment.entry("PATH".to_owned()).or_insert_with(|| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    if let Some(own) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        path.push(':');
        path.push_str(&own.to_string_lossy());
    }
    environment
}

/// Now, as Kubernetes writes it: RFC 3339, UTC, whole seconds.
pub(crate) fn now() -> String {
    let now = time::OffsetDateTime::now_utc().replace_nanosecond(0).expect("zero is a valid nanosecond");
    now.format(&time::format_description::well_known::Rfc3339).expect("the present has a four-digit year")
}

/// Holds the lock that orders the making and removing of labs on this machine.
pub(crate) fn locked_root() -> io::Result<File> {
    let path = Path::new(STATE_ROOT).join(".lock");
    loop {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(STATE_ROOT)?;
        let file = match fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path) {
            // The last lab was removed, and the folder with it, since the line above.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        file.lock()?;
        // A lock on a file that was removed meanwhile excludes nobody.
        if fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|held| held.ino() == now.ino())) {
            return Ok(file);
        }
    }
}

/// Removes the folder of all labs when the last one is gone.
pub(crate) fn remove_root_if_empty() -> io::Result<()> {
    let _alone = locked_root()?;
    let root = Path::new(STATE_ROOT);
    if fs::read_dir(root)?.count() <= 1 {
        fs::remove_file(root.join(".lock"))?;
        fs::remove_dir(root)?;
    }
    Ok(())
}

/// Begins logs anew that have grown too large, keeping what they held as `NAME.1`; they lie in memory.
pub(crate) fn bound_logs(layout: &Layout, limit: u64) {
    for folder in [layout.logs(), layout.pod_logs()] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let large = entry.metadata().is_ok_and(|data| data.is_file() && data.len() > limit);
            if large && path.extension().is_some_and(|extension| extension == "log") {
                // Written to in append mode, a log that is cut goes on at its new end.
                let cut = fs::copy(&path, path.with_extension("log.1"))
                    .and_then(|_| fs::OpenOptions::new().write(true).open(&path)?.set_len(0));
                if let Err(error) = cut {
                    tracing::warn!(%error, log = %path.display(), "a log has grown too large and cannot be cut");
                }
            }
        }
    }
}

/// Leaves the pipe to `weir lab up`, which is about to end.
pub(crate) fn detach_output() -> anyhow::Result<()> {
    let null = fs::OpenOptions::new().write(true).open("/dev/null")?;
    nix::unistd::dup2_stdout(null).context("leaving standard output")
}

fn take_standard_error(layout: &Layout) -> anyhow::Result<()> {
    let log = fs::OpenOptions::new().create(true).append(true).open(layout.program_log("supervisor"))?;
    nix::unistd::dup2_stderr(log).context("opening the supervisor's log")
}

fn index_of(layout: &Layout) -> anyhow::Result<u8> {
    let read =
        || -> anyhow::Result<Description> { Ok(serde_json::from_slice(&fs::read(layout.description())?)?) };
    Ok(read().with_context(|| format!("reading {}", layout.description().display()))?.index)
}

fn free_index(taken: &[u8]) -> anyhow::Result<Subnets> {
    let addresses = network::machine_addresses().context("listing the machine's addresses")?;
    let is_clear = |plan: &Subnets| {
        !addresses.iter().any(|address| match address {
            IpAddr::V4(v4) => plan.all4().contains(v4),
            IpAddr::V6(v6) => plan.all6().contains(v6),
        })
    };
    (0..MAX_LABS).filter(|index| !taken.contains(index)).map(Subnets::new).find(is_clear).ok_or_else(|| {
        anyhow!("{MAX_LABS} labs are up, or the machine itself uses 100.64.0.0/10: take one down")
    })
}

fn write_tokens(layout: &Layout, nodes: u8) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(layout.tokens())?;
    let mut random = File::open("/dev/urandom")?;
    for name in programs::token_names(nodes) {
        let mut bytes = [0; 32];
        random.read_exact(&mut bytes)?;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(layout.tokens().join(name))?;
        io::Write::write_all(&mut &file, hex.as_bytes())?;
    }
    Ok(())
}
