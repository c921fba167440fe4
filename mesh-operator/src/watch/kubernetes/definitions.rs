//! Which kinds the cluster defines: its CustomResourceDefinitions, by their names. Those of the Gateway API are compiled, for
//! the release that they are of.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use mesh_compile::Kind;
use tokio::sync::Notify;

use super::follow::{self, Backoff};
use super::store::Store;

const KIND: Kind = Kind::CustomResourceDefinition;

#[derive(Debug)]
pub(super) struct Definitions {
    /// `None` until they are listed.
    names: Mutex<Option<BTreeSet<String>>>,
    /// Told when the definition of a kind appears or changes.
    events: BTreeMap<Kind, Notify>,
}

impl Definitions {
    pub(super) fn new(kinds: &[Kind]) -> Self {
        let events = kinds.iter().map(|kind| (*kind, Notify::new())).collect();
        Self { names: Mutex::new(None), events }
    }

    /// Whether a kind is defined, as far as that is known.
    pub(super) fn exists(&self, kind: Kind) -> Option<bool> {
        self.lock().as_ref().map(|names| names.contains(&name(kind)))
    }

    /// Waits for the next event about a kind's definition, or one since the last time.
    pub(super) async fn event(&self, kind: Kind) {
        match self.events.get(&kind) {
            Some(event) => event.notified().await,
            None => std::future::pending().await,
        }
    }

    fn tell(&self, definition: &str) {
        for (kind, event) in &self.events {
            if name(*kind) == definition {
                event.notify_one();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<BTreeSet<String>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the definitions until dropped. Their content is not read.
pub(super) async fn follow(client: Client, store: Arc<Store>, definitions: Arc<Definitions>) {
    let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(client);
    let mut events = pin!(watcher::watcher(api, follow::config()));
    let (mut backoff, mut listing) = (Backoff::default(), BTreeSet::new());
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => {
                listing.clear();
                store.begin_list(KIND);
            }
            Ok(Event::InitApply(definition)) => {
                listing.extend(definition.metadata.name.clone());
                store.insert(KIND, object(definition));
            }
            Ok(Event::InitDone) => {
                backoff.reset();
                let names = std::mem::take(&mut listing);
                *definitions.lock() = Some(names.clone());
                names.iter().for_each(|name| definitions.tell(name));
                store.end_list(KIND);
                store.set_problem(KIND, None);
            }
            Ok(Event::Apply(definition)) => {
                backoff.reset();
                let name = definition.metadata.name.clone().unwrap_or_default();
                store.insert(KIND, object(definition));
                store.set_problem(KIND, None);
                definitions.lock().get_or_insert_default().insert(name.clone());
                definitions.tell(&name);
            }
            Ok(Event::Delete(definition)) => {
                let name = definition.metadata.name.clone().unwrap_or_default();
                store.remove(KIND, &object(definition));
                definitions.lock().get_or_insert_default().remove(&name);
                definitions.tell(&name);
            }
            Err(watcher::Error::WatchError(status)) if status.code == 410 => backoff.wait().await,
            Err(error) => {
                store.set_problem(KIND, Some(follow::problem(&error)));
                backoff.wait().await;
            }
        }
    }
}

fn object(definition: PartialObjectMeta<CustomResourceDefinition>) -> DynamicObject {
    DynamicObject { types: None, metadata: definition.metadata, data: serde_json::Value::Null }
}

/// What a kind's definition is called.
fn name(kind: Kind) -> String {
    format!("{}.{}", follow::resource(kind, kind.versions()[0]).plural, kind.group())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_have_the_names_that_the_gateway_api_gives_them() {
        for (kind, expected) in [
            (Kind::GatewayClass, "gatewayclasses.gateway.networking.k8s.io"),
            (Kind::Gateway, "gateways.gateway.networking.k8s.io"),
            (Kind::ListenerSet, "listenersets.gateway.networking.k8s.io"),
            (Kind::HttpRoute, "httproutes.gateway.networking.k8s.io"),
            (Kind::ReferenceGrant, "referencegrants.gateway.networking.k8s.io"),
            (Kind::XBackendTrafficPolicy, "xbackendtrafficpolicies.gateway.networking.x-k8s.io"),
            (Kind::XMesh, "xmeshes.gateway.networking.x-k8s.io"),
            (Kind::BackendPolicy, "backendpolicies.weir.dev"),
            (Kind::AddressPool, "addresspools.weir.dev"),
            (Kind::EndpointSlice, "endpointslices.discovery.k8s.io"),
            (Kind::NetworkPolicy, "networkpolicies.networking.k8s.io"),
        ] {
            assert_eq!(name(kind), expected);
        }
    }
}
