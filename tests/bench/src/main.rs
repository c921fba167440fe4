//! `make bench`: Weir beside its peers, measured on this machine in one run.
//!
//! A *case* sets a scene up (a lab, backends, peers) and holds *contests*: its contenders take turns under the same load,
//! round after round, while the *meter* reads the CPU time of every process on the path. The *report* holds what came of it,
//! and the *goals* say which of its figures must not be missed.
//!
//! It contains no part of the mesh: it runs the built programs as a person would. It judges ratios within one run, because
//! a machine's speed drifts from run to run.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};

mod case;
mod contest;
mod document;
mod goals;
mod keys;
mod load;
mod machine;
mod meter;
mod peer;
mod place;
mod profile;
mod report;
mod serve;
mod show;
mod stage;

use crate::contest::Pace;
use crate::stage::Programs;

/// The soak of the short form, which the whole of it must leave time for.
const SHORT_SOAK: Duration = Duration::from_secs(60);

#[derive(Debug, Parser)]
#[command(about = "Weir beside its peers, measured on this machine", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run cases (all of them if none is named) and write target/bench/report.json.
    Run(Run),
    /// Run every case in its short form, and print whether each goal is met; fails if one is missed.
    Check(Check),
    /// Record profiles of Weir under the load of cases, as target/bench/profiles/CASE/CONTEST.perf.
    Profile(Run),
    /// Write the tables of the last report into this file.
    Document(Document),
    /// List the cases.
    List,
    /// A backend of the cases.
    #[command(hide = true)]
    Serve(serve::Serve),
    /// Load that the cases' own programs make.
    #[command(hide = true)]
    Load(load::Own),
}

#[derive(Debug, clap::Args)]
struct Run {
    cases: Vec<String>,
    #[command(flatten)]
    programs: Programs,
    /// How often each contender has its turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a turn is.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// How long the case `soak` takes.
    #[arg(long, default_value_t = 10.0)]
    soak_minutes: f64,
    /// Where the report goes.
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Check {
    #[command(flatten)]
    programs: Programs,
    /// Judge the figures of the last report instead of measuring.
    #[arg(long)]
    measured: bool,
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Document {
    file: PathBuf,
    #[arg(long, default_value = "target/bench")]
    output: PathBuf,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(run) => measure(&run),
        Command::Profile(run) => record_profiles(&run),
        Command::Check(check) => judge(&check),
        Command::Document(document) => fill(&document),
        Command::List => {
            for case in case::ALL {
                show::line(&format!("{:14} {}", case.name, case.about));
            }
            Ok(true)
        }
        Command::Serve(serve) => serve::run(&serve).map(|()| true),
        Command::Load(own) => load::run(&own).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            show::failure(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(run: &Run) -> anyhow::Result<bool> {
    let cases = case::named(&run.cases)?;
    let pace = Pace::new(run.rounds, run.seconds)?;
    run_cases(&cases, &run.programs, pace, soak(run.soak_minutes), &run.output)
}

fn record_profiles(run: &Run) -> anyhow::Result<bool> {
    let (machine, pace) = (ready()?, Pace::new(run.rounds, run.seconds)?);
    for case in case::named(&run.cases)? {
        show::heading(&format!("{}: {}", case.name, case.about));
        let profiles = Some(run.output.join("profiles").join(case.name));
        let scene = stage::Scene {
            programs: &run.programs,
            machine: &machine,
            pace,
            soak: soak(run.soak_minutes),
            profiles,
        };
        (case.run)(&scene).with_context(|| format!("{} could not be finished", case.name))?;
    }
    Ok(true)
}

/// wrk takes whole seconds only.
fn soak(minutes: f64) -> Duration {
    Duration::from_secs((minutes * 60.0).round().max(1.0) as u64)
}

fn ready() -> anyhow::Result<machine::Machine> {
    anyhow::ensure!(
        weir_tests::lab::is_root(),
        "the cases make network namespaces and load eBPF programs: run them as root"
    );
    machine::Machine::this()
}

/// Whether every goal whose figure there is is met.
fn judge(check: &Check) -> anyhow::Result<bool> {
    let mut whole = true;
    if !check.measured {
        let cases: Vec<&case::Case> = case::ALL.iter().collect();
        whole = run_cases(&cases, &check.programs, Pace::SHORT, SHORT_SOAK, &check.output)?;
    }
    let report =
        report::Report::read(&check.output)?.context("there is no report to judge: run make bench")?;
    let verdicts = goals::judge(&report);
    show::line(&goals::lines(&verdicts));
    Ok(whole && verdicts.iter().all(|verdict| !verdict.is_missed()))
}

fn fill(document: &Document) -> anyhow::Result<bool> {
    let report = report::Report::read(&document.output)?.context("there is no report: run make bench")?;
    document::fill(&document.file, &report)?;
    Ok(true)
}

/// Whether every case could be finished.
fn run_cases(
    cases: &[&case::Case],
    programs: &Programs,
    pace: Pace,
    soak: Duration,
    output: &std::path::Path,
) -> anyhow::Result<bool> {
    let machine = ready()?;
    let mut whole = true;
    for case in cases {
        show::heading(&format!("{}: {}", case.name, case.about));
        let scene = stage::Scene { programs, machine: &machine, pace, soak, profiles: None };
        match (case.run)(&scene) {
            Ok(outcome) => {
                // Written after each case, so that an interrupted run has not measured for nothing.
                let mut report = report::Report::read(output)?.unwrap_or_default();
                report.add(case.name, case.about, &machine, pace, outcome);
                report.write(output)?;
            }
            Err(error) => {
                whole = false;
                show::failure(&format!("{} could not be finished: {error:#}", case.name));
            }
        }
    }
    show::line(&format!("The figures: {}", output.join(report::FILE).display()));
    Ok(whole)
}
