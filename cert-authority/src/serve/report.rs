//! What the authority says of itself: whether it can sign, and what it has counted.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mesh_health::Health;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;

use crate::keys::Keys;

pub(super) struct Report {
    registry: Registry,
    /// Why nothing can be signed yet.
    waiting: Mutex<Option<String>>,
    issued: Counter,
    refused: Family<Refused, Counter>,
    durations: Histogram,
    roots: Gauge,
    pub(super) refreshes_failed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    /// The gRPC status.
    code: &'static str,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Report {
    pub(super) fn new() -> Self {
        let mut report = Self {
            registry: Registry::with_prefix("weir_ca"),
            waiting: Mutex::new(Some("the keys are being read".into())),
            issued: Counter::default(),
            refused: Family::default(),
            // 0.1 ms to 3.3 s.
            durations: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
            roots: Gauge::default(),
            refreshes_failed: Counter::default(),
        };
        let registry = &mut report.registry;
        registry.register("certificates_issued", "Certificates signed", report.issued.clone());
        registry.register("requests_refused", "Requests refused, by gRPC status", report.refused.clone());
        registry.register_with_unit(
            "sign_duration",
            "From a request to sign to its answer",
            Unit::Seconds,
            report.durations.clone(),
        );
        registry.register("roots", "Roots in the published bundle", report.roots.clone());
        let help = "Failed attempts to read the keys anew or to publish the bundle";
        registry.register("refreshes_failed", help, report.refreshes_failed.clone());
        report
    }

    /// Gives whether this is news.
    pub(super) fn waits(&self, why: String) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let news = waiting.as_ref() != Some(&why);
        *waiting = Some(why);
        news
    }

    pub(super) fn has(&self, keys: &Keys) {
        self.roots.set(i64::try_from(keys.bundle.roots().len()).unwrap_or(i64::MAX));
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn issued(&self, took: Duration) {
        self.issued.inc();
        self.durations.observe(took.as_secs_f64());
    }

    pub(super) fn refused(&self, code: Code) {
        let code = match code {
            Code::Unauthenticated => "Unauthenticated",
            Code::PermissionDenied => "PermissionDenied",
            Code::InvalidArgument => "InvalidArgument",
            Code::ResourceExhausted => "ResourceExhausted",
            Code::Unavailable => "Unavailable",
            _ => "Internal",
        };
        self.refused.get_or_create(&Refused { code }).inc();
    }
}

impl Health for Report {
    fn ready(&self) -> Result<(), String> {
        match &*self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(why) => Err(format!("cannot sign yet: {why}")),
            None => Ok(()),
        }
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing into a String does not fail");
        text
    }
}
