//! Which pods there should be: Deployments roll, bare pods are what their manifest says.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_compile::read::read;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::lab::layout::node_name;
use crate::lab::object::ObjectId;
use crate::lab::pod::{Owner, Pod};

/// A pod to make.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) namespace: String,
    /// The whole name, or what a random suffix follows.
    pub(crate) name: Name,
    pub(crate) owner: Owner,
    pub(crate) metadata: Value,
    pub(crate) spec: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Whole(String),
    Prefix(String),
}

/// What to do about pods.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Steps {
    pub(crate) make: Vec<Wanted>,
    /// The uids of pods to terminate.
    pub(crate) end: Vec<String>,
}

/// A Deployment as the lab reads it.
#[derive(Debug)]
pub(crate) struct Rollout<'a> {
    pub(crate) id: &'a ObjectId,
    pub(crate) uid: &'a str,
    pub(crate) value: &'a Value,
}

/// The next steps of a Deployment's rollout, given its living and terminating pods.
///
/// A new pod is made before an old one ends: at most `maxSurge` (a quarter, at least one) more than `replicas` live at
/// once, and a Ready pod ends only while `replicas` others are Ready. `Recreate` ends all old pods first.
pub(crate) fn deployment(rollout: &Rollout<'_>, pods: &[&Pod], steps: &mut Steps) {
    let Ok(deployment) = read::<Deployment>(rollout.value) else { return };
    let Some(spec) = deployment.spec else { return };
    let template = template_hash(&rollout.value["spec"]["template"]);
    let replicas = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    let is_current =
        |pod: &Pod| matches!(&pod.owner, Owner::Deployment { template: t, .. } if *t == template);
    let living = || pods.iter().copied().filter(|pod| !pod.is_terminating() && !pod.phase.is_final());
    let mut current: Vec<&Pod> = living().filter(|pod| is_current(pod)).collect();
    let mut old: Vec<&Pod> = living().filter(|pod| !is_current(pod)).collect();
    let strategy = spec.strategy.unwrap_or_default();
    let recreate = strategy.type_.as_deref() == Some("Recreate");

    // Pods whose containers have ended for good make room for new ones.
    steps
        .end
        .extend(pods.iter().filter(|p| p.phase.is_final() && !p.is_terminating()).map(|p| p.uid.clone()));
    // Those that serve least go first: not ready before ready, young before old.
    current.sort_by(|a, b| (a.ready, &b.created, &b.name).cmp(&(b.ready, &a.created, &a.name)));
    for pod in current.drain(..current.len().saturating_sub(replicas)) {
        steps.end.push(pod.uid.clone());
    }
    if recreate {
        let all_gone = pods.iter().all(|pod| is_current(pod));
        steps.end.extend(old.iter().map(|pod| pod.uid.clone()));
        if all_gone {
            make(rollout, &template, replicas - current.len(), steps);
        }
        return;
    }
    let rolling = strategy.rolling_update.unwrap_or_default();
    let surge = at_least_one(share(rolling.max_surge.as_ref(), replicas));
    let room = (replicas + surge).saturating_sub(current.len() + old.len());
    // With nothing old there is nothing to surge over.
    let missing = replicas - current.len();
    make(rollout, &template, if old.is_empty() { missing } else { missing.min(room) }, steps);

    old.sort_by(|a, b| (a.ready, &a.created, &a.name).cmp(&(b.ready, &b.created, &b.name)));
    let mut ready = current.iter().chain(&old).filter(|pod| pod.ready).count();
    for pod in old {
        if pod.ready {
            if ready <= replicas {
                break;
            }
            ready -= 1;
        }
        steps.end.push(pod.uid.clone());
    }
}

/// The next step of a bare Pod. A changed manifest makes a new pod once the old one is gone, since both bear one name.
pub(crate) fn bare(id: &ObjectId, manifest: &Value, pods: &[&Pod], steps: &mut Steps) {
    let hash = template_hash(&serde_json::json!([manifest["metadata"]["labels"], manifest["spec"]]));
    let owner = Owner::Manifest { hash };
    match pods {
        [] => steps.make.push(Wanted {
            namespace: id.space().to_owned(),
            name: Name::Whole(id.name.clone()),
            owner,
            metadata: user_metadata(&manifest["metadata"]),
            spec: manifest["spec"].clone(),
        }),
        _ => {
            let stale = pods.iter().filter(|pod| !pod.is_terminating() && pod.owner != owner);
            steps.end.extend(stale.map(|pod| pod.uid.clone()));
        }
    }
}

/// The node for a new pod: the one its spec asks for, or else the one with the fewest pods of the same Deployment, then
/// with the fewest pods.
///
/// # Errors
/// What the spec asks for and no node is.
pub(crate) fn node_for<'a>(
    spec: &Value,
    owner: &Owner,
    nodes: u8,
    pods: impl Iterator<Item = &'a Pod>,
) -> Result<u8, String> {
    let asked = spec["nodeName"].as_str().or_else(|| spec["nodeSelector"]["kubernetes.io/hostname"].as_str());
    if let Some(asked) = asked {
        return (1..=nodes)
            .find(|node| node_name(*node) == asked)
            .ok_or_else(|| format!("asks for node {asked:?}; this lab has node-1 to node-{nodes}"));
    }
    let mut load: BTreeMap<u8, (usize, usize)> = (1..=nodes).map(|node| (node, (0, 0))).collect();
    for pod in pods.filter(|pod| !pod.is_terminating()) {
        if let Some((siblings, all)) = load.get_mut(&pod.node) {
            *siblings += usize::from(pod.owner == *owner);
            *all += 1;
        }
    }
    let best = load.into_iter().min_by_key(|(node, load)| (*load, *node));
    best.map(|(node, _)| node).ok_or_else(|| "has no node to run on".to_owned())
}

/// Ten hexadecimal digits that follow from the template's content.
pub(crate) fn template_hash(template: &Value) -> String {
    let digest = Sha256::digest(template.to_string());
    digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

fn make(rollout: &Rollout<'_>, template: &str, count: usize, steps: &mut Steps) {
    let from = &rollout.value["spec"]["template"];
    let mut metadata = user_metadata(&from["metadata"]);
    metadata["labels"]["pod-template-hash"] = Value::String(template.to_owned());
    let wanted = Wanted {
        namespace: rollout.id.space().to_owned(),
        name: Name::Prefix(format!("{}-{template}", rollout.id.name)),
        owner: Owner::Deployment {
            id: rollout.id.clone(),
            uid: rollout.uid.to_owned(),
            template: template.to_owned(),
        },
        metadata,
        spec: from["spec"].clone(),
    };
    steps.make.extend(std::iter::repeat_n(wanted, count));
}

fn user_metadata(metadata: &Value) -> Value {
    serde_json::json!({
        "labels": metadata.get("labels").cloned().unwrap_or_else(|| serde_json::json!({})),
        "annotations": metadata.get("annotations").cloned().unwrap_or_else(|| serde_json::json!({})),
    })
}

/// A count, or a percentage of the replicas rounded up; a quarter when nothing is said.
fn share(value: Option<&IntOrString>, replicas: usize) -> usize {
    match value {
        Some(IntOrString::Int(count)) => usize::try_from(*count).unwrap_or(0),
        Some(IntOrString::String(text)) => {
            let percent = text.trim_end_matches('%').parse::<usize>().unwrap_or(25).min(100);
            (replicas * percent).div_ceil(100)
        }
        None => replicas.div_ceil(4),
    }
}

/// A rollout that may neither surge nor be short by one could not move.
fn at_least_one(count: usize) -> usize {
    count.max(1)
}

#[cfg(test)]
mod tests;
