//! What a step found.

use serde_json::{Map, Value};

/// Figures, and the claims that they support or do not.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The figure for the table.
    pub figure: String,
    pub figures: Map<String, Value>,
    /// What was claimed and did not hold.
    pub missed: Vec<String>,
}

impl Outcome {
    pub fn figure(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    pub fn claim(&mut self, what: &str, holds: bool) {
        if !holds {
            self.missed.push(what.to_owned());
        }
    }
}

/// A part of a whole in percent, with one decimal.
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 * 1000.0 / whole as f64).round() / 10.0
}
