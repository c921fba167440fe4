//! The source that is a Kubernetes API server: one watch a kind, what they hold put together, and given on when every
//! kind's first list is complete.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use mesh_compile::{Kind, ObjectId};
use mesh_ir::map::SharedMap;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Observed;
use definitions::Definitions;
use store::Store;

mod definitions;
mod follow;
mod store;
mod strip;

/// Changes that come within so long are given on together.
const COALESCE: Duration = Duration::from_millis(20);

/// What compiling reads.
pub(crate) const KINDS: &[Kind] = &[
    Kind::Namespace,
    Kind::Node,
    Kind::Pod,
    Kind::Service,
    Kind::EndpointSlice,
    Kind::NetworkPolicy,
    Kind::Secret,
    Kind::ConfigMap,
    Kind::ClusterTrustBundle,
    Kind::GatewayClass,
    Kind::Gateway,
    Kind::ListenerSet,
    Kind::HttpRoute,
    Kind::GrpcRoute,
    Kind::TlsRoute,
    Kind::TcpRoute,
    Kind::UdpRoute,
    Kind::BackendTlsPolicy,
    Kind::XBackendTrafficPolicy,
    Kind::XMesh,
    Kind::ReferenceGrant,
    Kind::BackendPolicy,
    Kind::AddressPool,
];

/// What is in the cluster and is written by us, in part or whole: statuses, and the objects of Gateways. It is kept
/// apart from what is compiled, so that our own writing compiles nothing again.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) resource_version: String,
    /// The whole object where it was made for a Gateway by us, `status` alone otherwise.
    pub(crate) content: Value,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct LiveState {
    pub(crate) objects: SharedMap<ObjectId, Arc<Live>>,
    /// The kinds that the cluster has.
    pub(crate) served: BTreeSet<Kind>,
}

/// What the watches give. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) observed: watch::Receiver<Option<Observed>>,
    pub(crate) live: watch::Receiver<Arc<LiveState>>,
    pub(crate) listing: Listing,
    pub(crate) watches: JoinSet<()>,
}

/// How far the first lists are.
#[derive(Clone, Debug)]
pub(crate) struct Listing(Arc<Store>);

impl Listing {
    /// Which kinds have not been listed yet, and why.
    pub(crate) fn missing(&self) -> Option<String> {
        self.0.missing()
    }
}

/// Begins to watch; the first state is there once every kind has been listed.
pub(crate) fn watch_cluster(client: &Client) -> Cluster {
    // The definitions are followed as they tell of the kinds, and compiled as well.
    let listed: Vec<Kind> = KINDS.iter().copied().chain([Kind::CustomResourceDefinition]).collect();
    let store = Arc::new(Store::new(&listed));
    let definitions = Arc::new(Definitions::new(KINDS));
    let (observed_sender, observed) = watch::channel(None);
    let (live_sender, live) = watch::channel(Arc::default());
    let mut watches = JoinSet::new();
    watches.spawn(definitions::follow(client.clone(), store.clone(), definitions.clone()));
    for kind in KINDS {
        watches.spawn(follow::follow(client.clone(), *kind, store.clone(), definitions.clone()));
    }
    watches.spawn(give_on(store.clone(), observed_sender, live_sender));
    Cluster { observed, live, listing: Listing(store), watches }
}

async fn give_on(
    store: Arc<Store>,
    observed: watch::Sender<Option<Observed>>,
    live: watch::Sender<Arc<LiveState>>,
) {
    loop {
        store.changed().await;
        tokio::time::sleep(COALESCE).await;
        let taken = store.take();
        // What is written follows from what is compiled, and is compared with what is there: that goes first.
        if let Some(newest) = taken.live {
            live.send_replace(newest);
        }
        if let Some(newest) = taken.observed {
            observed.send_replace(Some(newest));
        }
    }
}
