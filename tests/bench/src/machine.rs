//! The machine that is measured on: its processors, and which of them does what.

use std::fs;

use anyhow::Context;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) processors: usize,
    /// Files that a process may have open.
    pub(crate) files: u64,
}

/// A processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Core(pub(crate) usize);

impl Machine {
    pub(crate) fn this() -> anyhow::Result<Self> {
        let kernel =
            fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the kernel's version")?;
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("reading /proc/cpuinfo")?;
        let named = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let processors = std::thread::available_parallelism()?.get();
        anyhow::ensure!(processors >= 2, "the proxy needs a processor of its own: this machine has one");
        Ok(Self {
            kernel: kernel.trim().to_owned(),
            processor: named.map_or("unknown", |(_, name)| name).to_owned(),
            processors,
            files: allow_many_files()?,
        })
    }

    /// Where the proxies under test run, alone.
    #[allow(clippy::unused_self, reason = "which one it is depends on the machine as `load` does")]
    pub(crate) fn proxy(&self) -> Core {
        Core(0)
    }

    /// Where load comes from.
    pub(crate) fn load(&self) -> Core {
        Core(1)
    }

    /// Where backends run: apart from the load if there are processors enough.
    pub(crate) fn backend(&self) -> Core {
        Core(if self.processors > 2 { 2 } else { 1 })
    }
}

/// Lets this process, and those that it starts, open as many files as they may; gives the number.
fn allow_many_files() -> anyhow::Result<u64> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("asking how many files may be open")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("raising the limit of open files")?;
    Ok(most)
}

/// Does something on these processors; the processes that it starts stay on them.
pub(crate) fn pinned<T>(cores: &[Core], act: impl FnOnce() -> T) -> anyhow::Result<T> {
    let this = Pid::from_raw(0);
    let before = sched_getaffinity(this).context("asking which processors this process may use")?;
    let mut set = CpuSet::new();
    for core in cores {
        set.set(core.0)?;
    }
    sched_setaffinity(this, &set).with_context(|| format!("taking processors {cores:?}"))?;
    let result = act();
    sched_setaffinity(this, &before).context("taking all processors again")?;
    Ok(result)
}
