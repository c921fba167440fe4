//! The chart, into a cluster that may not have the Gateway API yet.

use std::time::Instant;

use weir_tests::cluster::command;
use weir_tests::cluster::footprint::Footprint;
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;

use crate::stage::{Stage, WEIR};

pub(crate) fn install(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let has = |what: &str| stage.cluster.kubectl(&["--namespace", WEIR, "get", what]).is_ok();
    if !has("daemonset/mesh-node") {
        for (name, node) in &stage.nodes {
            stage.bare.insert(name.clone(), Footprint::of(node)?);
        }
    }
    if !has("crd/gateways.gateway.networking.k8s.io") {
        let chart = Stage::script("../../charts/weir").display().to_string();
        let refused = command::said(stage.cluster.command("helm").args([
            "install",
            "weir",
            &chart,
            "--namespace",
            WEIR,
            "--create-namespace",
        ]));
        let said = refused.err().map(|error| error.to_string()).unwrap_or_default();
        show.progress("without the Gateway API the chart is refused, with what to do");
        outcome.claim(
            "the chart says that the Gateway API is missing",
            said.contains("does not have the Gateway API"),
        );
    }
    let begun = Instant::now();
    let said = command::said(&mut stage.cluster.command(Stage::script("install")))?;
    let took = begun.elapsed().as_secs_f64();
    show.progress(said.lines().rfind(|line| !line.is_empty()).unwrap_or_default());
    let mut restarts = 0;
    let pods = stage.cluster.pods(WEIR, "app.kubernetes.io/part-of=weir")?;
    for pod in pods.iter().filter(|pod| !pod.ending) {
        show.progress(&format!("{} on {}, {} restarts", pod.name, pod.node, pod.restarts()));
        restarts += pod.restarts();
    }
    outcome.claim(
        "every program runs with no more than the chart gives it, and none was started anew",
        restarts == 0,
    );
    outcome.claim("there are two operators, a cert-authority and a mesh-node on each node", pods.len() >= 5);
    outcome.figure = format!("{took:.1} s, {restarts} restarts");
    outcome.figure("seconds", took);
    outcome.figure("restarts", restarts);
    Ok(outcome)
}
