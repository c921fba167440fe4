//! `weir lab enter`: the last step before a container's, or a node program's, own code runs.
//!
//! It enters the cgroup, the network namespace and, for a container, mount and host name namespaces of its own, and
//! then becomes the command. It knows nothing of pods: whoever starts it says every path.

use std::convert::Infallible;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use serde::{Deserialize, Serialize};

use crate::lab::layout::{NETNS_ROOT, STATE_ROOT, lab_of_netns};

/// Where to run a command, and which.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Enter {
    /// The network namespace to be in.
    #[arg(long)]
    pub(crate) netns: Option<PathBuf>,
    /// The cgroup to be in.
    #[arg(long)]
    pub(crate) cgroup: Option<PathBuf>,
    /// The host name to have, in a namespace of its own.
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// Files to see in place of those of the same name in /etc.
    #[arg(long)]
    pub(crate) etc: Option<PathBuf>,
    #[arg(long)]
    pub(crate) workdir: Option<PathBuf>,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

impl Enter {
    /// The arguments of `weir` that do this.
    pub(crate) fn arguments(&self) -> Vec<std::ffi::OsString> {
        let mut arguments = vec!["lab".into(), "enter".into()];
        let mut flag = |name: &str, value: Option<&std::ffi::OsStr>| {
            if let Some(value) = value {
                arguments.push(name.into());
                arguments.push(value.to_owned());
            }
        };
        flag("--netns", self.netns.as_deref().map(Path::as_os_str));
        flag("--cgroup", self.cgroup.as_deref().map(Path::as_os_str));
        flag("--hostname", self.hostname.as_deref().map(AsRef::as_ref));
        flag("--etc", self.etc.as_deref().map(Path::as_os_str));
        flag("--workdir", self.workdir.as_deref().map(Path::as_os_str));
        arguments.push("--".into());
        arguments.extend(self.command.iter().map(Into::into));
        arguments
    }
}

/// Becomes the command; comes back only with an error. The calling process must have one thread.
pub(crate) fn enter(place: &Enter) -> anyhow::Result<Infallible> {
    if let Some(cgroup) = &place.cgroup {
        fs::write(cgroup.join("cgroup.procs"), "0")
            .with_context(|| format!("entering the cgroup {}", cgroup.display()))?;
    }
    if let Some(netns) = &place.netns {
        let file = fs::File::open(netns).with_context(|| format!("opening {}", netns.display()))?;
        setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("entering the network namespace {}", netns.display()))?;
    }
    if let Some(etc) = &place.etc {
        unshare(CloneFlags::CLONE_NEWNS).context("making a mount namespace")?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .context("making the mounts private")?;
        cover_etc(etc)?;
        hide_labs()?;
    }
    if let Some(hostname) = &place.hostname {
        unshare(CloneFlags::CLONE_NEWUTS).context("making a host name namespace")?;
        fs::write("/proc/sys/kernel/hostname", hostname).context("setting the host name")?;
    }
    if let Some(folder) = &place.workdir {
        std::env::set_current_dir(folder)
            .with_context(|| format!("changing to the working directory {}", folder.display()))?;
    }
    let (program, arguments) = place.command.split_first().ok_or_else(|| anyhow!("no command was given"))?;
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(anyhow!("cannot run {program:?}: {error}"))
}

fn cover_etc(etc: &Path) -> anyhow::Result<()> {
    for name in ["resolv.conf", "hosts", "hostname"] {
        let target = Path::new("/etc").join(name);
        // A machine without one of these files has nothing that could be covered.
        if !target.exists() {
            continue;
        }
        mount(Some(&etc.join(name)), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .with_context(|| format!("binding the pod's {}", target.display()))?;
    }
    Ok(())
}

/// Takes every lab's mounts out of this private copy of the mount table: each of them would otherwise keep a network
/// namespace or a bpffs alive for as long as this container runs, long after its lab has removed it.
fn hide_labs() -> anyhow::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("reading the mount table")?;
    for point in table.lines().rev().filter_map(mount_point) {
        let in_state = Path::new(&point).starts_with(STATE_ROOT);
        let in_netns = point
            .strip_prefix(NETNS_ROOT)
            .and_then(|rest| rest.strip_prefix('/'))
            .is_some_and(|name| lab_of_netns(name).is_some());
        if in_state || in_netns {
            // One that another lab removes at this moment is gone, which is what was wanted.
            let _ = umount2(Path::new(&point), MntFlags::MNT_DETACH);
        }
    }
    // A container sees no lab's tokens and sockets, and no files that were namespaces.
    for folder in [STATE_ROOT, NETNS_ROOT] {
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        if Path::new(folder).exists() {
            mount(Some("tmpfs"), folder, Some("tmpfs"), flags, Some("size=4k,mode=0700"))
                .with_context(|| format!("covering {folder}"))?;
        }
    }
    Ok(())
}

/// The mount point of a line of /proc/self/mountinfo; those that need unescaping are none of ours.
pub(crate) fn mount_point(line: &str) -> Option<String> {
    line.split(' ').nth(4).map(str::to_owned)
}
