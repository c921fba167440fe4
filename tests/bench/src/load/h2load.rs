//! h2load: HTTP/2, gRPC calls above all.

use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::Load;

/// The path below which the backend answers with as many messages as the path says.
pub(crate) const STREAM_PATH: &str = "/bench.Bench/Stream";
pub(crate) const UNARY_PATH: &str = "/bench.Bench/Call";

/// Gives a command that is `h2load` its arguments, for gRPC calls whose one message is in this file.
pub(crate) fn arrange(
    command: &mut Command,
    connections: usize,
    streams: usize,
    message: &std::path::Path,
    url: &str,
    length: Duration,
) {
    let seconds = length.as_secs_f64().round().max(1.0);
    command.args([
        "--threads=1",
        &format!("--clients={connections}"),
        &format!("--max-concurrent-streams={streams}"),
    ]);
    command.arg(format!("--duration={seconds}")).arg(format!("--data={}", message.display()));
    command.args(["--header=content-type: application/grpc", "--header=te: trailers"]).arg(url);
}

/// Runs it and reads what it prints. Each request stands for so many messages of so many bytes; an answer without them, such as
/// a gRPC error, is none.
pub(crate) fn read(mut command: Command, each: f64, bytes: usize) -> anyhow::Result<Load> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let load = parse(&text).with_context(|| {
        format!(
            "h2load ended with {} and said: {text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let expected = load.done * each * bytes as f64;
    anyhow::ensure!(
        data(&text).is_some_and(|data| data >= expected * 0.99),
        "the answers are not whole: {expected} bytes should have come; h2load said: {text}"
    );
    Ok(Load { done: load.done * each, failed: load.failed * each, ..load })
}

fn parse(text: &str) -> anyhow::Result<Load> {
    let mut load = Load::default();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("finished in ") {
            let seconds = rest.split(',').next().unwrap_or_default();
            load.seconds = super::milliseconds(seconds)? / 1000.0;
        } else if let Some(counts) = line.strip_prefix("requests: ") {
            let count = |word: &str| -> f64 {
                let of = counts.split(", ").find_map(|count| count.strip_suffix(word));
                of.and_then(|number| number.trim().parse().ok()).unwrap_or(0.0)
            };
            load.done = count("succeeded");
            load.failed = count("failed") + count("errored") + count("timeout");
        } else if let Some(codes) = line.strip_prefix("status codes: ") {
            let others = codes.split(", ").filter(|code| !code.ends_with("2xx"));
            load.failed += others.filter_map(|code| code.split(' ').next()?.parse::<f64>().ok()).sum::<f64>();
        }
    }
    anyhow::ensure!(load.seconds > 0.0 && load.done > 0.0, "there is no line that counts requests");
    Ok(load)
}

/// The bytes of all answers' bodies: `traffic: 1.2MB (1234567) total, … 1.1MB (1100000) data`.
fn data(text: &str) -> Option<f64> {
    let traffic = text.lines().find_map(|line| line.strip_prefix("traffic: "))?;
    let data = traffic.rsplit(", ").next()?.strip_suffix(" data")?;
    data.split_once('(')?.1.strip_suffix(')')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_h2load_prints_is_read() {
        let load = parse(
            "starting benchmark...\nfinished in 4.00s, 12345.60 req/s, 1.23MB/s\nrequests: 49400 total, 49400 started, \
             49390 done, 49382 succeeded, 8 failed, 1 errored, 2 timeout\nstatus codes: 49382 2xx, 0 3xx, 3 4xx, 5 \
             5xx\n",
        )
        .unwrap();
        let traffic = "traffic: 4.91MB (5149456) total, 100KB (102400) headers (space savings 90.0%), 4.5MB (4718592) data";
        assert_eq!(data(traffic), Some(4_718_592.0));
        assert_eq!((load.done, load.failed, load.seconds), (49_382.0, 19.0, 4.0));
    }
}
