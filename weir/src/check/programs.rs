//! Weir's own programs: whether they are there, ready, led, and of one release.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::finding::{Area, Finding};
use super::nodes;
use super::observed::Observed;

pub(super) const TRUST_BUNDLE: &str = "weir-trust-bundle";
pub(super) const LEASE: &str = "weir-operator";
/// A holder renews its Lease every 2 s; much longer, and nobody holds it, whatever the clocks' difference.
const STALE_LEASE: i64 = 60;
const PROGRAMS: &[&str] = &["mesh-operator", "cert-authority", "mesh-node"];

pub(super) fn findings(observed: &Observed) -> Vec<Finding> {
    let namespace = &observed.namespace;
    let mut findings = Vec::new();
    if let Err(why) = observed.deployments.known() {
        findings.push(Finding::unseen(Area::Programs, &format!("deployments in {namespace}"), why));
    }
    if !observed.installed() {
        if findings.is_empty() && observed.daemon_sets.known().is_ok() {
            findings.push(not_installed(observed));
        }
        return findings;
    }
    if let Err(why) = observed.pods.known() {
        findings.push(Finding::unseen(Area::Programs, "pods", why));
    }
    if observed.deployments.known().is_ok() {
        for (name, without) in [
            ("mesh-operator", "changes do not reach the nodes"),
            ("cert-authority", "no certificate is issued or renewed"),
        ] {
            findings.extend(deployment(observed, name, without));
        }
    }
    findings.push(leader(observed));
    findings.extend(trust_bundle(observed));
    findings.extend(mesh_node(observed));
    findings.extend(releases(observed));
    findings
}

fn not_installed(observed: &Observed) -> Finding {
    let elsewhere = observed.daemon_sets.all().iter().find(|set| {
        let labels = set.metadata.labels.as_ref();
        let part_of = labels.and_then(|labels| labels.get("app.kubernetes.io/part-of"));
        set.metadata.name.as_deref() == Some("mesh-node") && part_of.is_some_and(|whole| whole == "weir")
    });
    let namespace = &observed.namespace;
    match elsewhere.and_then(|set| set.metadata.namespace.as_deref()) {
        Some(other) => Finding::warning(
            Area::Programs,
            format!("DaemonSet {other}/mesh-node"),
            format!("Weir is installed in the namespace {other}, not in {namespace}"),
            format!("run weir check --namespace {other}"),
        ),
        None => Finding::ok(Area::Programs, format!("Weir is not installed in {namespace} yet")),
    }
}

fn deployment(observed: &Observed, name: &str, without: &str) -> Vec<Finding> {
    let namespace = &observed.namespace;
    let object = format!("Deployment {namespace}/{name}");
    let found = observed.deployments.all().iter().find(|found| found.metadata.name.as_deref() == Some(name));
    let Some(found) = found else {
        return vec![Finding::error(
            Area::Programs,
            object,
            format!("it is missing: {without}"),
            "run helm upgrade with the same release, which brings it back",
        )];
    };
    let (wanted, ready) = replicas(found);
    let mut findings = Vec::new();
    if ready == 0 {
        findings.push(Finding::error(
            Area::Programs,
            object,
            format!("none of its {wanted} replicas is ready: {without}"),
            format!("see its pods below, and kubectl -n {namespace} describe deployment {name}"),
        ));
    } else if ready < wanted {
        findings.push(Finding::warning(
            Area::Programs,
            object,
            format!("{ready} of its {wanted} replicas are ready"),
            format!("see its pods below, and kubectl -n {namespace} describe deployment {name}"),
        ));
    } else {
        findings.push(Finding::ok(Area::Programs, format!("{name}: {ready} of {wanted} replicas ready")));
    }
    findings.extend(pods_of(observed, name).filter_map(|pod| unready(observed, pod)));
    findings
}

fn replicas(deployment: &Deployment) -> (i32, i32) {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    (wanted, deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0))
}

/// The pods of one of Weir's programs.
pub(super) fn pods_of<'o>(observed: &'o Observed, program: &'o str) -> impl Iterator<Item = &'o Pod> {
    observed.pods.all().iter().filter(move |pod| {
        let labels = pod.metadata.labels.as_ref();
        let name = labels.and_then(|labels| labels.get("app.kubernetes.io/name"));
        pod.metadata.namespace.as_ref() == Some(&observed.namespace)
            && name.is_some_and(|name| name == program)
    })
}

