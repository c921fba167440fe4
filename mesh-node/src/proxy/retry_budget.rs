//! Retry budgets (GEP-3388): how much of what this node sends to a Service may be retries, counted over all workers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mesh_ir::name::ObjectName;
use mesh_ir::resource::RetryBudget;
use mesh_ir::view::MeshView;

use super::limited::Limited;

/// Into how many parts an interval is counted: what has happened is forgotten at most one of them late, and never early.
const PARTS: usize = 10;

#[derive(Debug)]
pub struct RetryBudgets(Limited<RetryBudget, Budget>);

/// What one Service was sent lately.
#[derive(Debug)]
pub struct Budget {
    limits: RetryBudget,
    begun: Instant,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// Retries among them.
    requests: Window,
    retries: Window,
    /// The retries of the shorter or longer time for which some are let through in any case.
    recent_retries: Window,
}

/// How often something happened within an interval.
#[derive(Debug)]
struct Window {
    part: Duration,
    /// The last one is under way, and before it there are as many as the interval has.
    counts: [u64; PARTS + 1],
    /// The number of the one that is under way, from the beginning.
    newest: u64,
}

impl Default for RetryBudgets {
    fn default() -> Self {
        Self(Limited::new(
            |service| service.retry_budget.as_ref(),
            |limits| Budget::new(limits, Instant::now()),
        ))
    }
}

impl RetryBudgets {
    /// That of a Service that has one.
    pub fn of(&self, view: &MeshView, service: &ObjectName) -> Option<Arc<Budget>> {
        self.0.of(view, service)
    }
}

impl Budget {
    fn new(limits: &RetryBudget, now: Instant) -> Self {
        let counts = Counts {
            requests: Window::of(limits.interval),
            retries: Window::of(limits.interval),
            recent_retries: Window::of(limits.min_interval),
        };
        Self { limits: limits.clone(), begun: now, counts: Mutex::new(counts) }
    }

    /// A request is sent for the first time.
    pub fn request(&self, now: Instant) {
        let at = self.at(now);
        self.counts().requests.add(at);
    }

    /// Takes a retry from the budget, where there is one left.
    pub fn retry(&self, now: Instant) -> bool {
        let at = self.at(now);
        let mut counts = self.counts();
        let (retries, requests) = (counts.retries.sum(at) + 1, counts.requests.sum(at) + 1);
        let has_left = counts.recent_retries.sum(at) < self.limits.min_retries.into()
            || retries * 100 <= requests * u64::from(self.limits.percent);
        if has_left {
            counts.requests.add(at);
            counts.retries.add(at);
            counts.recent_retries.add(at);
        }
        has_left
    }

    fn at(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.begun)
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn of(interval: Duration) -> Self {
        let part = (interval / PARTS as u32).max(Duration::from_nanos(1));
        Self { part, counts: [0; PARTS + 1], newest: 0 }
    }

    fn add(&mut self, at: Duration) {
        self.advance(at);
        self.counts[PARTS] += 1;
    }

    fn sum(&mut self, at: Duration) -> u64 {
        self.advance(at);
        self.counts.iter().sum()
    }

    /// Workers may come with moments in another order than that of the clock: the newest counts.
    fn advance(&mut self, at: Duration) {
        let now = u64::try_from(at.as_nanos() / self.part.as_nanos()).unwrap_or(u64::MAX);
        let passed = usize::try_from(now.saturating_sub(self.newest)).unwrap_or(usize::MAX);
        let passed = passed.min(self.counts.len());
        self.counts.rotate_left(passed);
        let under_way = self.counts.len() - passed;
        self.counts[under_way..].fill(0);
        self.newest = self.newest.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(percent: u8, seconds: u64, min_retries: u32, min_ms: u64) -> (Budget, Instant) {
        let limits = RetryBudget {
            percent,
            interval: Duration::from_secs(seconds),
            min_retries,
            min_interval: Duration::from_millis(min_ms),
        };
        let now = Instant::now();
        (Budget::new(&limits, now), now)
    }

    fn retries(budget: &Budget, wanted: usize, now: Instant) -> usize {
        (0..wanted).filter(|_| budget.retry(now)).count()
    }

    #[test]
    fn retry_budget_is_a_share_of_all_requests_retries_among_them() {
        let (budget, now) = budget(20, 10, 0, 1000);
        assert_eq!(retries(&budget, 10, now), 0);
        (0..800).for_each(|_| budget.request(now));
        assert_eq!(retries(&budget, 1000, now), 200);
        let (budget, now) = self::budget(0, 10, 0, 1000);
        (0..800).for_each(|_| budget.request(now));
        assert_eq!(retries(&budget, 10, now), 0);
        let (budget, now) = self::budget(100, 10, 0, 1000);
        assert_eq!(retries(&budget, 10, now), 10);
    }

    #[test]
    fn retry_budget_forgets_what_is_older_than_its_interval() {
        let (budget, now) = budget(50, 10, 0, 1000);
        (0..10).for_each(|_| budget.request(now));
        assert_eq!(retries(&budget, 100, now + Duration::from_secs(10)), 10);
        // The requests count no longer, and neither do retries without them.
        assert_eq!(retries(&budget, 100, now + Duration::from_secs(22)), 0);
        assert_eq!(retries(&budget, 100, now + Duration::from_secs(1_000_000)), 0);
    }

    #[test]
    fn retry_budget_lets_a_few_through_whatever_their_share() {
        let (budget, now) = budget(0, 10, 3, 100);
        let at = |ms| now + Duration::from_millis(ms);
        assert_eq!(retries(&budget, 10, at(0)), 3);
        assert_eq!(retries(&budget, 10, at(99)), 0);
        assert_eq!(retries(&budget, 10, at(115)), 3);
        // A moment of before is as the newest.
        assert_eq!(retries(&budget, 10, at(0)), 0);
    }
}
