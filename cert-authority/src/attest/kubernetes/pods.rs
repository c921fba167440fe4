//! Which service accounts run on which node, from a watch of all Pods. Of a Pod only the few fields that say it are
//! read, and only those are kept: three names a Pod.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ListParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use mesh_ir::name::{Identity, Namespace, NodeName, ServiceAccount};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::attest::AttestError;
use crate::kubernetes::{followed, problem};

/// Pods asked for at a time, so that a large cluster's list is never whole in memory.
const PAGE: u32 = 500;
const CONCURRENT_LISTS: usize = 8;
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Pods {
    running: Arc<RwLock<Running>>,
    api: PodApi,
    lists: Semaphore,
    _following: JoinSet<()>,
}

struct PodApi(Api<SlimPod>);

type Key = (String, String);
type Placed = (NodeName, Namespace, ServiceAccount);

/// The Pods that run, and how many there are of each account on each node.
#[derive(Debug, Default)]
struct Running {
    by_pod: BTreeMap<Key, Placed>,
    counts: BTreeMap<Placed, usize>,
}

impl Pods {
    pub(super) fn follow(client: Client) -> Self {
        let api: Api<SlimPod> = Api::all(client);
        let running = Arc::new(RwLock::new(Running::default()));
        let mut following = JoinSet::new();
        following.spawn(follow(api.clone(), running.clone()));
        Self { running, api: PodApi(api), lists: Semaphore::new(CONCURRENT_LISTS), _following: following }
    }

    /// The event of a new Pod may still be on its way, so the API server is asked once before a no.
    pub(super) async fn runs(&self, node: &NodeName, identity: &Identity) -> Result<bool, AttestError> {
        let placed = (node.clone(), identity.namespace.clone(), identity.service_account.clone());
        let known = {
            let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
            running.counts.contains_key(&placed)
        };
        if known {
            return Ok(true);
        }
        match tokio::time::timeout(LIST_TIMEOUT, self.ask(&placed)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                let text = format!("cannot list the Pods of node {node}: {}", problem(&error));
                Err(AttestError::Unavailable(text))
            }
            Err(_) => Err(AttestError::Unavailable("the API server does not answer".into())),
        }
    }

    async fn ask(&self, wanted: &Placed) -> Result<bool, kube::Error> {
        let _permit = self.lists.acquire().await.expect("the semaphore is never closed");
        let mut params = ListParams::default().fields(&format!("spec.nodeName={}", wanted.0)).limit(PAGE);
        loop {
            let page = self.api.0.list(&params).await?;
            if page.items.iter().any(|pod| pod.placed().as_ref() == Some(wanted)) {
                return Ok(true);
            }
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(false),
            }
        }
    }
}

async fn follow(api: Api<SlimPod>, running: Arc<RwLock<Running>>) {
    let config = watcher::Config::default().page_size(PAGE);
    let mut events = std::pin::pin!(followed(watcher(api, config).default_backoff(), "Pod"));
    // A new list is gathered beside the old one, which answers until it is whole.
    let mut listed = Running::default();
    while let Some(event) = events.next().await {
        let write = || running.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            watcher::Event::Init => listed = Running::default(),
            watcher::Event::InitApply(pod) => listed.set(pod.key(), pod.placed()),
            watcher::Event::InitDone => {
                tracing::info!(running = listed.by_pod.len(), "know the Pods");
                *write() = std::mem::take(&mut listed);
            }
            watcher::Event::Apply(pod) => write().set(pod.key(), pod.placed()),
            watcher::Event::Delete(pod) => write().set(pod.key(), None),
        }
    }
}

impl Running {
    fn set(&mut self, key: Key, placed: Option<Placed>) {
        let before = match placed.clone() {
            Some(placed) => self.by_pod.insert(key, placed),
            None => self.by_pod.remove(&key),
        };
        if let Some(placed) = placed {
            *self.counts.entry(placed).or_default() += 1;
        }
        if let Some(before) = before
            && let Some(count) = self.counts.get_mut(&before)
        {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&before);
            }
        }
    }
}

/// What is read of a Pod.
#[derive(Clone, Debug, Deserialize)]
struct SlimPod {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: SlimSpec,
    #[serde(default)]
    status: SlimStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimSpec {
    #[serde(default)]
    node_name: String,
    /// Empty in mirror Pods, which a node's kubelet makes by itself: they entitle nobody.
    #[serde(default)]
    service_account_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct SlimStatus {
    #[serde(default)]
    phase: String,
}

impl SlimPod {
    fn key(&self) -> Key {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        (name(&self.metadata.namespace), name(&self.metadata.name))
    }

    /// Where it runs and as whom; nothing while it is not bound to a node, and after it has ended.
    fn placed(&self) -> Option<Placed> {
        if matches!(&*self.status.phase, "Succeeded" | "Failed") {
            return None;
        }
        let namespace = self.metadata.namespace.as_deref()?;
        // What the API server accepts as a name is one here, and what is empty is none.
        Some((
            NodeName::new(&self.spec.node_name).ok()?,
            Namespace::new(namespace).ok()?,
            ServiceAccount::new(&self.spec.service_account_name).ok()?,
        ))
    }
}

impl Resource for SlimPod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl std::fmt::Debug for PodApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PodApi")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: serde_json::Value) -> SlimPod {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn pods_run_while_they_are_bound_and_have_not_ended() {
        let check = |node: &str, account: &str, phase: &str, expected: bool| {
            let pod = pod(serde_json::json!({
                "metadata": {"namespace": "shop", "name": "cart-1"},
                "spec": {"nodeName": node, "serviceAccountName": account},
                "status": {"phase": phase},
            }));
            assert_eq!(pod.placed().is_some(), expected, "{node} {account} {phase}");
        };
        check("node-1", "cart", "Running", true);
        check("node-1", "cart", "Pending", true);
        check("node-1", "cart", "Unknown", true);
        check("node-1", "cart", "Succeeded", false);
        check("node-1", "cart", "Failed", false);
        check("", "cart", "Pending", false);
        check("node-1", "", "Running", false);
        assert!(pod(serde_json::json!({})).placed().is_none());
    }

    #[test]
    fn pods_are_counted_so_that_the_last_one_takes_the_entry_with_it() {
        let placed = |node: &str| {
            let account = (Namespace::new("shop").unwrap(), ServiceAccount::new("cart").unwrap());
            (NodeName::new(node).unwrap(), account.0, account.1)
        };
        let key = |name: &str| ("shop".to_owned(), name.to_owned());
        let mut running = Running::default();
        running.set(key("a"), Some(placed("node-1")));
        running.set(key("b"), Some(placed("node-1")));
        running.set(key("a"), Some(placed("node-1")));
        running.set(key("a"), None);
        assert_eq!(running.counts, BTreeMap::from([(placed("node-1"), 1)]));
        running.set(key("b"), Some(placed("node-2")));
        assert_eq!(running.counts, BTreeMap::from([(placed("node-2"), 1)]));
        running.set(key("b"), None);
        running.set(key("b"), None);
        assert!(running.counts.is_empty() && running.by_pod.is_empty());
    }
}