fn is_ready(pod: &Pod) -> bool {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What keeps a pod of ours from being ready, by its own words if it has any.
fn unready(observed: &Observed, pod: &Pod) -> Option<Finding> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let answer = observed.answers.get(name).map(|answer| answer.known());
    let said = match answer {
        Some(Ok(health)) => health.unready.as_deref(),
        _ => None,
    };
    if is_ready(pod) && said.is_none() {
        return None;
    }
    let namespace = &observed.namespace;
    let object = format!("Pod {namespace}/{name}");
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let place = node.map_or_else(String::new, |node| format!(" on {node}"));
    if let Some(said) = said {
        let advice = format!("if that stays so, see kubectl -n {namespace} logs {name}");
        return Some(Finding::error(Area::Programs, object, format!("not ready{place}: {said}"), advice));
    }
    let (message, advice) = match (waiting(pod), answer) {
        (Some(waiting), _) => (waiting, format!("kubectl -n {namespace} describe pod {name}")),
        (None, Some(Err(why))) => {
            (format!("it does not answer: {why}"), format!("kubectl -n {namespace} logs {name}"))
        }
        (None, _) => {
            ("its condition Ready is not True".into(), format!("kubectl -n {namespace} describe pod {name}"))
        }
    };
    Some(Finding::error(
        Area::Programs,
        object,
        format!("not ready{place}: {message}"),
        format!("see {advice}"),
    ))
}

/// What its containers wait for, as kubelet says it.
fn waiting(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    let waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    let said = waiting.map(|waiting| {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        match waiting.message.as_deref() {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        }
    });
    let unscheduled = status.conditions.iter().flatten().filter_map(|condition| {
        let message = condition.message.as_ref()?;
        (condition.type_ == "PodScheduled" && condition.status == "False").then(|| message.clone())
    });
    said.chain(unscheduled).next()
}

fn leader(observed: &Observed) -> Finding {
    let namespace = &observed.namespace;
    let object = format!("Lease {namespace}/{LEASE}");
    let advice = format!("see kubectl -n {namespace} logs -l app.kubernetes.io/name=mesh-operator");
    let lease = match observed.lease.known() {
        Ok(Some(lease)) => lease,
        Ok(None) => {
            let message =
                "it is missing: no replica of mesh-operator leads, so nothing is written to Kubernetes";
            return Finding::error(Area::Programs, object, message, advice);
        }
        Err(why) => return Finding::unseen(Area::Programs, &format!("leases in {namespace}"), why),
    };
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref()).map(|time| time.0.as_second());
    let age = observed.now - renewed.unwrap_or_default();
    if holder.is_empty() || age > STALE_LEASE {
        let since = match (holder, renewed) {
            ("", _) | (_, None) => "nobody holds it".to_owned(),
            (holder, Some(_)) => format!("{holder} has not renewed it for {age} s"),
        };
        let message =
            format!("no replica of mesh-operator leads ({since}), so nothing is written to Kubernetes");
        return Finding::error(Area::Programs, object, message, advice);
    }
    Finding::ok(Area::Programs, format!("mesh-operator is led by {holder}"))
}

fn trust_bundle(observed: &Observed) -> Option<Finding> {
    let name = format!("{}/{TRUST_BUNDLE}", observed.namespace);
    let object = format!("ConfigMap {name}");
    let map = match observed.config_map(&name)?.known() {
        Ok(map) => map,
        Err(why) => return Some(Finding::unseen(Area::Programs, &object, why)),
    };
    let bundle = map.as_ref().and_then(|map| map.data.as_ref()?.get("bundle.pem"));
    if bundle.is_some_and(|bundle| bundle.contains("BEGIN CERTIFICATE")) {
        return None;
    }
    let what = if map.is_some() { "it holds no certificate in bundle.pem" } else { "it is missing" };
    Some(Finding::error(
        Area::Programs,
        object,
        format!("{what}: Weir's programs cannot know the cert-authority, and wait for it"),
        format!(
            "cert-authority writes it when it starts: see kubectl -n {} logs deploy/cert-authority",
            observed.namespace
        ),
    ))
}

