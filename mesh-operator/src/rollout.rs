//! Waiting until a DaemonSet's pods are ready on every node that it is for: `helm uninstall` must not end before every
//! node is clean. What is deleted meanwhile is not its matter.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::Api;
use kube::runtime::wait::await_condition;

use crate::cluster::{ApiServer, problem};

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) namespace: String,
    /// The DaemonSet's name.
    pub(crate) name: String,
    /// How long its pods may take.
    pub(crate) seconds: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum RolloutError {
    #[error("DaemonSet {name}: {problem}")]
    Watch { name: String, problem: String },
    #[error(
        "DaemonSet {name} is ready on {ready} of {desired} nodes after {seconds} s; the logs of its pods say why"
    )]
    NotReady { name: String, ready: i32, desired: i32, seconds: u64 },
}

pub(crate) async fn wait(server: &ApiServer, settings: &Settings) -> Result<(), RolloutError> {
    let api: Api<DaemonSet> = Api::namespaced(server.client.clone(), &settings.namespace);
    let name = || format!("{}/{}", settings.namespace, settings.name);
    let ready = await_condition(api.clone(), &settings.name, |set: Option<&DaemonSet>| {
        set.is_some_and(is_everywhere)
    });
    match tokio::time::timeout(Duration::from_secs(settings.seconds), ready).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(RolloutError::Watch { name: name(), problem: error.to_string() }),
        Err(_) => {
            let set = api.get(&settings.name).await;
            let set = set.map_err(|error| RolloutError::Watch { name: name(), problem: problem(&error) })?;
            let status = set.status.unwrap_or_default();
            let (ready, desired) = (status.number_ready, status.desired_number_scheduled);
            Err(RolloutError::NotReady { name: name(), ready, desired, seconds: settings.seconds })
        }
    }
}

/// What the status says counts only once it is of what the DaemonSet is now.
fn is_everywhere(set: &DaemonSet) -> bool {
    set.status.as_ref().is_some_and(|status| {
        status.observed_generation == set.metadata.generation
            && status.number_ready >= status.desired_number_scheduled
    })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::DaemonSetStatus;

    use super::*;

    fn daemon_set(observed_generation: i64, number_ready: i32) -> DaemonSet {
        let mut set = DaemonSet::default();
        set.metadata.generation = Some(2);
        set.status = Some(DaemonSetStatus {
            observed_generation: Some(observed_generation),
            desired_number_scheduled: 3,
            number_ready,
            ..DaemonSetStatus::default()
        });
        set
    }

    #[test]
    fn daemon_set_is_everywhere_when_its_newest_pods_are_ready() {
        assert!(is_everywhere(&daemon_set(2, 3)));
        assert!(!is_everywhere(&daemon_set(2, 2)));
        assert!(!is_everywhere(&daemon_set(1, 3)));
        assert!(!is_everywhere(&DaemonSet::default()));
    }
}
