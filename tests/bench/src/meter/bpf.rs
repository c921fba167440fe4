//! What eBPF programs have run, by the kernel's own statistics.

use std::fs;
use std::ops::Sub;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel counts while this lives.
#[derive(Debug)]
pub(crate) struct Counting {
    before: String,
}

/// How often programs ran, and for how long.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) count: u64,
    pub(crate) nanoseconds: u64,
}

#[derive(Debug, Deserialize)]
struct Link {
    prog_id: u64,
}

#[derive(Debug, Deserialize)]
struct Program {
    #[serde(default)]
    run_cnt: u64,
    #[serde(default)]
    run_time_ns: u64,
}

impl Counting {
    pub(crate) fn begin() -> anyhow::Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("reading {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("writing {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        // A kernel that goes on counting is a little slower, and nothing else.
        let _ = fs::write(SWITCH, self.before.trim());
    }
}

impl Sub for Runs {
    type Output = Runs;

    fn sub(self, earlier: Runs) -> Runs {
        Runs { count: self.count - earlier.count, nanoseconds: self.nanoseconds - earlier.nanoseconds }
    }
}

/// The runs so far of the programs whose links a mesh-node has pinned in this folder.
pub(crate) fn runs(pins: &Path) -> anyhow::Result<Runs> {
    let mut sum = Runs::default();
    for entry in fs::read_dir(pins).with_context(|| format!("reading {}", pins.display()))? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("link-")) {
            continue;
        }
        let link: Link = bpftool(&["link", "show", "pinned", &path.display().to_string()])?;
        let program: Program = bpftool(&["prog", "show", "id", &link.prog_id.to_string()])?;
        sum.count += program.run_cnt;
        sum.nanoseconds += program.run_time_ns;
    }
    Ok(sum)
}

fn bpftool<T: DeserializeOwned>(words: &[&str]) -> anyhow::Result<T> {
    let output = Command::new("bpftool").arg("--json").args(words).output().context("running bpftool")?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!("bpftool {} said: {}", words.join(" "), String::from_utf8_lossy(&output.stderr))
    })
}
