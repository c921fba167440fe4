//! fortio: HTTP/1.1 at a steady rate, for the time that answers take.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;

use super::Load;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Printed {
    actual_duration: f64,
    ret_codes: std::collections::BTreeMap<String, f64>,
    duration_histogram: Histogram,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Histogram {
    count: f64,
    percentiles: Vec<Percentile>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Percentile {
    percentile: f64,
    value: f64,
}

/// Gives a command that is `fortio` its arguments.
pub(crate) fn arrange(command: &mut Command, rate: usize, connections: usize, url: &str, length: Duration) {
    command.args([
        "load",
        "-quiet",
        "-loglevel",
        "error",
        "-json",
        "-",
        "-p",
        "50,99",
        "-uniform",
        "-nocatchup",
    ]);
    // Its histogram's resolution, in seconds.
    command.args(["-r", "0.000005", "-qps", &rate.to_string(), "-c", &connections.to_string()]);
    command.args(["-t", &format!("{}ms", length.as_millis()), url]);
}

/// Runs it and reads what it prints.
pub(crate) fn read(mut command: Command) -> anyhow::Result<Load> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    parse(&output.stdout).with_context(|| {
        format!("fortio ended with {} and said: {}", output.status, String::from_utf8_lossy(&output.stderr))
    })
}

fn parse(text: &[u8]) -> anyhow::Result<Load> {
    let printed: Printed = serde_json::from_slice(text)?;
    let of = |wanted: f64| {
        let found = printed.duration_histogram.percentiles.iter().find(|p| p.percentile == wanted);
        found.map(|percentile| percentile.value * 1000.0)
    };
    let good = printed.ret_codes.get("200").copied().unwrap_or(0.0);
    Ok(Load {
        done: good,
        failed: printed.duration_histogram.count - good,
        seconds: printed.actual_duration / 1e9,
        p50_ms: of(50.0),
        p99_ms: of(99.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fortio_prints_is_read() {
        let load = parse(
            br#"{"ActualDuration": 2000000000, "RetCodes": {"200": 1998, "503": 2}, "Sizes": {"Count": 2000},
                 "DurationHistogram": {"Count": 2000, "Percentiles": [{"Percentile": 50, "Value": 0.0002},
                 {"Percentile": 99, "Value": 0.0015}]}}"#,
        )
        .unwrap();
        assert_eq!((load.done, load.failed, load.seconds), (1998.0, 2.0, 2.0));
        assert_eq!((load.p50_ms, load.p99_ms), (Some(0.2), Some(1.5)));
    }
}
