//! Pods that come and go: each makes requests from its first moment on, and none leaves anything behind.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use weir_tests::cluster::footprint::Footprint;
use weir_tests::lab::client::Load;
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;
use weir_tests::wait;

use super::kinds::{marks, requests};
use crate::stage::Stage;

const CHURN: &str = "churn";
const WAVES: usize = 5;
/// On both nodes together.
const WAVE: usize = 40;
/// Of each pod, one every [`PAUSE_MS`].
const REQUESTS: u64 = 60;
const PAUSE_MS: u64 = 50;
/// What goes with a pod is gone this soon after it.
const GONE_WITHIN: Duration = Duration::from_secs(30);

/// What became of the requests of one pod.
#[derive(Debug)]
struct Visit {
    load: Load,
    /// Requests that its node's mesh-node has logged.
    logged: u64,
}

pub(crate) fn churn(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let before = footprints(stage)?;
    stage.cluster.apply(
        "{apiVersion: v1, kind: Namespace, metadata: {name: churn, labels: {weir.dev/mesh: enabled}}}",
    )?;
    let mut visits = Vec::new();
    for number in 0..WAVES {
        let begun = Instant::now();
        let visited = wave(stage, number)?;
        show.progress(&format!(
            "wave {}: {} pods in {:.0} s",
            number + 1,
            visited.len(),
            begun.elapsed().as_secs_f64()
        ));
        visits.extend(visited);
    }
    stage.cluster.kubectl(&["delete", "namespace", CHURN])?;
    let mut left = Vec::new();
    let gone = wait::until("the pods' traces to go", GONE_WITHIN, || {
        left.clear();
        for (name, node) in &stage.nodes {
            let grown = before.get(name).map(|before| Ok(before.grown(&Footprint::of(node)?)));
            left.extend(
                grown.transpose()?.unwrap_or_default().into_iter().map(|what| format!("{name}: {what}")),
            );
        }
        Ok(left.is_empty().then_some(()))
    });
    for what in &left {
        show.progress(&format!("left on {what}"));
    }
    let mut windows: Vec<f64> = visits.iter().map(|visit| visit.load.longest_gap.ms).collect();
    windows.sort_by(f64::total_cmp);
    let from_the_first = visits.iter().filter(|visit| visit.load.is_all_200()).count();
    let missed = visits.iter().filter(|visit| visit.logged == 0 || visit.load.with_status(200) == 0).count();
    // In Strict a request that was not captured is refused, so whatever was answered must have been logged at its source.
    let unlogged = visits.iter().filter(|visit| visit.load.with_status(200) > visit.logged).count();
    let (median, longest) = (quantile(&windows, 0.5), quantile(&windows, 1.0));
    show.progress(&format!(
        "{} pods, {missed} never captured, {from_the_first} from their first request on; served after {median:.0} ms \
         (median), {longest:.0} ms (longest)",
        visits.len()
    ));
    let mut outcome = Outcome::default();
    outcome.claim("there were 200 pods", visits.len() == WAVES * WAVE);
    outcome.claim("every pod was captured", missed == 0);
    outcome.claim("no request was answered past the mesh", unlogged == 0);
    outcome.claim(&format!("nothing of them is left ({left:?})"), gone.is_ok());
    outcome.figure = format!(
        "{missed} captures missed, {} things left; served after {median:.0} ms, at most {longest:.0} ms",
        left.len()
    );
    outcome.figure("pods", visits.len());
    outcome.figure("missed", missed);
    outcome.figure("servedFromFirstRequest", from_the_first);
    outcome.figure("servedAfterMsMedian", median);
    outcome.figure("servedAfterMsLongest", longest);
    outcome.figure("left", serde_json::json!(left));
    Ok(outcome)
}

fn footprints(stage: &Stage) -> anyhow::Result<BTreeMap<String, Footprint>> {
    let of = |(name, node): (&String, _)| Ok((name.clone(), Footprint::of(node)?));
    stage.nodes.iter().map(of).collect()
}

/// Pods that all come at once, make their requests, and are deleted.
fn wave(stage: &Stage, number: usize) -> anyhow::Result<Vec<Visit>> {
    let marks = marks(stage)?;
    let names: Vec<String> = (0..WAVE).map(|at| format!("visitor-{number}-{at}")).collect();
    let manifests: Vec<String> =
        names.iter().enumerate().map(|(at, name)| manifest(name, at % 2 + 1)).collect();
    stage.cluster.apply(&manifests.join("\n---\n"))?;
    stage.cluster.wait(CHURN, &["--for=jsonpath={.status.phase}=Succeeded", "pod", "--all"], 180)?;
    let mut visits = BTreeMap::new();
    for name in &names {
        let said = stage.cluster.kubectl(&["--namespace", CHURN, "logs", name])?;
        let load = serde_json::from_str(&said).with_context(|| format!("the report of {name}: {said}"))?;
        visits.insert(format!("{CHURN}/{name}"), Visit { load, logged: 0 });
    }
    for request in requests(stage, &marks)? {
        if let Some(visit) = visits.get_mut(&request.source) {
            visit.logged += 1;
        }
    }
    stage.cluster.kubectl(&["--namespace", CHURN, "delete", "pod", "--all"])?;
    Ok(visits.into_values().collect())
}

fn manifest(name: &str, node: usize) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: {CHURN}}}, spec: {{restartPolicy: Never, \
         terminationGracePeriodSeconds: 1, nodeSelector: {{kubernetes.io/hostname: node-{node}}}, containers: [{{name: \
         bookinfo, image: 'weir.dev/bookinfo:0.1.0', args: [load, --requests, '{REQUESTS}', --pause-ms, '{PAUSE_MS}', \
         'http://answerer.drill:9080/']}}]}}}}"
    )
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or_default()
}
