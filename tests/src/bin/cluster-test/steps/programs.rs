//! The mesh's own programs, killed while requests run.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir_tests::cluster::pod::Pod;
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;
use weir_tests::wait;

use crate::load::EVERYWHERE;
use crate::stage::{DRILL, Stage, WEIR};

/// A new leader has this long.
const LEADER_WITHIN: Duration = Duration::from_secs(15);
/// How long the tests wait before something is taken to have failed.
const PATIENCE: Duration = Duration::from_secs(60);
const HOLDER: &str = "--output=jsonpath={.spec.holderIdentity}{\"\\n\"}";

pub(crate) fn operator(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let lease = ["--namespace", WEIR, "get", "lease", "weir-operator", HOLDER];
    let holder = stage.cluster.kubectl(&lease)?.trim().to_owned();
    let pods = stage.cluster.pods(WEIR, "app.kubernetes.io/name=mesh-operator")?;
    let leader = pods.iter().find(|pod| holder.contains(&pod.name));
    let leader =
        leader.ok_or_else(|| anyhow::anyhow!("no pod is called {holder:?}, which holds the lease"))?;
    let running = stage.start(&EVERYWHERE)?;
    let mut watch = stage.cluster.watch(&lease)?;
    let killed = Instant::now();
    kill_hard(stage, leader)?;
    // It does not come back under its name.
    let force = ["--force", "--grace-period=0", "--wait=false"];
    stage.cluster.kubectl(&[&["--namespace", WEIR, "delete", "pod", &leader.name][..], &force].concat())?;
    let is_new = |line: &str| !line.is_empty() && line != holder;
    let next = watch.until("another leader", PATIENCE, is_new)?;
    let took = killed.elapsed();
    show.progress(&format!("{holder} killed; {next} leads after {:.1} s", took.as_secs_f64()));
    let writes = route_is_accepted(stage, "after-operator")?;
    show.progress(&format!("a new route has its status {:.1} s after it was made", writes.as_secs_f64()));
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
    outcome.claim("another replica leads within 15 s", took <= LEADER_WITHIN);
    loads.claim_none_failed(&mut outcome);
    outcome.figure = format!(
        "new leader after {:.1} s, {} of {} requests failed",
        took.as_secs_f64(),
        loads.failed(),
        loads.requests()
    );
    outcome.figure("newLeaderAfterSeconds", took.as_secs_f64());
    outcome.figure("newRouteAcceptedAfterSeconds", writes.as_secs_f64());
    Ok(outcome)
}

pub(crate) fn authority(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let scale = |replicas: &str| {
        let replicas = format!("--replicas={replicas}");
        stage.cluster.kubectl(&["--namespace", WEIR, "scale", "deployment/cert-authority", &replicas])
    };
    let pod = stage.cluster.only_pod(WEIR, "app.kubernetes.io/name=cert-authority")?;
    let running = stage.start(&EVERYWHERE)?;
    scale("0")?;
    kill_hard(stage, &pod)?;
    stage.cluster.wait(WEIR, &["--for=delete", &format!("pod/{}", pod.name)], 60)?;
    // An account that no node has a certificate of.
    stage.bring_up(include_str!("../../../../cluster/manifests/newcomer.yaml"), DRILL)?;
    let newcomer = stage.cluster.pod(DRILL, "newcomer")?;
    let node = stage.node(&newcomer.node)?;
    // Across the nodes: within one, the kernel says who a pod is.
    let get = || node.get(&newcomer, &["--timeout", "3", "http://answerer-2.drill:9080/"]);
    let without = get()?;
    let why = node.captured(&newcomer, 2).err().map(|error| error.to_string()).unwrap_or_default();
    show.progress(&format!("without a cert-authority a new pod is served nothing ({})", without.status()));
    show.progress(why.lines().last().unwrap_or_default());
    scale("1")?;
    stage.cluster.kubectl(&[
        "--namespace",
        WEIR,
        "rollout",
        "status",
        "deployment/cert-authority",
        "--timeout=60s",
    ])?;
    let back = Instant::now();
    wait::until("the new pod to get its identity", PATIENCE, || Ok((get()?.status() == 200).then_some(())))?;
    let took = back.elapsed();
    show.progress(&format!(
        "with its identity {:.1} s after the cert-authority was ready",
        took.as_secs_f64()
    ));
    let loads = running.finish()?;
    stage.cluster.kubectl(&["--namespace", DRILL, "delete", "pod", "newcomer"])?;
    let mut outcome = Outcome::default();
    outcome.claim("a pod without identity is served nothing", without.status() != 200);
    outcome.claim("it is said that the pod waits for its certificate", why.contains("certificate"));
    outcome.claim(
        "it gets its identity within 15 s of the cert-authority's return",
        took <= Duration::from_secs(15),
    );
    loads.claim_none_failed(&mut outcome);
    outcome.figure = format!(
        "{} of {} requests failed; a new pod has its identity {:.1} s after",
        loads.failed(),
        loads.requests(),
        took.as_secs_f64()
    );
    outcome.figure("identityAfterSeconds", took.as_secs_f64());
    Ok(outcome)
}

/// SIGKILL, from the node.
pub(super) fn kill_hard(stage: &Stage, pod: &Pod) -> anyhow::Result<()> {
    for process in stage.node(&pod.node)?.processes_of(pod)? {
        kill(Pid::from_raw(i32::try_from(process)?), Signal::SIGKILL)?;
    }
    Ok(())
}

/// How long a new route waits for its status.
pub(super) fn route_is_accepted(stage: &Stage, name: &str) -> anyhow::Result<Duration> {
    let made = Instant::now();
    stage.cluster.apply(&format!(
        "{{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {{name: {name}, namespace: {DRILL}}}, spec: \
         {{parentRefs: [{{group: '', kind: Service, name: answerer-1, port: 9080}}], rules: [{{backendRefs: [{{name: \
         answerer-1, port: 9080}}]}}]}}}}"
    ))?;
    let accepted = "--for=jsonpath={.status.parents[0].conditions[?(@.type==\"Accepted\")].status}=True";
    let route = format!("httproute/{name}");
    stage.cluster.wait(DRILL, &[accepted, &route], 60)?;
    let took = made.elapsed();
    stage.cluster.kubectl(&["--namespace", DRILL, "delete", &route])?;
    Ok(took)
}
