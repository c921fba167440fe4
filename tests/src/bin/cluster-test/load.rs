//! Requests that go on while something happens.

use std::collections::BTreeMap;

use weir_tests::lab::client::{Load, Loading};
use weir_tests::steps::outcome::Outcome;

use crate::stage::Stage;

/// The longest that a step may take: the load's own end, should nobody end it.
const LONGEST: &str = "300";

/// One pod's requests to one address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

/// From each node to pods on both, and within the sample.
pub(crate) const EVERYWHERE: [Way; 4] = [
    Way { from: "caller-1", to: "http://answerer.drill:9080/" },
    Way { from: "caller-2", to: "http://answerer.drill:9080/" },
    Way { from: "answerer-1", to: "http://answerer-2.drill:9080/" },
    Way { from: "answerer-2", to: "http://details.bookinfo:9080/details/0" },
];

#[derive(Debug)]
pub(crate) struct Running {
    loads: Vec<(Way, Loading)>,
}

#[derive(Debug)]
pub(crate) struct Loads(pub(crate) Vec<(Way, Load)>);

impl Stage {
    /// Begins some 80 requests a second on each way.
    pub(crate) fn start(&self, ways: &[Way]) -> anyhow::Result<Running> {
        let mut loads = Vec::new();
        for way in ways {
            let (node, pod) = self.drill(way.from)?;
            let arguments =
                ["--duration", LONGEST, "--concurrency", "2", "--pause-ms", "20", "--timeout", "5", way.to];
            loads.push((*way, node.start_load(pod, &arguments)?));
        }
        Ok(Running { loads })
    }
}

impl Running {
    pub(crate) fn finish(self) -> anyhow::Result<Loads> {
        let finish = |(way, loading): (Way, Loading)| Ok((way, loading.finish()?));
        Ok(Loads(self.loads.into_iter().map(finish).collect::<anyhow::Result<_>>()?))
    }
}

impl Loads {
    pub(crate) fn requests(&self) -> u64 {
        self.0.iter().map(|(_, load)| load.requests).sum()
    }

    /// Those without an answer, and those that were answered otherwise than 200.
    pub(crate) fn failed(&self) -> u64 {
        self.0.iter().map(|(_, load)| load.requests - load.with_status(200)).sum()
    }

    pub(crate) fn longest_gap_ms(&self) -> f64 {
        self.0.iter().map(|(_, load)| load.longest_gap.ms).fold(0.0, f64::max)
    }

    /// Claims that there were requests on every way, and that none failed.
    pub(crate) fn claim_none_failed(&self, outcome: &mut Outcome) {
        outcome.claim("requests were made on every way", self.0.iter().all(|(_, load)| load.requests > 50));
        for (way, load) in self.0.iter().filter(|(_, load)| !load.is_all_200()) {
            let words = format!(
                "no request failed from {} to {} ({:?}, {:?})",
                way.from, way.to, load.status, load.error_kinds
            );
            outcome.claim(&words, false);
        }
        outcome.figure("requests", self.requests());
        outcome.figure("failed", self.failed());
        outcome.figure("longestGapMs", self.longest_gap_ms());
    }
}

/// In a few words, by status and kind of failure.
pub(crate) fn in_words(load: &Load) -> String {
    let all: BTreeMap<_, _> = load.status.iter().chain(&load.error_kinds).collect();
    all.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}
