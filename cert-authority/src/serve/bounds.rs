//! How much one caller may ask, so that no node can keep the others from their certificates.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::attest::Caller;

/// Certificates that one caller may ask for at once; a full node starts with about this many identities.
const BURST: f64 = 512.0;
/// And how many a second after that.
const PER_SECOND: f64 = 32.0;
/// Requests of one caller under way at the same time.
const CONCURRENT: usize = 32;

/// Why a caller has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Excess {
    #[error("more than {CONCURRENT} requests at once")]
    Concurrent,
    #[error("more than {PER_SECOND} requests a second")]
    Rate,
}

/// One entry a caller that asked lately; those whose allowance is full again are forgotten.
#[derive(Debug, Default)]
pub(super) struct Bounds(Mutex<BTreeMap<Caller, Allowance>>);

#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Instant,
    concurrent: Arc<Semaphore>,
}

impl Bounds {
    /// Lets a request in; it is under way until the permit is dropped.
    pub(super) fn enter(&self, caller: &Caller, now: Instant) -> Result<OwnedSemaphorePermit, Excess> {
        // A panic cannot leave an allowance half written, so poisoning means nothing here.
        let mut allowances = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !allowances.contains_key(caller) {
            allowances.retain(|_, allowance| !allowance.is_whole(now));
        }
        let allowance = allowances.entry(caller.clone()).or_insert_with(|| Allowance {
            left: BURST,
            at: now,
            concurrent: Arc::new(Semaphore::new(CONCURRENT)),
        });
        allowance.left = allowance.left_at(now);
        allowance.at = now;
        if allowance.left < 1.0 {
            return Err(Excess::Rate);
        }
        let permit = allowance.concurrent.clone().try_acquire_owned().map_err(|_| Excess::Concurrent)?;
        allowance.left -= 1.0;
        Ok(permit)
    }
}

impl Allowance {
    fn left_at(&self, now: Instant) -> f64 {
        (self.left + now.saturating_duration_since(self.at).as_secs_f64() * PER_SECOND).min(BURST)
    }

    fn is_whole(&self, now: Instant) -> bool {
        self.concurrent.available_permits() == CONCURRENT && self.left_at(now) >= BURST
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mesh_ir::name::NodeName;

    use super::*;

    #[test]
    fn bounds_are_per_caller_and_refill() {
        let bounds = Bounds::default();
        let node = |name| Caller::Node(NodeName::new(name).unwrap());
        let start = Instant::now();
        let held: Vec<_> = (0..CONCURRENT).map(|_| bounds.enter(&node("a"), start).unwrap()).collect();
        assert_eq!(bounds.enter(&node("a"), start).unwrap_err(), Excess::Concurrent);
        assert!(bounds.enter(&node("b"), start).is_ok());
        drop(held);
        for _ in CONCURRENT..BURST as usize {
            drop(bounds.enter(&node("a"), start).unwrap());
        }
        assert_eq!(bounds.enter(&node("a"), start).unwrap_err(), Excess::Rate);
        let second = start + Duration::from_secs(1);
        for _ in 0..PER_SECOND as usize {
            drop(bounds.enter(&node("a"), second).unwrap());
        }
        assert_eq!(bounds.enter(&node("a"), second).unwrap_err(), Excess::Rate);
        let later = start + Duration::from_secs(60);
        assert!(bounds.enter(&node("c"), later).is_ok());
        assert_eq!(bounds.0.lock().unwrap().len(), 1, "rested callers are forgotten");
    }
}
