//! Counts and durations of requests. Each worker counts for itself, without a lock and without making a text; what
//! they counted is added up when somebody asks.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use mesh_ir::name::{ObjectName, Uid};
use mesh_ir::resource::RouteKey;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// The upper end of the first bucket; that of each next one is twice as much, up to 16 s.
const FIRST: Duration = Duration::from_micros(500);
const BUCKETS: usize = 16;

/// What requests are counted by: names that are shared, so that it costs nothing to make one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) source: Source,
    pub(super) destination: Option<(ObjectName, u16)>,
    pub(super) route: Option<RouteKey>,
    pub(super) status: u16,
    pub(super) security: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    Pod(Uid),
    Gateway(ObjectName),
    /// A Gateway's port, where no listener has taken the request.
    Port(u16),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
pub(super) struct Labels {
    /// `namespace/name` of the source pod, or `gateway NAMESPACE/NAME`.
    pub(super) source: String,
    pub(super) destination: String,
    pub(super) route: String,
    pub(super) response_code: u16,
    pub(super) security: &'static str,
}

/// What all workers counted.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<Vec<Arc<Series>>>);

/// What one worker counts.
#[derive(Debug)]
pub struct Meter {
    all: Arc<Requests>,
    /// Its keys are the configuration's names; all that a peer chooses of them is a status.
    own: RefCell<HashMap<Key, Arc<Series>, RandomState>>,
}

/// One worker's requests of the same labels. Only that worker writes it.
#[derive(Debug)]
struct Series {
    labels: Labels,
    /// The last one is of those that took longer than all bounds.
    buckets: [AtomicU64; BUCKETS + 1],
    nanoseconds: AtomicU64,
}

impl Meter {
    pub(super) fn new(all: Arc<Requests>) -> Self {
        Self { all, own: RefCell::default() }
    }

    /// Counts a request; `labels` are asked for with the first one of its key.
    pub(super) fn count(&self, key: &Key, took: Duration, labels: impl FnOnce() -> Labels) {
        let mut own = self.own.borrow_mut();
        if let Some(series) = own.get(key) {
            return series.count(took);
        }
        let series = Arc::new(Series {
            labels: labels(),
            buckets: Default::default(),
            nanoseconds: AtomicU64::new(0),
        });
        series.count(took);
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).push(series.clone());
        own.insert(key.clone(), series);
    }
}

impl Series {
    fn count(&self, took: Duration) {
        // 584 years fit.
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        add(&self.buckets[bucket(nanoseconds)], 1);
        add(&self.nanoseconds, nanoseconds);
    }
}

/// The place of the first bucket whose bound is not below this.
fn bucket(nanoseconds: u64) -> usize {
    // FIRST has 500,000 of them.
    let firsts = nanoseconds.div_ceil(FIRST.as_nanos() as u64);
    // The bits of `firsts - 1` are the doublings that it takes to reach it.
    let doublings = u64::BITS - firsts.saturating_sub(1).leading_zeros();
    (doublings as usize).min(BUCKETS)
}

/// For the only writer, which needs no locked instruction.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    buckets: [u64; BUCKETS + 1],
    nanoseconds: u64,
}

impl Requests {
    fn sums(&self) -> BTreeMap<Labels, Sum> {
        let mut sums: BTreeMap<Labels, Sum> = BTreeMap::new();
        for series in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let sum = sums.entry(series.labels.clone()).or_default();
            for (sum, counter) in sum.buckets.iter_mut().zip(&series.buckets) {
                *sum += counter.load(Ordering::Relaxed);
            }
            sum.nanoseconds += series.nanoseconds.load(Ordering::Relaxed);
        }
        sums
    }
}

impl Collector for Requests {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sums = self.sums();
        let mut counts =
            encoder.encode_descriptor("requests", "HTTP requests answered.", None, MetricType::Counter)?;
        for (labels, sum) in &sums {
            let count: u64 = sum.buckets.iter().sum();
            counts.encode_family(labels)?.encode_counter::<[(&str, &str); 0], _, u64>(&count, None)?;
        }
        let mut durations = encoder.encode_descriptor(
            "request_duration",
            "From a request's head to the end of its response.",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (labels, sum) in &sums {
            let bounds = (0..BUCKETS as u32).map(|at| FIRST.as_secs_f64() * f64::from(1 << at));
            let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(sum.buckets).collect();
            durations.encode_family(labels)?.encode_histogram::<[(&str, &str); 0]>(
                Duration::from_nanos(sum.nanoseconds).as_secs_f64(),
                sum.buckets.iter().sum(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::registry::Registry;

    #[test]
    fn requests_of_two_workers_are_added_up() {
        let all = Arc::new(Requests::default());
        let key = |status| Key {
            source: Source::Port(80),
            destination: None,
            route: None,
            status,
            security: "none",
        };
        let labels = |response_code| Labels {
            source: "gateway a/b".into(),
            destination: String::new(),
            route: String::new(),
            response_code,
            security: "none",
        };
        for worker in [Meter::new(all.clone()), Meter::new(all.clone())] {
            for _ in 0..3 {
                worker.count(&key(200), Duration::from_millis(2), || labels(200));
            }
            worker.count(&key(500), Duration::from_secs(60), || labels(500));
        }
        let mut registry = Registry::with_prefix("weir");
        registry.register_collector(Box::new(all));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let with = |code: &str| {
            format!(
                "source=\"gateway a/b\",destination=\"\",route=\"\",response_code=\"{code}\",security=\"none\""
            )
        };
        for line in [
            "# HELP weir_requests HTTP requests answered.".to_owned(),
            format!("weir_requests_total{{{}}} 6", with("200")),
            format!("weir_requests_total{{{}}} 2", with("500")),
            format!("weir_request_duration_seconds_sum{{{}}} 0.012", with("200")),
            format!("weir_request_duration_seconds_bucket{{le=\"0.001\",{}}} 0", with("200")),
            format!("weir_request_duration_seconds_bucket{{le=\"0.002\",{}}} 6", with("200")),
            format!("weir_request_duration_seconds_bucket{{le=\"16.384\",{}}} 0", with("500")),
            format!("weir_request_duration_seconds_bucket{{le=\"+Inf\",{}}} 2", with("500")),
        ] {
            assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn requests_fall_into_the_bucket_that_holds_them() {
        for (microseconds, expected) in [
            (0, 0),
            (1, 0),
            (500, 0),
            (501, 1),
            (1000, 1),
            (1001, 2),
            (2000, 2),
            (16_384_000, 15),
            (16_384_001, 16),
        ] {
            assert_eq!(bucket(microseconds * 1000), expected, "{microseconds} µs");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS);
    }
}
