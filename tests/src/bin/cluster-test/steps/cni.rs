//! The CNI plugin: with it no pod starts outside of the mesh, none starts while there is no mesh-node, and it goes when it is
//! no longer wanted.

use std::time::Duration;

use weir_tests::cluster::command;
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;
use weir_tests::wait;

use crate::stage::{Stage, WEIR};

const PODS: u32 = 50;
const SOON: Duration = Duration::from_secs(60);
const CONFIGURATION: &str = "/etc/cni/net.d/10-bridge.conflist";

/// Pods whose first instruction dials, without the plugin and with it.
pub(crate) fn none_starts_outside(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let without = not_captured(stage, "without-plugin")?;
    upgrade(stage, "cni.enabled=true")?;
    let with = not_captured(stage, "with-plugin")?;
    show.progress(&format!(
        "of {PODS} pods not captured when they first dialled: {without} without it, {with} with it"
    ));
    let mut outcome = Outcome::default();
    outcome
        .claim("the plugin is in every node's configuration", has_plugin(stage)?.len() == stage.nodes.len());
    outcome.claim("with the plugin every pod is captured when it first dials", with == 0);
    outcome.figure = format!("{with} of {PODS} not captured at first; {without} without it");
    outcome.figure("notCapturedWithPlugin", with);
    outcome.figure("notCapturedWithoutPlugin", without);
    Ok(outcome)
}

pub(crate) fn pods_wait(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let cluster = &stage.cluster;
    let weir = |arguments: &[&str]| cluster.kubectl(&[&["--namespace", WEIR][..], arguments].concat());
    let none = "{\"spec\":{\"template\":{\"spec\":{\"nodeSelector\":{\"weir.test/none\":\"here\"}}}}}";
    weir(&["patch", "daemonset", "mesh-node", "--type=merge", "--patch", none])?;
    weir(&["wait", "--for=delete", "pod", "--selector=app.kubernetes.io/name=mesh-node", "--timeout=60s"])?;
    let outside =
        |arguments: &[&str]| cluster.kubectl(&[&["--namespace", "outside"][..], arguments].concat());
    outside(&["run", "waits", "--image=weir.dev/bookinfo:0.1.0", "--restart=Never", "--", "echo"])?;
    let mut events = cluster.watch(&["--namespace", "outside", "get", "events"])?;
    let said = events
        .until("the kubelet to say why the pod waits", SOON, |line| line.contains("no mesh-node answers"))?;
    show.progress(&said);
    let phase = outside(&["get", "pod", "waits", "--output=jsonpath={.status.phase}"])?;
    // Of a namespace that the mesh needs.
    cluster.kubectl(&["--namespace=kube-system", "rollout", "restart", "deployment/coredns"])?;
    cluster.kubectl(&[
        "--namespace=kube-system",
        "rollout",
        "status",
        "deployment/coredns",
        "--timeout=90s",
    ])?;
    let back = "[{\"op\":\"remove\",\"path\":\"/spec/template/spec/nodeSelector/weir.test~1none\"}]";
    weir(&["patch", "daemonset", "mesh-node", "--type=json", "--patch", back])?;
    weir(&["rollout", "status", "daemonset/mesh-node", "--timeout=120s"])?;
    cluster.wait("outside", &["--for=condition=Ready", "pod/waits"], 90)?;
    outside(&["delete", "pod", "waits", "--grace-period=1"])?;
    let mut outcome = Outcome::default();
    outcome.claim("without a mesh-node a pod waits", phase == "Pending");
    outcome.figure = "pods wait, CoreDNS does not, and start when it is back".to_owned();
    Ok(outcome)
}

/// Disabled, and enabled again: for the removal of the mesh to take it off as well.
pub(crate) fn is_taken_off(stage: &mut Stage, _: Show) -> anyhow::Result<Outcome> {
    upgrade(stage, "cni.enabled=false")?;
    let left =
        wait::until("the plugin to be taken off", SOON, || Ok(has_plugin(stage)?.is_empty().then_some(())));
    upgrade(stage, "cni.enabled=true")?;
    let there = wait::until("the plugin to be back", SOON, || {
        Ok((has_plugin(stage)?.len() == stage.nodes.len()).then_some(()))
    });
    let mut outcome = Outcome::default();
    outcome.claim("the disabled plugin is taken off every node", left.is_ok());
    outcome.claim("the enabled one is on every node", there.is_ok());
    outcome.figure = "off and on again".to_owned();
    Ok(outcome)
}

/// The nodes that have the plugin, or anything of it.
pub(super) fn has_plugin(stage: &Stage) -> Result<Vec<String>, weir_tests::error::Error> {
    let mut having = Vec::new();
    for (name, node) in &stage.nodes {
        let configured = node.said("cat", &[CONFIGURATION])?.contains("mesh-cni");
        if configured || node.said("ls", &["/opt/cni/bin"])?.contains("mesh-cni") {
            having.push(name.clone());
        }
    }
    Ok(having)
}

/// In Strict, what is not captured is refused: a pod whose first instruction dials says by its end whether it was.
fn not_captured(stage: &Stage, name: &str) -> anyhow::Result<u32> {
    stage.cluster.apply(&format!(
        "{{apiVersion: batch/v1, kind: Job, metadata: {{name: {name}, namespace: drill}}, spec: {{completions: {PODS}, \
         parallelism: 5, backoffLimit: 200, template: {{spec: {{restartPolicy: Never, containers: [{{name: dial, image: \
         'weir.dev/bookinfo:0.1.0', args: [get, 'http://answerer:9080/']}}]}}}}}}}}"
    ))?;
    let job = format!("job/{name}");
    stage.cluster.wait("drill", &["--for=condition=Complete", &job], 240)?;
    let failed =
        stage.cluster.kubectl(&["--namespace=drill", "get", &job, "--output=jsonpath={.status.failed}"])?;
    stage.cluster.kubectl(&["--namespace=drill", "delete", &job])?;
    Ok(failed.trim().parse().unwrap_or_default())
}

fn upgrade(stage: &Stage, value: &str) -> anyhow::Result<()> {
    let chart = Stage::script("../../charts/weir").display().to_string();
    let flags = ["--namespace", WEIR, "--reuse-values", "--set", value, "--wait", "--timeout", "3m"];
    command::said(stage.cluster.command("helm").args(["upgrade", "weir", &chart]).args(flags))?;
    Ok(())
}
