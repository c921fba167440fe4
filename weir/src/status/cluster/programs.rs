//! How the pods of Weir's own programs are.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::super::report::ProgramState;

/// The pods of the programs; those that are being deleted only where no other is in their place.
#[derive(Debug, Default)]
pub(super) struct Programs {
    pub(super) operators: Vec<Pod>,
    authorities: Vec<Pod>,
    /// Those of mesh-node, by their nodes.
    pub(super) nodes: BTreeMap<String, Pod>,
}

impl Programs {
    pub(super) fn new(pods: Vec<Pod>) -> Self {
        let mut programs = Self::default();
        for pod in pods {
            let is_leaving = pod.metadata.deletion_timestamp.is_some();
            match program(&pod) {
                Some("mesh-operator") if !is_leaving => programs.operators.push(pod),
                Some("cert-authority") if !is_leaving => programs.authorities.push(pod),
                Some("mesh-node") => {
                    let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else {
                        continue;
                    };
                    if !is_leaving || !programs.nodes.contains_key(&node) {
                        programs.nodes.insert(node, pod);
                    }
                }
                _ => {}
            }
        }
        programs
    }

    /// Of every replica of the operator and the cert-authority, with its pod's name.
    pub(super) fn states(&self, namespace: &str, leader: Option<&str>) -> Vec<(Option<&str>, ProgramState)> {
        let mut states = Vec::new();
        for (program, pods) in [("cert-authority", &self.authorities), ("mesh-operator", &self.operators)] {
            if pods.is_empty() {
                let problem = format!(
                    "no pod of it runs in namespace {namespace}; say with --namespace where Weir is installed"
                );
                states.push((
                    None,
                    ProgramState { name: program.into(), leads: false, problem: Some(problem) },
                ));
            }
            for pod in pods {
                let name = name(pod);
                let leads = program == "mesh-operator" && leader == Some(name);
                states.push((Some(name), ProgramState { name: name.into(), leads, problem: problem(pod) }));
            }
        }
        states
    }
}

pub(super) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// What keeps a pod from being ready, as Kubernetes says it.
pub(super) fn problem(pod: &Pod) -> Option<String> {
    if pod.metadata.deletion_timestamp.is_some() {
        return Some("its pod is being deleted".into());
    }
    let Some(status) = &pod.status else { return Some("Kubernetes has said nothing of its pod yet".into()) };
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let mut unmet = conditions.iter().filter(|condition| condition.status != "True");
    if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        return None;
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let mut waiting = containers.filter_map(|container| container.state.as_ref()?.waiting.as_ref());
    if let Some(waiting) = waiting.next() {
        let reason = waiting.reason.as_deref().unwrap_or("waiting");
        return Some(match &waiting.message {
            Some(message) => format!("{reason}: {message}"),
            None => reason.to_owned(),
        });
    }
    // PodScheduled says more than Ready, which is not so because of it.
    let told = unmet.find_map(|condition| condition.message.clone());
    Some(told.unwrap_or_else(|| format!("its pod is {}", status.phase.as_deref().unwrap_or("Unknown"))))
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    problem(pod).is_none()
}

fn program(pod: &Pod) -> Option<&str> {
    Some(pod.metadata.labels.as_ref()?.get("app.kubernetes.io/name")?.as_str())
}
