//! wrk: HTTP/1.1 as fast as it goes.

use std::process::{Child, Command, Output};
use std::time::Duration;

use anyhow::Context;

use super::Load;
use crate::machine::Core;
use crate::place::Place;

/// Requests to a URL from so many connections.
pub(crate) fn run(
    place: &Place,
    core: Core,
    connections: usize,
    arguments: &[String],
    url: &str,
    length: Duration,
) -> anyhow::Result<Load> {
    let mut command = place.command(core, "wrk");
    arrange(&mut command, connections, arguments, url, length);
    read(command)
}

/// Gives a command that is `wrk` its arguments.
pub(crate) fn arrange(
    command: &mut Command,
    connections: usize,
    arguments: &[String],
    url: &str,
    length: Duration,
) {
    // It takes whole seconds only.
    let seconds = length.as_secs_f64().round().max(1.0);
    command.args(["--threads=1", "--latency", &format!("--connections={connections}")]);
    command.arg(format!("--duration={seconds}s")).args(arguments).arg(url);
}

/// Runs it and reads what it prints.
pub(crate) fn read(mut command: Command) -> anyhow::Result<Load> {
    read_output(&command.output().with_context(|| format!("running {command:?}"))?)
}

/// The same for one that was started with its output piped.
pub(crate) fn read_child(child: Child) -> anyhow::Result<Load> {
    read_output(&child.wait_with_output().context("waiting for wrk")?)
}

fn read_output(output: &Output) -> anyhow::Result<Load> {
    let text = String::from_utf8_lossy(&output.stdout);
    parse(&text).with_context(|| {
        format!(
            "wrk ended with {} and said: {text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn parse(text: &str) -> anyhow::Result<Load> {
    let mut load = Load::default();
    for line in text.lines().map(str::trim) {
        if let Some((done, rest)) = line.split_once(" requests in ") {
            load.done = done.parse().with_context(|| format!("the count in `{line}`"))?;
            load.seconds = super::milliseconds(rest.split(',').next().unwrap_or_default())? / 1000.0;
        } else if let Some(percentile) = line.strip_prefix("50% ") {
            load.p50_ms = Some(super::milliseconds(percentile.trim())?);
        } else if let Some(percentile) = line.strip_prefix("99% ") {
            load.p99_ms = Some(super::milliseconds(percentile.trim())?);
        } else if let Some(errors) = line.strip_prefix("Socket errors: ") {
            let counts = errors.split([' ', ',']).filter_map(|word| word.parse::<f64>().ok());
            load.failed += counts.sum::<f64>();
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses: ") {
            load.failed += count.parse::<f64>().with_context(|| format!("the count in `{line}`"))?;
        }
    }
    anyhow::ensure!(load.seconds > 0.0, "there is no line that counts requests");
    Ok(load)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_read() {
        let load = parse(
            "Running 2s test @ http://127.0.0.1:18080/\n  1 threads and 64 connections\n  Thread Stats   Avg      Stdev     \
             Max   +/- Stdev\n    Latency     1.23ms    2.00ms  30.00ms   95.00%\n  Latency Distribution\n     \
             50%  870.00us\n     75%    1.05ms\n     90%    1.51ms\n     99%    2.50ms\n  109123 requests in 2.10s, \
             129.10MB read\n  Socket errors: connect 1, read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: \
             5\nRequests/sec:  51963.33\nTransfer/sec:     61.47MB\n",
        )
        .unwrap();
        assert_eq!((load.done, load.seconds, load.failed), (109_123.0, 2.1, 12.0));
        assert_eq!((load.p50_ms, load.p99_ms), (Some(0.87), Some(2.5)));
    }

    #[test]
    fn a_wrk_that_could_not_connect_is_an_error() {
        assert!(parse("unable to connect to 127.0.0.1:1 Connection refused\n").is_err());
    }
}
