//! Counting answers. The size does not grow with the number of requests: times go to a histogram whose buckets are at
//! most 1/32 wide, and only so many different header values are told apart.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::gap::Gap;
use crate::instance::{POD_HEADER, VERSION_HEADER};

const MAX_VALUES: usize = 64;
/// Buckets to a power of two.
const STEPS: u64 = 32;
/// Enough for 2^36 µs, 19 hours.
const BUCKETS: usize = 32 * 33;

#[derive(Debug, Clone)]
pub(crate) struct Tally {
    status: BTreeMap<u16, u64>,
    errors: BTreeMap<&'static str, u64>,
    versions: BTreeMap<String, u64>,
    pods: BTreeMap<String, u64>,
    times: Vec<u64>,
    longest: Duration,
    /// Of all workers together: known at the end.
    pub(crate) gap: Option<Gap>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            status: BTreeMap::new(),
            errors: BTreeMap::new(),
            versions: BTreeMap::new(),
            pods: BTreeMap::new(),
            times: vec![0; BUCKETS],
            longest: Duration::ZERO,
            gap: None,
        }
    }
}

impl Tally {
    pub(crate) fn answer(&mut self, status: StatusCode, headers: &HeaderMap, took: Duration) {
        *self.status.entry(status.as_u16()).or_default() += 1;
        for (name, counts) in [(VERSION_HEADER, &mut self.versions), (POD_HEADER, &mut self.pods)] {
            if let Some(value) = headers.get(name) {
                count(counts, &String::from_utf8_lossy(value.as_bytes()), 1);
            }
        }
        self.times[bucket(took)] += 1;
        self.longest = self.longest.max(took);
    }

    pub(crate) fn failure(&mut self, kind: &'static str) {
        *self.errors.entry(kind).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (status, number) in &other.status {
            *self.status.entry(*status).or_default() += number;
        }
        for (kind, number) in &other.errors {
            *self.errors.entry(kind).or_default() += number;
        }
        for (mine, theirs) in [(&mut self.versions, &other.versions), (&mut self.pods, &other.pods)] {
            for (value, number) in theirs {
                count(mine, value, *number);
            }
        }
        for (mine, theirs) in self.times.iter_mut().zip(&other.times) {
            *mine += theirs;
        }
        self.longest = self.longest.max(other.longest);
    }

    pub(crate) fn answered(&self) -> u64 {
        self.status.values().sum()
    }

    pub(crate) fn errors(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(crate) fn requests(&self) -> u64 {
        self.answered() + self.errors()
    }

    /// The line that `load` prints.
    pub(crate) fn report(&self, took: Duration) -> Value {
        json!({
            "requests": self.requests(),
            "status": self.status,
            "errors": self.errors(),
            "error_kinds": self.errors,
            "headers": {
                VERSION_HEADER.as_str(): self.versions,
                POD_HEADER.as_str(): self.pods,
            },
            "p50_ms": milliseconds(self.percentile(50)),
            "p99_ms": milliseconds(self.percentile(99)),
            "max_ms": milliseconds(self.longest),
            "longest_gap": self.gap.as_ref().map(Gap::report),
            "seconds": (took.as_secs_f64() * 1000.0).round() / 1000.0,
        })
    }

    /// The upper edge of the bucket that holds the percentile of answered requests, at most the longest time.
    fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.answered() * percent).div_ceil(100);
        let mut seen = 0;
        for (index, number) in self.times.iter().enumerate() {
            seen += number;
            if seen >= rank && seen > 0 {
                return upper_edge(index).min(self.longest);
            }
        }
        self.longest
    }
}

/// Values beyond the first [`MAX_VALUES`] are counted together as `(other)`.
fn count(counts: &mut BTreeMap<String, u64>, value: &str, number: u64) {
    let value = if counts.len() < MAX_VALUES || counts.contains_key(value) { value } else { "(other)" };
    *counts.entry(value.to_owned()).or_default() += number;
}

/// Below 32 µs a bucket a microsecond; above, 32 buckets to each doubling.
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let doublings = (micros / STEPS).checked_ilog2().map_or(0, |log| log + 1);
    let index = match doublings {
        0 => micros,
        _ => u64::from(doublings) * STEPS + (micros >> (doublings - 1)) - STEPS,
    };
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

fn upper_edge(index: usize) -> Duration {
    let (doublings, step) = (index as u64 / STEPS, index as u64 % STEPS);
    Duration::from_micros(match doublings {
        0 => step + 1,
        _ => (STEPS + step + 1) << (doublings - 1),
    })
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_edges_enclose_their_times_within_a_thirty_second() {
        for micros in (0..5000).chain([31, 32, 63, 64, 65, 10_000, 123_456, 59_999_999, 3_600_000_000]) {
            let time = Duration::from_micros(micros);
            let edge = upper_edge(bucket(time));
            assert!(edge > time, "{edge:?} for {time:?}");
            let slack = 1 + micros / 32;
            assert!(edge <= time + Duration::from_micros(slack), "{edge:?} for {time:?}");
        }
    }

    #[test]
    fn histogram_gives_percentiles_of_what_was_counted() {
        let mut tally = Tally::default();
        let mut part = Tally::default();
        for millis in 1..=100 {
            part.answer(StatusCode::OK, &HeaderMap::new(), Duration::from_millis(millis));
        }
        tally.add(&part);
        tally.failure("reset");
        let report = tally.report(Duration::from_secs(1));
        let near = |value: &Value, wanted: f64| (value.as_f64().unwrap() - wanted).abs() <= wanted / 30.0;
        assert!(near(&report["p50_ms"], 50.0), "{report}");
        assert!(near(&report["p99_ms"], 99.0), "{report}");
        assert_eq!(report["max_ms"], 100.0);
        assert_eq!((report["requests"].as_u64(), report["errors"].as_u64()), (Some(101), Some(1)));
        assert_eq!(report["error_kinds"]["reset"], 1);
    }

    #[test]
    fn counts_tell_only_so_many_values_apart() {
        let mut counts = BTreeMap::new();
        for value in 0..1000 {
            count(&mut counts, &value.to_string(), 1);
        }
        assert_eq!(counts.len(), MAX_VALUES + 1);
        assert_eq!(counts["(other)"], 1000 - MAX_VALUES as u64);
    }
}
