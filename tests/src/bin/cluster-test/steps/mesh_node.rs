//! A node without its mesh-node: what it captured is refused until there is one again, and never sent in clear.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir_tests::cluster::node::Node;
use weir_tests::error::Error;
use weir_tests::lab::client::Load;
use weir_tests::link::capture::Capture;
use weir_tests::link::verdict::Verdict;
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;
use weir_tests::wait;

use crate::load::{EVERYWHERE, Way, in_words};
use crate::stage::{DRILL, Stage, WEIR};

/// The node whose mesh-node is killed.
const NODE: &str = "node-2";
/// Every mesh-node that starts within this time is killed too: a kubelet starts the first one anew at once.
const WITHOUT: Duration = Duration::from_secs(5);
/// It works again within this time of its return.
const BACK_WITHIN_MS: f64 = 2000.0;
/// A kubelet lets a program that ends again and again wait, ten seconds at first.
const PATIENCE: Duration = Duration::from_secs(60);
const WAYS: [Way; 4] = [
    // Captured on the node, to a pod on each.
    Way { from: "caller-2", to: "http://answerer-1.drill:9080/" },
    Way { from: "caller-2", to: "http://answerer-2.drill:9080/" },
    // From the other node, to pods on each.
    Way { from: "caller-1", to: "http://answerer-2.drill:9080/" },
    Way { from: "caller-1", to: "http://answerer-1.drill:9080/" },
];

pub(crate) fn killed(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let addresses: BTreeSet<IpAddr> = stage.addresses(&[DRILL])?;
    let node = stage.node(NODE)?;
    let running = stage.start(&WAYS)?;
    let captures = [stage.capture_lan()?, Capture::start(&node.netns(), "cni0")?];
    let mut last = one(node, None, PATIENCE)?;
    let mut kills = 0;
    let begun = Instant::now();
    let gone = loop {
        kill(Pid::from_raw(i32::try_from(last)?), Signal::SIGKILL)?;
        kills += 1;
        let gone = since_1970();
        match one(node, Some(last), WITHOUT.saturating_sub(begun.elapsed())) {
            Ok(next) => last = next,
            Err(Error::Timeout { .. }) => break gone,
            Err(error) => return Err(error.into()),
        }
    };
    one(node, Some(last), PATIENCE)?;
    let back = since_1970();
    show.progress(&format!(
        "killed {kills} times; {:.1} s without a mesh-node after the last one",
        back - gone
    ));
    stage.cluster.kubectl(&[
        "--namespace",
        WEIR,
        "rollout",
        "status",
        "daemonset/mesh-node",
        "--timeout=60s",
    ])?;
    for way in &WAYS {
        let (node, pod) = stage.drill(way.from)?;
        wait::until("requests to be answered again", PATIENCE, || {
            Ok((node.get(pod, &["--timeout", "2", way.to])?.status() == 200).then_some(()))
        })?;
    }
    let loads = running.finish()?;
    let mut outcome = Outcome::default();
    let mut clear = 0;
    for (capture, place) in captures.into_iter().zip(["the LAN", "the node's bridge"]) {
        let verdict = Verdict::of(&capture.stop()?, &addresses);
        show.progress(&format!(
            "on {place}: {} frames with payload, in clear: {}",
            verdict.frames_with_payload,
            verdict.clear_in_words()
        ));
        outcome.claim(&format!("nothing is sent in clear on {place}"), verdict.clear.is_empty());
        clear += verdict.clear.len();
    }
    let mut slowest: f64 = 0.0;
    for (way, load) in &loads.0 {
        show.progress(&format!(
            "{} to {}: {}; longest gap {:.0} ms",
            way.from,
            way.to,
            in_words(load),
            load.longest_gap.ms
        ));
        if way.from == "caller-1" && way.to.contains("answerer-1") {
            outcome.claim("pods of the other node among themselves notice nothing", load.is_all_200());
            continue;
        }
        outcome.claim(
            &format!("from {} to {} requests were refused meanwhile", way.from, way.to),
            refused(load) > 0,
        );
        let after = load.longest_gap.ended.map(|ended| (ended - back) * 1000.0);
        let works = after.is_some_and(|after| after <= BACK_WITHIN_MS);
        outcome.claim(
            &format!("from {} to {} it works within 2 s of its return ({after:?} ms)", way.from, way.to),
            works,
        );
        slowest = slowest.max(after.unwrap_or(f64::INFINITY));
    }
    outcome.figure = format!("works {slowest:.0} ms after its return, {clear} frames in clear");
    outcome.figure("kills", kills);
    outcome.figure("secondsWithout", back - gone);
    outcome.figure("worksAfterMs", slowest);
    outcome.figure("framesInClear", clear);
    Ok(outcome)
}

/// Every mesh-node replaced, one after another, as an upgrade does it.
pub(crate) fn rolled_out(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let running = stage.start(&EVERYWHERE)?;
    stage.cluster.kubectl(&["--namespace", WEIR, "rollout", "restart", "daemonset/mesh-node"])?;
    stage.cluster.kubectl(&[
        "--namespace",
        WEIR,
        "rollout",
        "status",
        "daemonset/mesh-node",
        "--timeout=120s",
    ])?;
    for way in &EVERYWHERE {
        let (node, pod) = stage.drill(way.from)?;
        wait::until("requests to be answered again", PATIENCE, || {
            Ok((node.get(pod, &["--timeout", "2", way.to])?.status() == 200).then_some(()))
        })?;
    }
    let loads = running.finish()?;
    let mut outcome = Outcome::default();
    for (way, load) in &loads.0 {
        show.progress(&format!(
            "{} to {}: {}; longest gap {:.0} ms",
            way.from,
            way.to,
            in_words(load),
            load.longest_gap.ms
        ));
        outcome.claim(&format!("from {} to {} it goes on", way.from, way.to), load.with_status(200) > 50);
    }
    outcome.figure = format!(
        "{} of {} requests failed, longest gap {:.1} s",
        loads.failed(),
        loads.requests(),
        loads.longest_gap_ms() / 1000.0
    );
    outcome.figure("requests", loads.requests());
    outcome.figure("failed", loads.failed());
    outcome.figure("longestGapMs", loads.longest_gap_ms());
    Ok(outcome)
}

/// The node's mesh-node that is not this one, once there is one.
fn one(node: &Node, other: Option<u32>, within: Duration) -> Result<u32, Error> {
    wait::until("a mesh-node to run", within, || {
        let processes = node.processes("mesh-node")?;
        Ok(processes.into_iter().find(|process| Some(*process) != other))
    })
}

fn refused(load: &Load) -> u64 {
    load.requests - load.with_status(200)
}

fn since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
