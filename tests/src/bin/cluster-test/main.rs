//! What the mesh must do in a real cluster, from its installation to its removal, measured: run by `make test-cluster`
//! against the cluster that `make cluster` starts.
//!
//! It ends with a table, writes the same figures to `cluster/report.json` in the target folder (`report-short.json` with
//! `--short`), and exits with 0 only if everything held. `ONLY=wire,churn` runs these steps, `KEEP=1` leaves the mesh in.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use weir_tests::cluster::Cluster;
use weir_tests::lab::is_root;
use weir_tests::steps::report::Report;
use weir_tests::steps::show::Show;

mod load;
mod stage;
mod steps;

use stage::Stage;

fn main() -> ExitCode {
    let show = Show;
    match run(show) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            show.failure("cluster-test", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(show: Show) -> anyhow::Result<bool> {
    let begun = Instant::now();
    anyhow::ensure!(is_root(), "the nodes are namespaces of this machine: run this as root");
    let short = std::env::args().skip(1).any(|argument| argument == "--short");
    let folder = output_folder()?;
    let mut stage = Stage::set(Cluster::running()?, &folder)?;
    let steps = steps::chosen(short)?;
    let mut report = Report::begin(Duration::ZERO);
    weir_tests::steps::run(&steps, &mut stage, show, &mut report);
    let held = report.end(begun.elapsed());
    show.line(&report.table());
    let file = folder.join(if short { "report-short.json" } else { "report.json" });
    report.write(&file).with_context(|| format!("writing {}", file.display()))?;
    show.line(&format!("The figures: {}", file.display()));
    let (passed, failed) = report.counts();
    show.line(&format!("{passed} passed, {failed} failed"));
    Ok(held)
}

/// The folder `cluster` beside the folder of this program, which is `target/programs` or `target/debug`.
fn output_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).context("this program lies in no folder")?;
    let folder = target.join("cluster");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}
