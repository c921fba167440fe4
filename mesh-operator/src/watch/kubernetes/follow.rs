//! Follows one kind: lists it, watches it, and goes on doing so whatever the API server does meanwhile.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use mesh_compile::Kind;
use tokio::time::Instant;

use super::definitions::Definitions;
use super::store::Store;

/// How long a watch goes on before it is begun anew where it stood. A connection that is dead without anybody saying
/// so is found out after that.
const WATCH_SECONDS: u32 = 60;
/// A kind that the cluster does not have is asked for again so often, should its definition's events not be told.
const MISSING_RETRY: Duration = Duration::from_secs(60);
/// How many ConfigMaps are read at once; each has at most 1 MiB.
const CONFIG_MAPS_A_PAGE: u32 = 32;
/// An API server that is starting may not know all it serves: objects that were there are gone after so long only.
const MISSING_PATIENCE: Duration = Duration::from_secs(10);

/// Follows a kind until dropped.
pub(super) async fn follow(client: Client, kind: Kind, store: Arc<Store>, definitions: Arc<Definitions>) {
    let mut backoff = Backoff::default();
    let mut missing_since: Option<Instant> = None;
    let mut said = false;
    loop {
        for version in kind.versions() {
            let resource = resource(kind, version);
            let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
            let served = || {
                if said {
                    tracing::info!(kind = kind.as_str(), version, "the cluster has this kind now");
                }
            };
            if follow_version(api, kind, &store, &mut backoff, served).await.was_there {
                missing_since = None;
                said = false;
            }
        }
        let since = *missing_since.get_or_insert_with(Instant::now);
        let gone =
            !store.has(kind) || definitions.exists(kind) == Some(false) || since.elapsed() > MISSING_PATIENCE;
        if !gone {
            backoff.wait().await;
            continue;
        }
        store.set_problem(kind, None);
        store.set_missing(kind);
        if !said {
            said = true;
            let (kind, group) = (kind.as_str(), kind.group());
            tracing::warn!(
                kind,
                group,
                "the cluster does not have this kind; it is followed once it is there"
            );
        }
        // An event tells that the definition is there, and a later one that it is served.
        tokio::select! {
            () = definitions.event(kind) => {}
            () = tokio::time::sleep(MISSING_RETRY) => {}
        }
    }
}

struct Missing {
    /// Whether the version was served before it was not.
    was_there: bool,
}

/// Follows a kind by one of its versions, as long as that is served.
async fn follow_version(
    api: Api<DynamicObject>,
    kind: Kind,
    store: &Store,
    backoff: &mut Backoff,
    served: impl FnOnce(),
) -> Missing {
    let config = match kind {
        Kind::Secret => config().fields("type=kubernetes.io/tls"),
        // Most are thrown away, and they may be large: few at a time are held. An API server's cache gives no pages.
        Kind::ConfigMap => watcher::Config::default().page_size(CONFIG_MAPS_A_PAGE).timeout(WATCH_SECONDS),
        _ => config(),
    };
    let mut served = Some(served);
    let mut events = pin!(watcher::watcher(api, config));
    while let Some(event) = events.next().await {
        match event {
            // This is before anything is asked.
            Ok(Event::Init) => {
                store.begin_list(kind);
                continue;
            }
            Ok(Event::InitApply(object) | Event::Apply(object)) => store.insert(kind, object),
            Ok(Event::Delete(object)) => store.remove(kind, &object),
            Ok(Event::InitDone) => store.end_list(kind),
            Err(error) if is_not_found(&error) => break,
            // The API server no longer knows where the watch stood, after a restart for one; all is listed anew.
            Err(watcher::Error::WatchError(status)) if status.code == 410 => {
                backoff.reset();
                backoff.wait().await;
                continue;
            }
            Err(error) => {
                store.set_problem(kind, Some(problem(&error)));
                backoff.wait().await;
                continue;
            }
        }
        if let Some(served) = served.take() {
            served();
        }
        backoff.reset();
        store.set_problem(kind, None);
    }
    Missing { was_there: served.is_none() }
}

pub(super) fn config() -> watcher::Config {
    // What an API server has in its cache is new enough: the watch that follows brings what is newer.
    watcher::Config::default().any_semantic().timeout(WATCH_SECONDS)
}

pub(super) fn resource(kind: Kind, version: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(kind.group(), version, kind.as_str()))
}

/// What went wrong, without what differs from one attempt to the next.
pub(super) fn problem(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => crate::cluster::problem(error),
        watcher::Error::WatchError(status) => status.message.clone(),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}

fn is_not_found(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == 404,
        watcher::Error::WatchError(status) => status.code == 404,
        _ => false,
    }
}

/// How long to wait after each failure: longer each time, and not the same in every watch.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LAST: Duration = Duration::from_secs(5);

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    pub(super) async fn wait(&mut self) {
        let longest = (Self::FIRST * 2_u32.pow(self.failures.min(10))).min(Self::LAST);
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(longest.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}
