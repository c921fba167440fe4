//! What the compiler's own bench (`cargo bench -p mesh-compile`) prints, as figures.

use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// The crate's folder; the workspace, whose bench is run, is two above.
const CRATE: &str = env!("CARGO_MANIFEST_DIR");
const CHANGE: &str = "an endpoint's readiness: ";
const WEIGHT: &str = "the weight of a route of a Service: ";

/// What a change costs at some size.
#[derive(Debug, PartialEq)]
struct Cost {
    compile_ms: f64,
    bytes: f64,
}

pub(super) fn figures() -> anyhow::Result<Vec<(&'static str, f64)>> {
    let workspace = Path::new(CRATE).ancestors().nth(2).context("the crate is in no workspace")?;
    let mut command = Command::new("cargo");
    command.current_dir(workspace).args([
        "bench",
        "--package",
        "mesh-compile",
        "--bench",
        "change",
        "--locked",
    ]);
    let output = command.args(["--", "100", "10000"]).output().context("running cargo bench")?;
    let text = String::from_utf8_lossy(&output.stdout);
    read(&text)
        .with_context(|| format!("the bench printed {text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn read(text: &str) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let of = |what: &str, services: &str| {
        let mut lines =
            text.lines().skip_while(|line| !line.starts_with(&format!("{services} Services,"))).skip(1);
        let line = lines.find_map(|line| line.trim().strip_prefix(what));
        cost(line.with_context(|| format!("no line tells of `{what}` at {services} Services"))?)
    };
    let (small, large) = (of(CHANGE, "100")?, of(CHANGE, "10000")?);
    let (small_weight, large_weight) = (of(WEIGHT, "100")?, of(WEIGHT, "10000")?);
    Ok(vec![
        ("compile of an endpoint's change, ms", large.compile_ms),
        ("compile of a weight's change, ms", large_weight.compile_ms),
        ("compile of an endpoint's change over that at 100 Services", large.compile_ms / small.compile_ms),
        (
            "compile of a weight's change over that at 100 Services",
            large_weight.compile_ms / small_weight.compile_ms,
        ),
        ("KB of a change to a node", large.bytes.max(large_weight.bytes) / 1024.0),
    ])
}

/// `compile 57.1µs, encode 20µs, view 43µs, 150 bytes`.
fn cost(line: &str) -> anyhow::Result<Cost> {
    let mut cost = Cost { compile_ms: f64::NAN, bytes: f64::NAN };
    for part in line.split(", ") {
        if let Some(time) = part.strip_prefix("compile ") {
            cost.compile_ms = crate::load::milliseconds(&time.replace('µ', "u"))?;
        } else if let Some(bytes) = part.strip_suffix(" bytes") {
            cost.bytes = bytes.parse().with_context(|| format!("`{bytes}` bytes"))?;
        }
    }
    anyhow::ensure!(cost.compile_ms.is_finite() && cost.bytes.is_finite(), "`{line}` is not as expected");
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bench_prints_is_read() {
        let at = |services: usize, micros: f64| {
            format!(
                "{services} Services, 1 Pods, 1 routes, 1 nodes\n  compile whole   12.3ms\n  an endpoint's readiness: compile \
                 {micros:?}µs, encode 20.1µs, view 43.0µs, 150 bytes\n  the weight of a route of a Service: compile \
                 1.5ms, encode 2µs, view 3ns, 2048 bytes\n"
            )
        };
        let figures = read(&(at(100, 40.0) + &at(10_000, 60.0))).unwrap();
        let figures: Vec<f64> = figures.into_iter().map(|(_, figure)| (figure * 1000.0).round()).collect();
        assert_eq!(figures, [60.0, 1500.0, 1500.0, 1000.0, 2000.0]);
        assert!(read(&at(100, 40.0)).is_err());
    }
}
