//! Pods of every kind in a namespace in Strict: every probe, a Job, a StatefulSet behind a headless Service, an init
//! container, several containers, a pod that dials itself by its Service, and one on the node's own network.

use std::collections::BTreeMap;

use weir_tests::cluster::log::{self, Mark};
use weir_tests::lab::access_log::{Line, Request};
use weir_tests::steps::outcome::Outcome;
use weir_tests::steps::show::Show;

use super::routes::first_unready;
use crate::load::in_words;
use crate::stage::Stage;

const KINDS: &str = "kinds";

pub(crate) fn kinds(stage: &mut Stage, show: Show) -> anyhow::Result<Outcome> {
    let marks = marks(stage)?;
    stage.cluster.apply(include_str!("../../../../cluster/manifests/kinds.yaml"))?;
    let ready = ["pod/probed", "pod/prepared", "pod/selfish", "pod/guest"];
    stage.cluster.wait(KINDS, &[&["--for=condition=Ready"][..], &ready].concat(), 90)?;
    stage.cluster.kubectl(&[
        "--namespace",
        KINDS,
        "rollout",
        "status",
        "statefulset/store",
        "--timeout=60s",
    ])?;
    stage.cluster.wait(KINDS, &["--for=condition=Complete", "job/errand"], 60)?;
    let mut outcome = Outcome::default();
    reached(stage, show, &mut outcome)?;
    alone(stage, show, &mut outcome)?;
    probes(stage, show, &mut outcome)?;
    let requests = requests(stage, &marks)?;
    for (what, source) in [
        ("a Job", "kinds/errand-"),
        ("an init container", "kinds/prepared"),
        ("a pod that dials itself by its Service", "kinds/selfish"),
    ] {
        let count = requests.iter().filter(|request| request.source.starts_with(source)).count();
        show.progress(&format!("{what}: {count} requests in the access log"));
        outcome.claim(&format!("the requests of {what} went through the mesh"), count > 0);
    }
    let of_guest = requests.iter().filter(|request| request.source == "kinds/guest").count();
    outcome.claim("a pod on the node's network is left alone", of_guest == 0);
    outcome.figure = "http, tcp, grpc, exec; Job, StatefulSet, init, hostNetwork".to_owned();
    stage.cluster.kubectl(&["delete", "namespace", KINDS])?;
    Ok(outcome)
}

/// Each from both nodes.
fn reached(stage: &Stage, show: Show, outcome: &mut Outcome) -> anyhow::Result<()> {
    for (url, pod) in [
        ("http://store-0.store.kinds:9080/", Some("store-0")),
        ("http://store-1.store.kinds:9080/", Some("store-1")),
        ("http://probed.kinds:9080/", Some("probed")),
        ("http://probed.kinds:9081/", Some("probed")),
        ("http://guest.kinds:19080/", None),
    ] {
        for caller in ["caller-1", "caller-2"] {
            let (node, from) = stage.drill(caller)?;
            let load = node.load(from, &["--requests", "20", url])?;
            show.progress(&format!("{caller} to {url}: {}", in_words(&load)));
            outcome.claim(&format!("{caller} reaches {url}"), load.is_all_200());
            let expected = pod.is_none_or(|pod| load.from_pod(pod) == load.requests);
            outcome.claim(&format!("{url} is answered by its pod"), expected);
        }
    }
    Ok(())
}

fn alone(stage: &Stage, show: Show, outcome: &mut Outcome) -> anyhow::Result<()> {
    let selfish = stage.cluster.pod(KINDS, "selfish")?;
    // With its namespace: the bare name is the pod's own address in its hosts file.
    let own =
        stage.node(&selfish.node)?.load(&selfish, &["--requests", "20", "http://selfish.kinds:9080/"])?;
    show.progress(&format!("selfish to its own Service: {}", in_words(&own)));
    outcome.claim(
        "a pod reaches itself by its Service",
        own.is_all_200() && own.from_pod("selfish") == own.requests,
    );
    let guest = stage.cluster.pod(KINDS, "guest")?;
    let url = "http://details.bookinfo:9080/details/0";
    let plain = stage.node(&guest.node)?.load(&guest, &["--requests", "20", url])?;
    show.progress(&format!("guest, on the network of {}, to {url}: {}", guest.node, in_words(&plain)));
    outcome.claim("a pod on the node's network reaches the mesh as one outside of it", plain.is_all_200());
    Ok(())
}

fn probes(stage: &Stage, show: Show, outcome: &mut Outcome) -> anyhow::Result<()> {
    let before = stage.cluster.pod(KINDS, "probed")?;
    // All probes of the namespace but those that must fail run once or twice a second.
    let unready = {
        stage.cluster.kubectl(&[
            "--namespace",
            KINDS,
            "wait",
            "--for=condition=Ready=false",
            "pod/deaf",
            "--timeout=5s",
        ])?;
        first_unready(stage, "kinds", "--field-selector=metadata.name=probed")?
    };
    let deaf = stage.cluster.pod(KINDS, "deaf")?;
    let probed = stage.cluster.pod(KINDS, "probed")?;
    for (name, container) in &probed.containers {
        show.progress(&format!("{name} probe: ready {}, {} restarts", container.ready, container.restarts));
    }
    for (name, container) in &deaf.containers {
        show.progress(&format!("{name} probe of a port without a listener: ready {}", container.ready));
        outcome.claim(&format!("a {name} probe of a port without a listener fails"), !container.ready);
    }
    outcome.claim("HTTP, TCP, gRPC and exec probes pass under Strict", unready.is_none());
    outcome.claim(
        "no probe has had a container started anew",
        probed.restarts() == before.restarts() && probed.restarts() == 0,
    );
    Ok(())
}

pub(super) fn marks(stage: &Stage) -> anyhow::Result<BTreeMap<String, Mark>> {
    let mark = |(name, node): (&String, _)| Ok((name.clone(), Mark::end_of(node)?));
    stage.nodes.iter().map(mark).collect()
}

/// The requests that the nodes have logged since.
pub(super) fn requests(stage: &Stage, marks: &BTreeMap<String, Mark>) -> anyhow::Result<Vec<Request>> {
    let mut requests = Vec::new();
    for (name, node) in &stage.nodes {
        let mark = marks.get(name).cloned().unwrap_or_default();
        requests.extend(log::since(node, &mark)?.iter().filter_map(Line::request).cloned());
    }
    Ok(requests)
}
