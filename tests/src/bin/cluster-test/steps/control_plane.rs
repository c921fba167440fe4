//! Kubernetes' own control plane, away for a minute: nobody's requests may notice.

use std::time::{Duration, Instant};

use weir_tests::cluster::command;
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;

use super::programs::route_is_accepted;
use crate::load::EVERYWHERE;
use crate::stage::{Stage, WEIR};

/// How long it is away.
const AWAY: Duration = Duration::from_secs(60);
/// How long after its return a new route may wait for its status.
const STATUS_WITHIN: Duration = Duration::from_secs(20);

pub(crate) fn away(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let control_plane =
        |what: &str| command::said(stage.cluster.command(Stage::script("control-plane")).arg(what));
    let running = stage.start(&EVERYWHERE)?;
    control_plane("stop")?;
    // What is shown is that nothing happens meanwhile: there is nothing to wait for but the time.
    std::thread::sleep(AWAY);
    let (node, pod) = stage.drill("caller-1")?;
    let fresh =
        node.load(pod, &["--requests", "100", "--concurrency", "16", "http://answerer-2.drill:9080/"])?;
    control_plane("start")?;
    let back = Instant::now();
    route_is_accepted(stage, "after-api")?;
    let took = back.elapsed();
    show.progress(&format!(
        "back after {} s; a new route has its status {:.1} s later",
        AWAY.as_secs(),
        took.as_secs_f64()
    ));
    stage.cluster.kubectl(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=60s"])?;
    stage.cluster.kubectl(&[
        "--namespace",
        WEIR,
        "rollout",
        "status",
        "deployment/mesh-operator",
        "--timeout=60s",
    ])?;
    let loads = running.finish()?;
    let mut outcome = Outcome::default();
    outcome.claim("new connections are made without an API server", fresh.is_all_200());
    outcome.claim("a new route has its status within 20 s of its return", took <= STATUS_WITHIN);
    loads.claim_none_failed(&mut outcome);
    outcome.figure = format!(
        "{} of {} requests failed; statuses {:.1} s after its return",
        loads.failed(),
        loads.requests(),
        took.as_secs_f64()
    );
    outcome.figure("awaySeconds", AWAY.as_secs());
    outcome.figure("newRouteAcceptedAfterSeconds", took.as_secs_f64());
    Ok(outcome)
}
