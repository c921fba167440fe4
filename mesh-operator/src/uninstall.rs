//! The last step of `helm uninstall`: takes from the cluster what Weir alone has made in it, and waits until every node
//! is clean too. The operator itself does not use it, and does not run any more when it is used.
//!
//! Users' objects stay, and so does what users made in Weir's place, such as a GatewayClass of their own.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};
use mesh_compile::{CONTROLLER, GATEWAY_CLASS, GATEWAY_NAME_LABEL, Kind, MANAGED_BY_LABEL, MANAGER, MESH};
use serde_json::json;

use crate::apply::kubernetes::{LEASE, resource};
use crate::cluster::{ApiServer, is, problem};
use crate::rollout;

/// Objects asked for at a time.
const PAGE: u32 = 500;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// The namespace that Weir is in
    #[arg(long, value_name = "NAME")]
    pub namespace: String,
    /// The DaemonSet that cleans the nodes
    #[arg(long, value_name = "NAME")]
    pub await_daemon_set: String,
    /// The ConfigMap in that namespace that the cert-authority has published the trust bundle in
    #[arg(long, value_name = "NAME")]
    pub trust_bundle: String,
    /// How long the DaemonSet's pods may take
    #[arg(long, value_name = "SECONDS")]
    pub seconds: u64,
}

/// Something is left.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UninstallError(String);

/// Does all it can, whatever fails on the way, and says what failed in the end.
pub async fn uninstall(server: &ApiServer, settings: &Settings) -> Result<(), UninstallError> {
    let client = &server.client;
    let mut left = Vec::new();
    let mut note = |what: &str, result: kube::Result<usize>| match result {
        Ok(count) => tracing::info!(count, "removed {what}"),
        Err(error) => left.push(format!("cannot remove {what}: {}", problem(&error))),
    };
    note("Services of Gateways", remove_owned(client, Kind::Service).await);
    note("EndpointSlices of Gateways", remove_owned(client, Kind::EndpointSlice).await);
    note("the statuses of Gateways and ListenerSets", forget_gateways(client).await);
    note("the GatewayClass", remove_brought(client, Kind::GatewayClass, GATEWAY_CLASS).await);
    note("the XMesh", remove_brought(client, Kind::XMesh, MESH).await);
    note("the Leases of mesh-operator", remove_leases(client, &settings.namespace).await);
    note("the ConfigMap of the trust bundle", remove_bundle(client, settings).await);
    let nodes = rollout::Settings {
        namespace: settings.namespace.clone(),
        name: settings.await_daemon_set.clone(),
        seconds: settings.seconds,
    };
    if let Err(error) = rollout::wait(server, &nodes).await {
        left.push(error.to_string());
    }
    if left.is_empty() { Ok(()) } else { Err(UninstallError(left.join("; "))) }
}

/// The objects that bear the labels by which the operator knows its own. A load balancer of the cloud goes with its Service.
async fn remove_owned(client: &Client, kind: Kind) -> kube::Result<usize> {
    let labels = format!("{MANAGED_BY_LABEL}={MANAGER},{GATEWAY_NAME_LABEL}");
    let all = Api::all_with(client.clone(), &resource(kind));
    each(all, Some(labels), async |object: DynamicObject| {
        let namespace = object.namespace().unwrap_or_default();
        let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource(kind));
        delete(&api, &object).await
    })
    .await
}

/// Nobody serves a Gateway of our class and its ListenerSets any more, and their status must not say so: what was never
/// looked at by a controller is what the definition's default says.
async fn forget_gateways(client: &Client) -> kube::Result<usize> {
    let class = brought(client, Kind::GatewayClass, GATEWAY_CLASS).await?;
    if !class.is_some_and(|class| class.data["spec"]["controllerName"] == CONTROLLER) {
        return Ok(0);
    }
    let ours = RefCell::new(BTreeSet::new());
    let gateways = Api::all_with(client.clone(), &resource(Kind::Gateway));
    let gateways = each(gateways, None, async |object: DynamicObject| {
        if object.data["spec"]["gatewayClassName"] != GATEWAY_CLASS {
            return Ok(false);
        }
        ours.borrow_mut().insert((object.namespace(), object.metadata.name.clone()));
        forget_status(client, Kind::Gateway, &object).await
    });
    let gateways = gateways.await?;
    let ours = ours.into_inner();
    let sets = Api::all_with(client.clone(), &resource(Kind::ListenerSet));
    let sets = each(sets, None, async |object: DynamicObject| {
        let parent = &object.data["spec"]["parentRef"];
        let text = |field: &str| parent[field].as_str().map(str::to_owned);
        let gateway = (text("namespace").or(object.namespace()), text("name"));
        match ours.contains(&gateway) {
            true => forget_status(client, Kind::ListenerSet, &object).await,
            false => Ok(false),
        }
    });
    Ok(gateways + sets.await?)
}

