//! How loaded each endpoint is, as one worker sees it: requests under way, times how long they lately took (peak
//! EWMA: a slow answer counts at once, a fast one wears off slowly).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mesh_ir::name::Uid;
use mesh_ir::view::Endpoint;

/// What is believed of an endpoint before it has answered.
const FIRST_GUESS: f64 = 0.001;
/// After this time a measured latency counts for a third of what it did.
const DECAY: Duration = Duration::from_secs(10);
const FORGET_AFTER: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Loads(RefCell<HashMap<(Uid, u16), Rc<Load>>>);

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
    pub(super) fn of(&self, endpoint: &Endpoint) -> f64 {
        let loads = self.0.borrow();
        // The key is only cloned for an endpoint that is new.
        loads.get(&(endpoint.workload().uid.clone(), endpoint.port)).map_or(0.0, |load| load.cost())
    }

    pub(super) fn begin(&self, endpoint: &Endpoint) -> UnderWay {
        let key = (endpoint.workload().uid.clone(), endpoint.port);
        let load = self.0.borrow_mut().entry(key).or_insert_with(|| Rc::new(Load::new())).clone();
        load.under_way.set(load.under_way.get() + 1);
        UnderWay { load, begun: Instant::now() }
    }

    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.0.borrow_mut().retain(|_, load| {
            load.under_way.get() > 0 || now.duration_since(load.measured.get()) < FORGET_AFTER
        });
    }
}

impl Load {
    fn new() -> Self {
        Self { under_way: Cell::new(0), seconds: Cell::new(FIRST_GUESS), measured: Cell::new(Instant::now()) }
    }

    fn cost(&self) -> f64 {
        self.seconds.get() * f64::from(self.under_way.get() + 1)
    }

    fn measure(&self, took: Duration) {
        let now = Instant::now();
        let since = now.duration_since(self.measured.replace(now)).as_secs_f64();
        let (old, new) = (self.seconds.get(), took.as_secs_f64());
        let weight = (-since / DECAY.as_secs_f64()).exp();
        self.seconds.set(if new > old { new } else { old * weight + new * (1.0 - weight) });
    }
}

impl UnderWay {
    /// The endpoint has begun to answer.
    pub(super) fn answered(&self) {
        self.load.measure(self.begun.elapsed());
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
        let load = Load::new();
        load.measure(Duration::from_secs(2));
        assert!((load.cost() - 2.0).abs() < 1e-9);
        load.measure(Duration::from_millis(1));
        assert!(load.cost() > 1.9, "one fast answer does not make up for it");
    }
}
