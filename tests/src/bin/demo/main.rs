//! The demo: brings the sample up in a lab of its own, shows what the mesh does, and measures all of it on the spot.
//!
//! It ends with a table, writes the same figures to `demo/report.json` in the target folder, and exits with 0 only if
//! everything held. `KEEP=1` keeps the lab.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;
use weir_tests::lab::{Lab, Plan, is_root};
use weir_tests::steps::report::Report;
use weir_tests::steps::show::Show;

mod stage;
mod steps;

use stage::Stage;

fn main() -> ExitCode {
    let show = Show;
    match run(show) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            show.failure("demo", &format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(show: Show) -> anyhow::Result<bool> {
    let begun = Instant::now();
    anyhow::ensure!(is_root(), "the demo makes network namespaces and loads eBPF programs: run it as root");
    let folder = output_folder()?;
    show.line(
        "Weir: the mesh on two simulated nodes, measured as it runs. Ctrl-C takes everything away again.",
    );
    show.heading("the lab comes up with the bookinfo sample, a Gateway and a canary route");
    let lab = plan().up_telling(|line| show.progress(line))?;
    let mut report = Report::begin(lab.up_took());
    let mut stage = Stage::set(lab, &folder)?;
    weir_tests::steps::run(&steps::ALL.iter().collect::<Vec<_>>(), &mut stage, show, &mut report);
    let held = report.end(begun.elapsed());
    show.line(&report.table());
    let file = folder.join("report.json");
    report.write(&file).with_context(|| format!("writing {}", file.display()))?;
    show.line(&format!("The figures: {}", file.display()));
    if !held {
        show.line(&format!("What the programs complained of:\n{}", stage.lab.complaints()));
    }
    leave(stage.lab, show)?;
    Ok(held)
}

fn plan() -> Plan {
    ["lab.yaml", "bookinfo.yaml", "gateway.yaml", "canary.yaml", "outside.yaml"]
        .into_iter()
        .fold(Plan::new("demo"), Plan::sample)
}

fn leave(lab: Lab, show: Show) -> anyhow::Result<()> {
    if std::env::var_os("KEEP").is_none_or(|keep| keep.is_empty() || keep == "0") {
        show.progress("the lab is taken down");
        lab.down()?;
        return Ok(());
    }
    let name = lab.name().to_owned();
    let weir = lab.program("weir").display().to_string();
    let page = lab.gateway("bookinfo", "bookinfo")?;
    let page = page.first().context("the Gateway has no address any more")?;
    let manifests = lab.keep();
    show.line(&format!(
        "The lab stays up, with its manifests in {}. The page: http://{page}/productpage\n  \
         {weir} lab get --name {name}\n  \
         {weir} lab exec --name {name} bookinfo/deploy/productpage-v1 -- bookinfo get http://reviews:9080/reviews/0\n  \
         {weir} lab down --name {name}",
        manifests.join("manifests").display(),
    ));
    Ok(())
}

/// The folder `demo` beside the folder of this program, which is `target/programs` or `target/debug`.
fn output_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).context("this program lies in no folder")?;
    let folder = target.join("demo");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}
