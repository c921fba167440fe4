//! The table at the end, and `report.json`:
//!
//! ```json
//! {"schema": 1,
//!  "held": true,                 // whether everything held
//!  "seconds": 21.4,              // from the first line to the table
//!  "upSeconds": 2.3,             // until the lab or the cluster was there
//!  "machine": {"kernel": "6.1.0", "processors": 2},
//!  "steps": [{"step": "gateway",
//!             "what": "…",       // what was shown
//!             "figure": "…",     // as in the table
//!             "held": true,
//!             "missed": [],      // the claims that did not hold, in words
//!             "error": null,     // why the step could not be finished
//!             "seconds": 0.2,
//!             "figures": {}}]}   // by name; times bear their unit, shares are percent
//! ```

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::Step;
use super::outcome::Outcome;
use super::show::Show;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    schema: u8,
    held: bool,
    seconds: f64,
    up_seconds: f64,
    machine: Machine,
    steps: Vec<Entry>,
}

#[derive(Debug, Serialize)]
struct Machine {
    kernel: String,
    processors: usize,
}

#[derive(Debug, Serialize)]
struct Entry {
    step: &'static str,
    what: &'static str,
    figure: String,
    held: bool,
    missed: Vec<String>,
    error: Option<String>,
    seconds: f64,
    figures: Map<String, Value>,
}

impl Report {
    pub fn begin(up: Duration) -> Self {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        Self {
            schema: 1,
            held: false,
            seconds: 0.0,
            up_seconds: seconds(up),
            machine: Machine { kernel: kernel.trim().to_owned(), processors },
            steps: Vec::new(),
        }
    }

    pub fn add<S>(&mut self, step: &Step<S>, result: anyhow::Result<Outcome>, took: Duration, show: Show) {
        let (outcome, error) = match result {
            Ok(outcome) => (outcome, None),
            Err(error) => (Outcome::default(), Some(format!("{error:#}"))),
        };
        let held = error.is_none() && outcome.missed.is_empty();
        let figure = if error.is_some() { "could not be finished".to_owned() } else { outcome.figure };
        for missed in &outcome.missed {
            show.progress(&format!("DID NOT HOLD: {missed}"));
        }
        if let Some(error) = &error {
            show.progress(&format!("COULD NOT BE FINISHED: {error}"));
        }
        self.steps.push(Entry {
            step: step.id,
            what: step.name,
            figure,
            held,
            missed: outcome.missed,
            error,
            seconds: seconds(took),
            figures: outcome.figures,
        });
    }

    /// Whether everything held.
    pub fn end(&mut self, took: Duration) -> bool {
        self.held = !self.steps.is_empty() && self.steps.iter().all(|step| step.held);
        self.seconds = seconds(took);
        self.held
    }

    /// How many steps held, and how many did not.
    pub fn counts(&self) -> (usize, usize) {
        let held = self.steps.iter().filter(|step| step.held).count();
        (held, self.steps.len() - held)
    }

    pub fn table(&self) -> String {
        let rows = self.steps.iter().map(|step| {
            [step.what, step.figure.as_str(), if step.held { "yes" } else { "NO" }].map(str::to_owned)
        });
        let heads = ["What", "Measured", "Held"].map(str::to_owned);
        let rows: Vec<[String; 3]> = std::iter::once(heads).chain(rows).collect();
        let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        let mut text = String::from("\n");
        for (number, [what, figure, held]) in rows.iter().enumerate() {
            text.push_str(&format!("  {what:first$}  {figure:second$}  {held}\n"));
            if number == 0 {
                text.push_str(&format!("  {}\n", "─".repeat(first + second + 8)));
            }
        }
        let verdict = if self.held { "Everything held" } else { "NOT everything held" };
        text.push_str(&format!("\n{verdict}, in {:.1} s.", self.seconds));
        text
    }

    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        Ok(std::fs::write(file, serde_json::to_string_pretty(self)? + "\n")?)
    }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
