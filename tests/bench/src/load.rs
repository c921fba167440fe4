//! Load, and what it says of itself.

use anyhow::Context;
use serde::{Deserialize, Serialize};

pub(crate) mod ask;
pub(crate) mod bytes;
pub(crate) mod follow;
pub(crate) mod fortio;
pub(crate) mod h2load;
pub(crate) mod hold;
pub(crate) mod rude;
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

/// Load that this program makes itself, in a process of its own; it prints a [`Load`] as JSON, [`ask`] what it prints
/// itself.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Own {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    Ask(ask::Ask),
    Bytes(bytes::Bytes),
    Follow(follow::Follow),
    Hold(hold::Hold),
    Rude(rude::Rude),
    Shake(shake::Shake),
}

pub(crate) fn run(own: &Own) -> anyhow::Result<()> {
    let load = match &own.what {
        What::Ask(ask) => {
            crate::show::line(&serde_json::to_string(&ask::run(ask)?)?);
            return Ok(());
        }
        What::Bytes(bytes) => bytes::run(bytes)?,
        What::Follow(follow) => return follow::run(follow),
        What::Hold(hold) => return hold::run(hold),
        What::Rude(rude) => rude::run(rude)?,
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

/// The length of an HTTP/1.1 answer with its body, once its head is there; its body has a length.
fn answer_length(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(bytes).context("an answer's head")? else {
        return Ok(None);
    };
    let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let field = field.context("an answer does not tell its length")?;
    let body: usize = std::str::from_utf8(field.value)?.parse().context("the length of an answer")?;
    Ok(Some(length + body))
}

/// `1.23ms`, `870.00us`, `2.00s`, `1.50m`.
pub(crate) fn milliseconds(text: &str) -> anyhow::Result<f64> {
    let at = text.find(|c: char| c.is_ascii_alphabetic()).with_context(|| format!("`{text}` has no unit"))?;
    let (number, unit) = text.split_at(at);
    let scale = match unit {
        "ns" => 1e-6,
        "us" => 0.001,
        "ms" => 1.0,
        "s" => 1000.0,
        "m" => 60_000.0,
        _ => anyhow::bail!("`{unit}` is no unit of time"),
    };
    Ok(number.parse::<f64>().with_context(|| format!("`{number}` is no number"))? * scale)
}