fn mesh_node(observed: &Observed) -> Vec<Finding> {
    let namespace = &observed.namespace;
    let object = format!("DaemonSet {namespace}/mesh-node");
    if let Err(why) = observed.daemon_sets.known() {
        return vec![Finding::unseen(Area::Programs, "daemonsets", why)];
    }
    let Some(set) = observed.mesh_node() else {
        return vec![Finding::error(
            Area::Programs,
            object,
            "it is missing: no pod's traffic is captured, and that of pods captured before is refused",
            "run helm upgrade with the same release, which brings it back",
        )];
    };
    let status = set.status.clone().unwrap_or_default();
    let (wanted, ready) = (status.desired_number_scheduled, status.number_ready);
    let mut findings = Vec::new();
    if ready < wanted {
        findings.push(Finding::error(
            Area::Programs,
            object.as_str(),
            format!(
                "it is ready on {ready} of {wanted} nodes; the captured traffic of the others may be refused"
            ),
            "see its pods below",
        ));
    } else if wanted == 0 {
        findings.push(Finding::error(
            Area::Programs,
            object.as_str(),
            "it runs on no node",
            "correct the chart's values node.nodeSelector and node.tolerations",
        ));
    } else {
        findings.push(Finding::ok(Area::Programs, format!("mesh-node: ready on {ready} of {wanted} nodes")));
    }
    findings.extend(pods_of(observed, "mesh-node").filter_map(|pod| unready(observed, pod)));
    if observed.pods.known().is_ok() {
        findings.extend(nodes_without(observed, &object));
    }
    findings
}

fn nodes_without(observed: &Observed, object: &str) -> Option<Finding> {
    let with: BTreeSet<&str> =
        pods_of(observed, "mesh-node").filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()).collect();
    let linux = observed.nodes.all().iter().filter(|node| nodes::is_linux(node));
    let without: Vec<&str> =
        linux.filter_map(|node| node.metadata.name.as_deref()).filter(|name| !with.contains(name)).collect();
    (!without.is_empty()).then(|| {
        Finding::warning(
            Area::Programs,
            object,
            format!("no mesh-node is on {}: pods there are not in the mesh", without.join(", ")),
            "if they should be, correct the chart's values node.nodeSelector and node.tolerations",
        )
    })
}

/// The tags of the programs' images, against each other and this program.
fn releases(observed: &Observed) -> Option<Finding> {
    let mut tags: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let deployments = observed.deployments.all().iter().filter_map(|deployment| {
        Some((deployment.metadata.name.as_deref()?, deployment.spec.as_ref()?.template.spec.as_ref()?))
    });
    let sets = observed
        .mesh_node()
        .into_iter()
        .filter_map(|set| Some(("mesh-node", set.spec.as_ref()?.template.spec.as_ref()?)));
    let wanted = deployments.chain(sets).filter(|(name, _)| PROGRAMS.contains(name));
    let running = PROGRAMS.iter().flat_map(|program| {
        pods_of(observed, program).filter_map(|pod| Some((*program, pod.spec.as_ref()?)))
    });
    for (program, spec) in wanted.chain(running) {
        tags.entry(program).or_default().extend(image_tag(program, spec));
    }
    let all: BTreeSet<&str> = tags.values().flatten().copied().collect();
    let cli = observed.cli_version.as_str();
    if all.iter().all(|tag| tag.strip_prefix('v').unwrap_or(tag) == cli) {
        return all.first().map(|tag| Finding::ok(Area::Programs, format!("images of {tag}, as this weir")));
    }
    let each = tags.iter().map(|(program, tags)| {
        format!("{program} {}", tags.iter().copied().collect::<Vec<_>>().join(" and "))
    });
    let message = format!(
        "images and this weir ({cli}) are not of one release: {}",
        each.collect::<Vec<_>>().join(", ")
    );
    let advice = match all.len() {
        1 => "use the weir of that release",
        _ => "wait for the upgrade to end, or run helm upgrade with one value of images.tag",
    };
    Some(Finding::warning(Area::Programs, "", message, advice))
}

fn image_tag<'p>(program: &str, spec: &'p PodSpec) -> Option<&'p str> {
    let container = spec.containers.iter().find(|container| container.name == program)?;
    let name = container.image.as_deref()?.rsplit('/').next()?;
    Some(name.split_once('@').map_or(name, |(name, _)| name).split_once(':')?.1)
}
