//! Where requests go: in through the Gateway, by weight, and by a header.

use serde_json::json;

use crate::stage::{PRODUCTPAGE, REVIEWS, Stage};
use weir_tests::steps::outcome::{Outcome, percent};
use weir_tests::steps::show::Show;

/// How far a share may be from its weight, in points.
const TOLERANCE: f64 = 3.0;

pub(crate) fn gateway(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut addresses = Vec::new();
    for address in stage.lab.gateway("bookinfo", "bookinfo")? {
        let host = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        let page = stage.lab.get_from_host(&[&format!("http://{host}/productpage")])?.response()?;
        let version = reviews_version(&page.body);
        show.progress(&format!(
            "http://{host}/productpage: {} from {}, reviews by {version}",
            page.status,
            page.version()
        ));
        outcome.claim("the page is answered 200", page.status == 200);
        outcome.claim("the page shows reviews", version != "nobody");
        addresses.push(host);
    }
    let host = addresses.first().cloned().unwrap_or_default();
    let url = format!("http://{host}/productpage");
    let page = stage.lab.get_from_host(&["-H", "end-user:jason", &url])?.response()?;
    let version = reviews_version(&page.body);
    let stars = page.body.matches("class=\"stars red\"").count();
    show.progress(&format!(
        "the same as jason: {}, reviews by {version}, {stars} ratings in red stars",
        page.status
    ));
    outcome.claim("jason's page is answered 200", page.status == 200);
    outcome.claim("jason's page shows red stars", stars > 0);
    outcome.claim("jason's page has the reviews of v3", version == "reviews-v3");
    outcome.figure = format!("{}, {stars} ratings in red stars from {version}", page.status);
    outcome.figure("addresses", json!(addresses));
    outcome.figure("status", page.status);
    outcome.figure("ratingsWithStars", stars);
    outcome.figure("reviewsVersion", version);
    Ok(outcome)
}

pub(crate) fn weights(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let load = stage.lab.load(PRODUCTPAGE, &["--requests", "1000", "--concurrency", "8", REVIEWS])?;
    let (v1, v2) = (load.from_version("reviews-v1"), load.from_version("reviews-v2"));
    let (share1, share2) = (percent(v1, load.requests), percent(v2, load.requests));
    show.progress(&format!(
        "{} requests in {:.2} s: reviews-v1 {v1}, reviews-v2 {v2}; median {:.1} ms, 99 in 100 within {:.1} ms",
        load.requests, load.seconds, load.p50_ms, load.p99_ms
    ));
    let mut outcome = Outcome::default();
    outcome.claim("no request failed and all were answered 200", load.is_all_200() && load.requests == 1000);
    outcome.claim("v1's share is within 3 points of 90", (share1 - 90.0).abs() <= TOLERANCE);
    outcome.claim("v2's share is within 3 points of 10", (share2 - 10.0).abs() <= TOLERANCE);
    outcome.figure = format!("{share1} % / {share2} %, {} errors", load.errors);
    outcome.figure("requests", load.requests);
    outcome.figure("errors", load.errors);
    outcome.figure("v1Percent", share1);
    outcome.figure("v2Percent", share2);
    outcome.figure("requestsPerSecond", (load.requests as f64 / load.seconds).round());
    outcome.figure("p50Ms", load.p50_ms);
    outcome.figure("p99Ms", load.p99_ms);
    Ok(outcome)
}

pub(crate) fn header(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let arguments = ["--requests", "100", "--concurrency", "4", "-H", "end-user:jason", REVIEWS];
    let load = stage.lab.load(PRODUCTPAGE, &arguments)?;
    let v3 = load.from_version("reviews-v3");
    show.progress(&format!("{} requests with `end-user: jason`: reviews-v3 {v3}", load.requests));
    let mut outcome = Outcome::default();
    outcome.claim("no request failed and all were answered 200", load.is_all_200());
    outcome.claim("all were answered by v3", v3 == load.requests && load.requests == 100);
    outcome.figure = format!("{v3} of {} to v3, {} errors", load.requests, load.errors);
    outcome.figure("requests", load.requests);
    outcome.figure("errors", load.errors);
    outcome.figure("v3", v3);
    Ok(outcome)
}

/// Which version of reviews the page names.
fn reviews_version(page: &str) -> String {
    let named = |version: &&str| page.contains(&format!("<li><b>{version}</b>"));
    ["reviews-v1", "reviews-v2", "reviews-v3"].iter().find(|v| named(v)).unwrap_or(&"nobody").to_string()
}
