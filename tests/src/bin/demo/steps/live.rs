//! A weight that is edited in its file while requests run.

use std::time::{Duration, Instant};

use anyhow::ensure;
use time::OffsetDateTime;
use weir_tests::lab::access_log::Request;
use weir_tests::lab::view::Pod;
use weir_tests::wait;

use crate::stage::{PRODUCTPAGE, REVIEWS, Stage};
use weir_tests::steps::outcome::{Outcome, percent};
use weir_tests::steps::show::Show;

/// Requests to see under each of the two weights.
const ENOUGH: f64 = 1500.0;
const WITHIN: Duration = Duration::from_secs(20);
/// How far a share may be from its weight, in points.
const TOLERANCE: f64 = 5.0;

pub(crate) fn edit(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let lab = &stage.lab;
    let source = stage.productpage()?;
    let mark = lab.mark()?;
    let load = lab.start_load(PRODUCTPAGE, &["--duration", "60", "--concurrency", "4", REVIEWS])?;
    more_requests(stage, &source)?;
    let before = lab.sessions()?;
    let edited_at = OffsetDateTime::now_utc();
    let renamed = lab.edit("canary.yaml", |text| {
        text.replace("weight: 90", "weight: 50").replace("weight: 10", "weight: 50")
    })?;
    lab.wait_configured(&before)?;
    let took = renamed.elapsed();
    let acknowledged_at = OffsetDateTime::now_utc();
    show.progress(&format!(
        "canary.yaml edited from 90/10 to 50/50: both nodes acknowledged it {} ms after the file was renamed",
        took.as_millis()
    ));
    more_requests(stage, &source)?;
    let load = load.finish()?;
    let of_load = |request: &&Request| request.source == source.full_name() && request.path == "/reviews/0";
    let log = wait_for_log(stage, &source, &mark, load.requests)?;
    let requests: Vec<&Request> = log.iter().filter(of_load).collect();
    let (mut old, mut new) = ([0; 2], [0; 2]);
    for request in requests {
        let begun = request.begun()?;
        let to_v2 = usize::from(request.destination.as_deref() == Some("bookinfo/reviews-v2:9080"));
        if begun < edited_at {
            old[to_v2] += 1;
        } else if begun > acknowledged_at {
            new[to_v2] += 1;
        }
    }
    let share = |counts: [u64; 2]| percent(counts[1], counts[0] + counts[1]);
    let (old_share, new_share) = (share(old), share(new));
    show.progress(&format!(
        "{} requests meanwhile, {} without an answer, {} answered otherwise than 200",
        load.requests,
        load.errors,
        load.requests - load.errors - load.with_status(200)
    ));
    show.progress(&format!(
        "the access log: {} requests before with {old_share} % to v2, {} after with {new_share} %",
        old[0] + old[1],
        new[0] + new[1]
    ));
    let mut outcome = Outcome::default();
    outcome.claim("not one request failed", load.is_all_200());
    outcome.claim("the nodes acknowledged it in under a second", took < Duration::from_secs(1));
    outcome.claim("v2 had 10 % before, within 5 points", (old_share - 10.0).abs() <= TOLERANCE);
    outcome.claim("v2 has 50 % after, within 5 points", (new_share - 50.0).abs() <= TOLERANCE);
    outcome.figure = format!(
        "{} ms to both nodes; v2 {old_share} % → {new_share} %; {} of {} failed",
        took.as_millis(),
        load.requests - load.with_status(200),
        load.requests
    );
    outcome.figure("acknowledgedAfterMs", took.as_secs_f64() * 1000.0);
    outcome.figure("requests", load.requests);
    outcome.figure("failed", load.requests - load.with_status(200));
    outcome.figure("v2PercentBefore", old_share);
    outcome.figure("v2PercentAfter", new_share);
    Ok(outcome)
}

/// Waits until the source has made so many requests more, by its node's own count.
fn more_requests(stage: &Stage, source: &Pod) -> anyhow::Result<()> {
    let name = source.full_name();
    let count = || {
        let metrics = stage.lab.metrics(&source.node)?;
        Ok(metrics.sum("weir_requests_total", &[("source", &name)]))
    };
    let begun = count()?;
    Ok(wait::until("requests to be made", WITHIN, || Ok((count()? >= begun + ENOUGH).then_some(())))?)
}

/// The node's access log once it holds so many requests of the source.
fn wait_for_log(
    stage: &Stage,
    source: &Pod,
    mark: &weir_tests::lab::access_log::Mark,
    count: u64,
) -> anyhow::Result<Vec<Request>> {
    let begun = Instant::now();
    loop {
        let lines = stage.lab.access_log(&source.node, mark)?;
        let requests: Vec<Request> = lines.iter().filter_map(|line| line.request()).cloned().collect();
        let own = requests.iter().filter(|request| request.source == source.full_name()).count();
        if own as u64 >= count {
            return Ok(requests);
        }
        ensure!(begun.elapsed() < WITHIN, "the access log holds {own} of {count} requests");
        std::thread::sleep(Duration::from_millis(50));
    }
}
