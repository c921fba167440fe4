//! What the control side and the proxy's workers share: the mesh's view, the captured pods, and what counts across
//! workers. Read without locks on the data path.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use mesh_ir::name::{Identity, Uid};
use mesh_ir::resource::Mode;
use mesh_ir::view::MeshView;
use tokio::sync::watch;

use crate::identity::{Identities, WorkloadIdentity};
use crate::netns::Netns;
use crate::proxy::affinity::Affinities;
use crate::proxy::breaker::Breakers;
use crate::proxy::expected::Expected;
use crate::proxy::retry_budget::RetryBudgets;
use crate::settings::Settings;
use crate::telemetry::Telemetry;

#[derive(Debug)]
pub struct State {
    pub settings: Settings,
    pub view: ArcSwap<MeshView>,
    /// Counts the views; a change wakes those who prepare something from them.
    pub view_version: watch::Sender<u64>,
    pub pods: ArcSwap<LocalPods>,
    /// Why there are pods on this node that cannot be captured.
    pub pods_problem: watch::Sender<Option<&'static str>>,
    /// The node's own network namespace, and who its Gateways are to the workloads that they dial.
    pub node: Arc<LocalPod>,
    pub identities: Identities,
    pub breakers: Breakers,
    pub retry_budgets: RetryBudgets,
    pub expected: Expected,
    pub affinities: Affinities,
    pub telemetry: Telemetry,
}

/// A captured pod. The node itself is one too, for what Gateways dial.
#[derive(Debug)]
pub struct LocalPod {
    pub uid: Uid,
    /// `namespace/name`, for logs.
    pub name: String,
    pub netns: Netns,
    pub slot: u32,
    pub addresses: Vec<IpAddr>,
    pub identity: Identity,
    pub credentials: Arc<WorkloadIdentity>,
    /// Whom it lets in; those that it no longer does are cut off.
    pub mode: watch::Sender<Mode>,
}

impl LocalPod {
    /// Its address of this family.
    pub fn address(&self, v6: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv6() == v6)
    }
}

#[derive(Clone, Debug, Default)]
pub struct LocalPods {
    by_uid: HashMap<Uid, Arc<LocalPod>, RandomState>,
}

impl LocalPods {
    pub fn get(&self, uid: &Uid) -> Option<&Arc<LocalPod>> {
        self.by_uid.get(uid)
    }

    pub fn with(&self, pod: Arc<LocalPod>) -> Self {
        let mut next = self.clone();
        next.by_uid.insert(pod.uid.clone(), pod);
        next
    }

    pub fn without(&self, uid: &Uid) -> Self {
        let mut next = self.clone();
        next.by_uid.remove(uid);
        next
    }
}

impl State {
    pub fn set_view(&self, view: MeshView) {
        self.view.store(Arc::new(view));
        self.view_version.send_modify(|version| *version += 1);
    }
}
