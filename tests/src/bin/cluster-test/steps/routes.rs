//! What a user does first: a Gateway, a canary, Strict.

use std::time::Duration;

use weir_tests::error::Error;
use weir_tests::lab::client::{Answer, Load};
use weir_tests::steps::outcome::{Outcome, percent};
use weir_tests::steps::show::Show;
use weir_tests::wait;

use crate::stage::Stage;

/// For what takes the mesh a moment.
const SOON: Duration = Duration::from_secs(30);
/// How far a share may be from its weight, in points.
const TOLERANCE: f64 = 5.0;
const REVIEWS: &str = "http://reviews.bookinfo:9080/reviews/0";
const DETAILS: &str = "http://details.bookinfo:9080/details/0";
/// Longer than a kubelet takes to call a pod of the sample unready: three probes, one every five seconds.
const PROBED: Duration = Duration::from_secs(20);

pub(crate) fn gateway(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    stage.cluster.wait("bookinfo", &["--for=condition=Programmed", "gateway/bookinfo"], 60)?;
    let path = "--output=jsonpath={.status.addresses[0].value}";
    let address = stage.cluster.kubectl(&["--namespace=bookinfo", "get", "gateway", "bookinfo", path])?;
    let url = format!("http://{address}/productpage");
    let page = || match stage.get_from_here(&url) {
        Ok(Answer::Http(response)) if response.body.contains("The Comedy of Errors") => Ok(Some(response)),
        _ => Ok(None),
    };
    let response = wait::until(&format!("the page at {url}"), SOON, page)?;
    show.progress(&format!("{url}: {} from {}", response.status, response.header("x-bookinfo-pod")));
    let mut outcome = Outcome::default();
    outcome.claim("productpage has answered", response.version() == "productpage-v1");
    outcome.figure = format!("{address} answers with the page");
    outcome.figure("address", address);
    Ok(outcome)
}

pub(crate) fn canary(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    stage.cluster.apply_file(&Stage::sample("canary.yaml"))?;
    let pod = stage.cluster.only_pod("bookinfo", "app=productpage")?;
    let node = stage.node(&pod.node)?;
    let load = |arguments: &[&str]| node.load(&pod, &[arguments, &[REVIEWS]].concat());
    wait::until("the canary to take effect", SOON, || {
        let sample = load(&["--requests", "40"])?;
        Ok((sample.from_version("reviews-v3") == 0).then_some(()))
    })?;
    let split: Load = load(&["--requests", "1000", "--concurrency", "4"])?;
    let header = load(&["--requests", "50", "-H", "end-user:jason"])?;
    let share = percent(split.from_version("reviews-v2"), split.requests);
    show.progress(&format!(
        "v1 {}, v2 {}, v3 {} of {} requests; with end-user: jason {} of {} from v3",
        split.from_version("reviews-v1"),
        split.from_version("reviews-v2"),
        split.from_version("reviews-v3"),
        split.requests,
        header.from_version("reviews-v3"),
        header.requests
    ));
    let mut outcome = Outcome::default();
    outcome.claim("every request is answered 200", split.is_all_200() && header.is_all_200());
    outcome.claim("v2 gets 10 %, within 5 points", (share - 10.0).abs() <= TOLERANCE);
    outcome.claim("v1 gets the rest", split.from_version("reviews-v3") == 0);
    outcome.claim("the header always picks v3", header.from_version("reviews-v3") == header.requests);
    outcome.figure =
        format!("{share} % to v2; the header: {} of {}", header.from_version("reviews-v3"), header.requests);
    outcome.figure("v2Percent", share);
    Ok(outcome)
}

pub(crate) fn strict(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let outside = stage.cluster.only_pod("outside", "app=client")?;
    let meshed = stage.cluster.only_pod("bookinfo", "app=productpage")?;
    let node = stage.node(&outside.node)?;
    let permissive = node.get(&outside, &["--timeout", "5", DETAILS])?;
    stage.cluster.apply_file(&Stage::sample("strict.yaml"))?;
    wait::until("Strict to refuse plaintext", SOON, || {
        Ok((node.get(&outside, &["--timeout", "5", DETAILS])?.status() == 0).then_some(()))
    })?;
    let load =
        stage.node(&meshed.node)?.load(&meshed, &["--requests", "200", "--concurrency", "4", REVIEWS])?;
    let unready = first_unready(stage, "bookinfo", "--field-selector=spec.nodeName!=")?;
    // Back to what the sample says, for whoever comes after.
    stage.cluster.kubectl(&["label", "namespace", "bookinfo", "weir.dev/mode-"])?;
    show.progress(&format!(
        "Permissive: {}; Strict: refused, and the mesh's own: {:?}",
        permissive.status(),
        load.status
    ));
    let mut outcome = Outcome::default();
    outcome.claim("Permissive serves it", permissive.status() == 200);
    outcome.claim("Strict leaves the mesh's own requests alone", load.is_all_200());
    outcome.claim("every pod passes its probes under Strict", unready.is_none());
    outcome.figure = format!("{}, then refused; probes pass", permissive.status());
    Ok(outcome)
}

/// The first pod among these that is not ready, or ceases to be while its probes have the time to fail.
pub(super) fn first_unready(stage: &Stage, namespace: &str, which: &str) -> anyhow::Result<Option<String>> {
    let columns = "--output=jsonpath={.metadata.name} {.status.containerStatuses[*].ready}{\"\\n\"}";
    let mut watch = stage.cluster.watch(&["--namespace", namespace, "get", "pods", which, columns])?;
    match watch.until("a pod that is not ready", PROBED, |line| line.contains("false")) {
        Ok(line) => Ok(Some(line)),
        Err(Error::Timeout { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
