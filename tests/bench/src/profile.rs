//! Where the CPU time of Weir goes in a contest: perf's samples of its processes under load, from which `make profile` draws a
//! flame graph.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::contest::{Contest, WEIR};
use crate::show;

/// Samples a second: a prime number, which falls in step with nothing.
const RATE: &str = "997";
/// What of each stack is kept to be walked by its debug information; deep futures need much.
const STACKS: &str = "dwarf,32768";

/// Records Weir's turn under the load of this contest, as `CONTEST.perf` in the folder.
pub(crate) fn record(contest: &Contest<'_>, length: Duration, folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let weir = contest.contenders.iter().find(|contender| contender.name == WEIR);
    let weir = weir.context("Weir takes no part in this contest")?;
    // The first load makes connections, which the profile is not about.
    (weir.drive)(Duration::from_secs(1)).context("load before the profile")?;
    let processes: Vec<String> = weir.processes.iter().map(u32::to_string).collect();
    let file = folder.join(format!("{}.perf", contest.name.replace(' ', "-")));
    let mut command = Command::new("perf");
    // The clock's samples work in a virtual machine that has no counters.
    command.args(["record", "--quiet", "--event", "cpu-clock", "--freq", RATE, "--call-graph", STACKS]);
    command.arg("--output").arg(&file).args(["--pid", &processes.join(",")]);
    command.args(["--", "sleep", &length.as_secs_f64().to_string()]).stdin(Stdio::null());
    let mut perf = command.spawn().context("starting perf")?;
    let load = (weir.drive)(length).context("load for the profile");
    let ended = perf.wait().context("waiting for perf")?;
    load?;
    anyhow::ensure!(ended.success(), "perf ended with {ended}");
    show::progress(&format!("profile: {}", file.display()));
    Ok(())
}
