//! `report.json`:
//!
//! ```json
//! {"schema": 1,
//!  "cases": {"gateway-http": {
//!     "about": "…",
//!     "measured": "2026-01-31T12:00:00Z",
//!     "machine": {"kernel": "6.1.0", "processor": "…", "processors": 2, "files": 1024},
//!     "pace": {"rounds": 5, "seconds": 4.0},
//!     "standings": [{"contest": "64 connections", "unit": "request",
//!                    "rows": [{"contender": "weir", "perSecond": 1.0, "cpuUs": 1.0, "kernelUs": 1.0, "busy": 1.0,
//!                              "p50Ms": 1.0, "p99Ms": 1.0, "residentMb": 1.0, "spread": [1.0, 1.0]}],
//!                    "ratios": {"weir/envoy": 0.3}}],
//!     "figures": {"name": 1.0}}}}   // what is no contest; names bear their unit
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::contest::{Pace, Standing, round};
use crate::machine::Machine;
use crate::show;

pub(crate) const FILE: &str = "report.json";
const SCHEMA: u8 = 1;

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    schema: u8,
    pub(crate) cases: BTreeMap<String, Entry>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    pub(crate) about: String,
    pub(crate) measured: String,
    pub(crate) machine: Machine,
    pub(crate) pace: Pace,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What a case came to.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Outcome {
    pub(crate) standings: Vec<Standing>,
    pub(crate) figures: BTreeMap<String, f64>,
}

impl Default for Report {
    fn default() -> Self {
        Self { schema: SCHEMA, cases: BTreeMap::new() }
    }
}

impl Report {
    /// The report in this folder, if there is one of this schema.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let file = folder.join(FILE);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
        };
        let report: Self = serde_json::from_str(&text)
            .with_context(|| format!("{} is not as expected: remove it", file.display()))?;
        Ok((report.schema == SCHEMA).then_some(report))
    }

    /// Puts a case in the place of what was measured of it before.
    pub(crate) fn add(&mut self, case: &str, about: &str, machine: &Machine, pace: Pace, outcome: Outcome) {
        let measured = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let entry = Entry { about: about.to_owned(), measured, machine: machine.clone(), pace, outcome };
        self.cases.insert(case.to_owned(), entry);
    }

    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let file = folder.join(FILE);
        fs::write(&file, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("writing {}", file.display()))
    }
}

impl Outcome {
    /// What is no contest.
    pub(crate) fn of_figures<'a>(figures: impl IntoIterator<Item = (&'a str, f64)>) -> Self {
        Self::with_figures(Vec::new(), figures)
    }

    /// The figures are shown, as standings have been.
    pub(crate) fn with_figures<'a>(
        standings: Vec<Standing>,
        figures: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Self {
        let figures: BTreeMap<_, _> =
            figures.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect();
        for (name, figure) in &figures {
            show::line(&format!("  {name}: {}", round(*figure)));
        }
        Self { standings, figures }
    }

    pub(crate) fn standing(&self, contest: &str) -> Option<&Standing> {
        self.standings.iter().find(|standing| standing.contest == contest)
    }
}
