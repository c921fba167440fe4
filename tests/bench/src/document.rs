//! The report as tables of docs/performance.md, below the words that a person wrote.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::contest::{Standing, WEIR, round};
use crate::goals;
use crate::report::{Entry, Report};

/// What is below this line is written by [`fill`].
const MARK: &str = "<!-- Below: `make bench-doc`, from target/bench/report.json. -->\n";

/// Replaces what is below the mark.
pub(crate) fn fill(file: &Path, report: &Report) -> anyhow::Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let (above, _) =
        text.split_once(MARK).with_context(|| format!("{} has no line {MARK}", file.display()))?;
    let mut text = above.to_owned() + MARK;
    write(&mut text, report).context("writing into a string")?;
    fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

fn write(text: &mut String, report: &Report) -> std::fmt::Result {
    let verdicts = goals::judge(report);
    writeln!(text, "\n## Goals\n\n| | figure | goal | |\n|---|---|---|---|")?;
    for verdict in &verdicts {
        let [word, figure, bound, words] = verdict.words();
        writeln!(text, "| {words} | {figure} | {bound} | {word} |")?;
    }
    for (name, entry) in &report.cases {
        write_case(text, name, entry)?;
    }
    Ok(())
}

fn write_case(text: &mut String, name: &str, entry: &Entry) -> std::fmt::Result {
    let (machine, pace) = (&entry.machine, entry.pace);
    writeln!(text, "\n## {name}\n\n{}.", entry.about)?;
    writeln!(
        text,
        "Measured {} on {} processors ({}), Linux {}; {} rounds of {} s.",
        entry.measured, machine.processors, machine.processor, machine.kernel, pace.rounds, pace.seconds
    )?;
    for standing in &entry.outcome.standings {
        write_standing(text, standing)?;
    }
    if !entry.outcome.figures.is_empty() {
        writeln!(text, "\n| | |\n|---|---|")?;
    }
    for (name, figure) in &entry.outcome.figures {
        writeln!(text, "| {name} | {} |", round(*figure))?;
    }
    Ok(())
}

fn write_standing(text: &mut String, standing: &Standing) -> std::fmt::Result {
    let (contest, unit) = (&standing.contest, &standing.unit);
    writeln!(
        text,
        "\n| {contest} | {unit}/s | CPU-µs/{unit} | of it kernel | p50 ms | p99 ms | RSS MB | weir/it |\n\
         |---|---|---|---|---|---|---|---|"
    )?;
    for row in &standing.rows {
        let ms = |figure: Option<f64>| figure.map(round).unwrap_or_default();
        let ratio = standing.ratios.get(&format!("{WEIR}/{}", row.contender));
        let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
        let (rate, resident) = (round(row.per_second), round(row.resident_mb));
        let (cpu, kernel) = (round(row.cpu_us), round(row.kernel_us));
        let (p50, p99) = (ms(row.p50_ms), ms(row.p99_ms));
        writeln!(
            text,
            "| {} | {rate} | {cpu} | {kernel} | {p50} | {p99} | {resident} | {ratio} |",
            row.contender
        )?;
    }
    Ok(())
}
