//! The longest time without a good answer: how long whatever went wrong lasted, as a client saw it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub(crate) struct Gap {
    last: Instant,
    longest: Duration,
    /// When the longest gap ended; none while no good answer has come at all.
    ended: Option<SystemTime>,
}

impl Gap {
    pub(crate) fn begin() -> Self {
        Self { last: Instant::now(), longest: Duration::ZERO, ended: None }
    }

    /// A good answer has come.
    pub(crate) fn answered(&mut self) {
        let now = Instant::now();
        let gap = now - self.last;
        if gap > self.longest || self.ended.is_none() {
            self.longest = gap;
            self.ended = Some(SystemTime::now());
        }
        self.last = now;
    }

    /// There will be no more requests: what is still a gap now has no end.
    pub(crate) fn end(&mut self) {
        let gap = self.last.elapsed();
        if gap > self.longest {
            self.longest = gap;
            self.ended = None;
        }
    }

    /// `{"ms": …, "ended": …}`, the latter in seconds since 1970.
    pub(crate) fn report(&self) -> Value {
        let ended = self.ended.and_then(|ended| ended.duration_since(UNIX_EPOCH).ok());
        json!({
            "ms": (self.longest.as_secs_f64() * 1e6).round() / 1e3,
            "ended": ended.map(|ended| (ended.as_secs_f64() * 1e3).round() / 1e3),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gap_is_the_longest_one_and_knows_its_end() {
        let mut gap = Gap::begin();
        gap.answered();
        gap.last -= Duration::from_secs(3);
        gap.answered();
        let ended = gap.ended;
        gap.answered();
        assert_eq!(gap.ended, ended);
        assert!(gap.report()["ms"].as_f64().unwrap() >= 3000.0);
        gap.last -= Duration::from_secs(5);
        gap.end();
        assert!(gap.report()["ms"].as_f64().unwrap() >= 5000.0);
        assert!(gap.report()["ended"].is_null());
    }
}