async fn forget_status(client: &Client, kind: Kind, object: &DynamicObject) -> kube::Result<bool> {
    let namespace = object.namespace().unwrap_or_default();
    let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource(kind));
    let patch = json!({ "metadata": { "uid": object.metadata.uid }, "status": null });
    let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
    gone_is_fine(bounded(api.patch_status(&object.name_any(), &params, &Patch::Merge(patch))).await)
}

/// What the operator made where there was none of that name.
async fn remove_brought(client: &Client, kind: Kind, name: &str) -> kube::Result<usize> {
    let Some(object) = brought(client, kind, name).await? else { return Ok(0) };
    let made_by_us = object.labels().get(MANAGED_BY_LABEL).is_some_and(|by| by == MANAGER);
    if !made_by_us || object.data["spec"]["controllerName"] != CONTROLLER {
        return Ok(0);
    }
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource(kind));
    Ok(usize::from(delete(&api, &object).await?))
}

async fn brought(client: &Client, kind: Kind, name: &str) -> kube::Result<Option<DynamicObject>> {
    let api = Api::<DynamicObject>::all_with(client.clone(), &resource(kind));
    match bounded(api.get(name)).await {
        Ok(object) => Ok(Some(object)),
        // Nor is there one where the definition itself has been removed.
        Err(error) if is(&error, 404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The one that replicas lead by, and those of replicas that ended without giving theirs back.
async fn remove_leases(client: &Client, namespace: &str) -> kube::Result<usize> {
    let api: Api<PartialObjectMeta<Lease>> = Api::namespaced(client.clone(), namespace);
    let api = &api;
    each(api.clone(), None, async |lease| {
        let name = lease.name_any();
        let of_replica = name.strip_prefix(LEASE).is_some_and(|rest| rest.starts_with('-'));
        match name == LEASE || of_replica {
            true => delete(api, &lease).await,
            false => Ok(false),
        }
    })
    .await
}

/// Nobody trusts it any more. The root itself, a Secret, stays: it is not ours alone to throw away.
async fn remove_bundle(client: &Client, settings: &Settings) -> kube::Result<usize> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), &settings.namespace);
    let deleted = bounded(api.delete(&settings.trust_bundle, &DeleteParams::default())).await;
    Ok(usize::from(gone_is_fine(deleted)?))
}

/// Calls `act` with each object, a page at a time; gives how many times it has acted.
async fn each<K>(
    api: Api<K>,
    labels: Option<String>,
    act: impl AsyncFn(K) -> kube::Result<bool>,
) -> kube::Result<usize>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let mut params = ListParams { label_selector: labels, ..ListParams::default() }.limit(PAGE);
    let mut acted = 0;
    loop {
        let page = match bounded(api.list(&params)).await {
            Err(error) if is(&error, 404) => return Ok(acted),
            page => page?,
        };
        for object in page.items {
            acted += usize::from(act(object).await?);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(acted),
        }
    }
}

/// Deletes this very object, not another that has come into its place.
async fn delete<K>(api: &Api<K>, object: &impl ResourceExt) -> kube::Result<bool>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let preconditions = Preconditions { uid: object.uid(), ..Preconditions::default() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    gone_is_fine(bounded(api.delete(&object.name_any(), &params)).await)
}

fn gone_is_fine<T>(result: kube::Result<T>) -> kube::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if is(&error, 404) || is(&error, 409) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn bounded<T>(request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(result) => result,
        Err(elapsed) => Err(kube::Error::Service(Box::new(elapsed))),
    }
}
