//! A run of steps, each of which shows something and measures it: what a person sees meanwhile, the claims that hold or do
//! not, and the report at the end. What the steps do is the program's own.

use std::time::Instant;

pub mod outcome;
pub mod report;
pub mod show;

use outcome::Outcome;
use report::Report;
use show::Show;

/// A step of a run; `S` is what the steps share.
#[derive(Debug)]
pub struct Step<S> {
    pub id: &'static str,
    /// What is shown, in a few words.
    pub name: &'static str,
    pub run: fn(&mut S, Show) -> anyhow::Result<Outcome>,
}

/// Runs the steps one after another; one that does not hold keeps none of the others from running.
pub fn run<S>(steps: &[&Step<S>], stage: &mut S, show: Show, report: &mut Report) {
    for (number, step) in steps.iter().enumerate() {
        show.heading(&format!("{}/{}  {}", number + 1, steps.len(), step.name));
        let started = Instant::now();
        let result = (step.run)(stage, show);
        report.add(step, result, started.elapsed(), show);
    }
}
