//! The mesh, taken away: the nodes are as they were, and the sample goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_tests::cluster::command;
use weir_tests::cluster::footprint::{self, Footprint, KernelObject};
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;
use weir_tests::wait;

use crate::stage::{Stage, WEIR};

/// What the kernel frees late.
const GONE_WITHIN: Duration = Duration::from_secs(20);
/// Helm does not wait for the pods of the jobs that it deletes.
const OBJECTS_GONE_WITHIN: Duration = Duration::from_secs(40);
/// Of the rule in each captured pod's network namespace.
const RULE_PRIORITY: u32 = 15006;
/// What a footprint counts beside what the mesh brings, and pods change.
const OF_PODS: [&str; 2] = ["network namespaces", "links"];
/// What the chart keeps on purpose, and says so.
const KEPT: &str = "secret/weir-ca";

pub(crate) fn uninstall(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let mut held: BTreeSet<KernelObject> = BTreeSet::new();
    for node in stage.nodes.values() {
        held.extend(footprint::kernel_objects(node)?);
    }
    command::said(stage.cluster.command("helm").args([
        "uninstall",
        "weir",
        "--namespace",
        WEIR,
        "--timeout",
        "5m",
    ]))?;
    let mut outcome = Outcome::default();
    outcome.claim("the mesh held programs, links and maps", held.len() > 10);
    sample_answers(stage, show, &mut outcome)?;
    let mut left = Vec::new();
    let clean = wait::until("the nodes to be as they were", GONE_WITHIN, || {
        left = on_nodes(stage, &held)?;
        Ok(left.is_empty().then_some(()))
    });
    let mut objects = Vec::new();
    // Whether they go in time is what is claimed of `left`.
    _ = wait::until("helm's own jobs to be gone", OBJECTS_GONE_WITHIN, || {
        objects = in_cluster(stage)?;
        Ok(objects.is_empty().then_some(()))
    });
    left.extend(objects);
    left.extend(super::cni::has_plugin(stage)?.into_iter().map(|node| format!("{node}: the CNI plugin")));
    let what_it_says = remove_what_is_kept(stage)?;
    left.extend(what_it_says);
    for what in &left {
        show.progress(&format!("left: {what}"));
    }
    show.progress(&format!("{} programs, links and maps were in the kernel, none is", held.len()));
    outcome.claim("nothing is left on the nodes", clean.is_ok());
    outcome.claim(&format!("nothing is left ({left:?})"), left.is_empty());
    outcome.figure = format!("{} things left; the sample answers", left.len());
    outcome.figure("kernelObjectsBefore", held.len());
    outcome.figure("left", serde_json::json!(left));
    Ok(outcome)
}

fn sample_answers(stage: &Stage, show: Show, outcome: &mut Outcome) -> anyhow::Result<()> {
    for (namespace, selector, url) in [
        ("bookinfo", "app=productpage", "http://reviews.bookinfo:9080/reviews/0"),
        ("outside", "app=client", "http://details.bookinfo:9080/details/0"),
    ] {
        let pod = stage.cluster.only_pod(namespace, selector)?;
        let load = stage.node(&pod.node)?.load(&pod, &["--requests", "100", url])?;
        show.progress(&format!("{} to {url}: {:?}", pod.name, load.status));
        outcome.claim(&format!("{} goes on", pod.name), load.is_all_200());
    }
    Ok(())
}

fn on_nodes(stage: &Stage, held: &BTreeSet<KernelObject>) -> Result<Vec<String>, weir_tests::error::Error> {
    let mut left = Vec::new();
    for (name, node) in &stage.nodes {
        let now = Footprint::of(node)?;
        // Where the cluster was not seen without the mesh, what bears its name must not be there.
        let bare = stage.bare.get(name).cloned().unwrap_or_else(|| {
            let ours = |what: &str| what.contains("weir") || what.contains("pin") || what.contains("15006");
            Footprint(
                now.0
                    .iter()
                    .filter(|(what, _)| !ours(what))
                    .map(|(what, count)| (what.clone(), *count))
                    .collect(),
            )
        });
        let grown =
            bare.grown(&now).into_iter().filter(|what| !OF_PODS.iter().any(|pods| what.starts_with(pods)));
        left.extend(grown.map(|what| format!("{name}: {what}")));
        let folder = node.said("find", &["/run/weir", "-mindepth", "1"]).unwrap_or_default();
        left.extend(folder.lines().map(|path| format!("{name}: {path}")));
        for process in footprint::pods_with_rules(node, RULE_PRIORITY)? {
            left.push(format!("{name}: a rule in the network namespace of process {process}"));
        }
    }
    if let Some(node) = stage.nodes.values().next() {
        let objects = footprint::still_there(node, held)?;
        left.extend(objects.iter().map(|object| format!("the kernel: {} {}", object.kind, object.id)));
    }
    Ok(left)
}

/// Objects of ours that helm should have taken away.
fn in_cluster(stage: &Stage) -> Result<Vec<String>, weir_tests::error::Error> {
    let mut left = Vec::new();
    let kinds = "all,configmaps,secrets,serviceaccounts,roles,rolebindings,leases,networkpolicies,poddisruptionbudgets";
    let own = stage.cluster.kubectl(&["--namespace", WEIR, "get", kinds, "--output=name"])?;
    // Kubernetes makes these in every namespace.
    let of_kubernetes = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
    left.extend(own.lines().filter(|name| *name != KEPT && !of_kubernetes.contains(name)).map(str::to_owned));
    let wide = "clusterroles,clusterrolebindings,gatewayclasses,validatingwebhookconfigurations,mutatingwebhookconfigurations";
    let all = stage.cluster.kubectl(&["get", wide, "--output=name"])?;
    left.extend(all.lines().filter(|name| name.contains("weir")).map(str::to_owned));
    Ok(left)
}

/// The commands that the README gives to remove the rest; what still bears the mesh's name then.
fn remove_what_is_kept(stage: &Stage) -> anyhow::Result<Vec<String>> {
    stage.cluster.kubectl(&["delete", "namespace", WEIR])?;
    stage.cluster.kubectl(&["delete", "crd", "--selector=app.kubernetes.io/part-of=weir"])?;
    let all = stage.cluster.kubectl(&["get", "crd,namespaces", "--output=name"])?;
    Ok(all.lines().filter(|name| name.contains("weir")).map(str::to_owned).collect())
}
