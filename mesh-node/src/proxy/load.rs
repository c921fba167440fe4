//! How loaded each endpoint is, as one worker sees it: requests under way, times how long they lately took (peak
//! EWMA: a slow answer counts at once, a fast one wears off slowly). What was measured is forgotten in time: an endpoint
//! that was slow once and is avoided since would never be measured again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use mesh_ir::name::Uid;
use mesh_ir::view::Endpoint;

/// What is believed of an endpoint before it has answered.
const FIRST_GUESS: f64 = 0.001;
/// After this time a measured latency counts for a third of what it did.
const DECAY: Duration = Duration::from_secs(10);
const FORGET_AFTER: Duration = Duration::from_secs(300);
/// One that refuses is taken for so slow, which wears off as for one that is: it is chosen again within a minute.
const REFUSED: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct Loads(RefCell<HashMap<Uid, Ports, RandomState>>);

/// The loads of a workload's ports.
type Ports = Vec<(u16, Rc<Load>)>;

#[derive(Debug)]
struct Load {
    under_way: Cell<u32>,
    seconds: Cell<f64>,
    measured: Cell<Instant>,
}

/// Counts as under way until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    load: Rc<Load>,
    begun: Instant,
}

impl Loads {
    pub(super) fn of(&self, endpoint: &Endpoint, now: Instant) -> f64 {
        let loads = self.0.borrow();
        let ports = loads.get(&endpoint.workload().uid);
        ports.and_then(|ports| at(ports, endpoint.port)).map_or(0.0, |load| load.cost(now))
    }

    pub(super) fn begin(&self, endpoint: &Endpoint, now: Instant) -> UnderWay {
        let mut loads = self.0.borrow_mut();
        let uid = &endpoint.workload().uid;
        let known = loads.get(uid).and_then(|ports| at(ports, endpoint.port)).cloned();
        let load = known.unwrap_or_else(|| {
            let load = Rc::new(Load::new(now));
            loads.entry(uid.clone()).or_default().push((endpoint.port, load.clone()));
            load
        });
        load.under_way.set(load.under_way.get() + 1);
        UnderWay { load, begun: now }
    }

    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.0.borrow_mut().retain(|_, ports| {
            ports.retain(|(_, load)| {
                load.under_way.get() > 0 || now.duration_since(load.measured.get()) < FORGET_AFTER
            });
            !ports.is_empty()
        });
    }
}

fn at(ports: &[(u16, Rc<Load>)], port: u16) -> Option<&Rc<Load>> {
    ports.iter().find(|(other, _)| *other == port).map(|(_, load)| load)
}

impl Load {
    fn new(now: Instant) -> Self {
        Self { under_way: Cell::new(0), seconds: Cell::new(FIRST_GUESS), measured: Cell::new(now) }
    }

    fn cost(&self, now: Instant) -> f64 {
        // Towards the first guess and not to nothing: one that has stopped to answer must not look better and better.
        let seconds = FIRST_GUESS + (self.seconds.get() - FIRST_GUESS) * self.weight(now);
        seconds * f64::from(self.under_way.get() + 1)
    }

    fn measure(&self, took: Duration, now: Instant) {
        let weight = self.weight(now);
        let (old, new) = (self.seconds.get(), took.as_secs_f64());
        self.seconds.set(if new > old { new } else { old * weight + new * (1.0 - weight) });
        self.measured.set(now);
    }

    /// For how much of itself what was measured last counts now.
    fn weight(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.measured.get());
        (-since.as_secs_f64() / DECAY.as_secs_f64()).exp()
    }
}

impl UnderWay {
    /// The endpoint has begun to answer.
    pub(super) fn answered(&self, now: Instant) {
        self.load.measure(now.saturating_duration_since(self.begun), now);
    }

    /// The endpoint is not there.
    pub(super) fn refused(&self, now: Instant) {
        self.load.measure(REFUSED, now);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.load.under_way.set(self.load.under_way.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_a_slow_answer_counts_at_once() {
        let now = Instant::now();
        let load = Load::new(now);
        load.measure(Duration::from_secs(2), now);
        assert!((load.cost(now) - 2.0).abs() < 1e-9);
        load.measure(Duration::from_millis(1), now);
        assert!(load.cost(now) > 1.9, "one fast answer does not make up for it");
    }

    #[test]
    fn load_what_was_slow_once_is_forgotten_though_nothing_is_measured() {
        let begin = Instant::now();
        let (slow, other) = (Load::new(begin), Load::new(begin));
        slow.measure(Duration::from_secs(2), begin);
        let mut before = slow.cost(begin);
        for seconds in (10..=120).step_by(10) {
            let now = begin + Duration::from_secs(seconds);
            let cost = slow.cost(now);
            assert!(cost < before, "after {seconds} s");
            before = cost;
        }
        let later = begin + Duration::from_secs(120);
        other.measure(Duration::from_millis(2), later);
        assert!(slow.cost(later) < other.cost(later), "it is chosen again");
        // One that does not answer at all is not chosen for it.
        slow.under_way.set(10);
        assert!(slow.cost(later) > other.cost(later));
    }

    #[test]
    fn load_peak_wears_off_with_what_is_measured_after_it() {
        let begin = Instant::now();
        let load = Load::new(begin);
        load.measure(Duration::from_secs(2), begin);
        let later = begin + DECAY;
        load.measure(Duration::from_millis(10), later);
        let expected = 2.0 / std::f64::consts::E + 0.01 * (1.0 - 1.0 / std::f64::consts::E);
        assert!((load.cost(later) - expected).abs() < 1e-9);
    }
}
