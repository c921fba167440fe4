//! The circuit breaker: two requests under way, one that waits, and a refusal at once for the rest.

use weir_tests::lab::sample;

use crate::stage::{PRODUCTPAGE, Stage};
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;

const LOAD: [&str; 5] = ["--requests", "500", "--concurrency", "20", "http://details:9080/details/0"];

pub(crate) fn breaker(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let policy = sample("circuit-breaker.yaml")?;
    stage.lab.apply(&policy)?;
    let with = stage.lab.load(PRODUCTPAGE, &LOAD)?;
    let (answered, refused) = (with.with_status(200), with.with_status(503));
    show.progress(&format!(
        "with 2 requests under way and 1 waiting at most: {answered} answered 200, {refused} refused with 503, {} otherwise",
        with.requests - answered - refused
    ));
    stage.lab.delete(&policy)?;
    let without = stage.lab.load(PRODUCTPAGE, &LOAD)?;
    show.progress(&format!(
        "without the policy: {} of {} answered 200",
        without.with_status(200),
        without.requests
    ));
    let mut outcome = Outcome::default();
    outcome.claim("some were answered 200", answered > 0);
    outcome.claim("some were refused with 503", refused > 0);
    outcome.claim(
        "all were answered one or the other way",
        answered + refused == with.requests && with.errors == 0,
    );
    outcome.claim("without the policy all are answered 200", without.is_all_200());
    outcome.figure = format!(
        "{refused} × 503 and {answered} × 200, then {} of {} × 200",
        without.with_status(200),
        without.requests
    );
    outcome.figure("requests", with.requests);
    outcome.figure("status503", refused);
    outcome.figure("status200", answered);
    outcome.figure("errors", with.errors);
    outcome.figure("status200WithoutPolicy", without.with_status(200));
    Ok(outcome)
}
