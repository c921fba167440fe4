//! Load, and what it says of itself.

use anyhow::Context;
use serde::{Deserialize, Serialize};

pub(crate) mod bytes;
pub(crate) mod fortio;
pub(crate) mod h2load;
pub(crate) mod hold;
pub(crate) mod shake;
pub(crate) mod wrk;

/// What a turn of load came to.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Load {
    /// In the contest's unit.
    pub(crate) done: f64,
    pub(crate) failed: f64,
    pub(crate) seconds: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
}

/// Load that this program makes itself, in a process of its own; it prints a [`Load`] as JSON.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Own {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    Bytes(bytes::Bytes),
    Hold(hold::Hold),
    Shake(shake::Shake),
}

pub(crate) fn run(own: &Own) -> anyhow::Result<()> {
    let load = match &own.what {
        What::Bytes(bytes) => bytes::run(bytes)?,
        What::Hold(hold) => return hold::run(hold),
        What::Shake(shake) => shake::run(shake)?,
    };
    crate::show::line(&serde_json::to_string(&load)?);
    Ok(())
}

/// Runs a command that is this program making load, and reads what it prints.
pub(crate) fn read(mut command: std::process::Command) -> anyhow::Result<Load> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!("the load ended with {} and said: {}", output.status, String::from_utf8_lossy(&output.stderr))
    })
}

/// `1.23ms`, `870.00us`, `2.00s`, `1.50m`.
fn milliseconds(text: &str) -> anyhow::Result<f64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).with_context(|| format!("`{text}` has no unit"))?;
    let (number, unit) = text.split_at(at);
    let scale = match unit {
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        _ => anyhow::bail!("`{unit}` is no unit of time"),
    };
    Ok(number.parse::<f64>().with_context(|| format!("`{number}` is no number"))? * scale)
}
