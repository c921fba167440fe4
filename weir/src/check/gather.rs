//! Asking a cluster for all that is judged. What may not be read is recorded with the API server's refusal; only an API
//! server that cannot be reached ends the check.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::network::{CILIUM_CONFIG, CNI_POLICIES, KUBE_PROXY};
use super::objects::KINDS;
use super::observed::{Definition, Observed, Permission, Seen};
use super::pods::{MESH_LABEL, is_labelled};
use super::programs::{LEASE, TRUST_BUNDLE};
use crate::cluster::{ask_health, problem};
use crate::health::Health;

/// Pods of Weir that are asked at once.
const ASKED_AT_ONCE: usize = 16;
const POD_PATIENCE: Duration = Duration::from_secs(5);
const FELIX: &str = "felixconfigurations.crd.projectcalico.org";

/// What installing Weir takes: verb, group, resource, and whether it is in Weir's namespace.
const INSTALLING: &[(&str, &str, &str, bool)] = &[
    ("create", "", "namespaces", false),
    ("create", "apiextensions.k8s.io", "customresourcedefinitions", false),
    ("create", "rbac.authorization.k8s.io", "clusterroles", false),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings", false),
    ("create", "rbac.authorization.k8s.io", "roles", true),
    ("create", "rbac.authorization.k8s.io", "rolebindings", true),
    ("create", "apps", "daemonsets", true),
    ("create", "apps", "deployments", true),
    ("create", "", "secrets", true),
    ("create", "", "serviceaccounts", true),
    ("create", "", "services", true),
];

/// The API server cannot be reached.
#[derive(Debug, thiserror::Error)]
#[error("{0}; is the cluster up, and does the kubeconfig name it?")]
pub(super) struct Unreachable(String);

pub(super) async fn gather(client: &Client, namespace: &str) -> Result<Observed, Unreachable> {
    let kubernetes = match client.apiserver_version().await {
        Ok(info) => Seen::Known(info.git_version),
        Err(error @ kube::Error::Api(_)) => Seen::unseen(problem(&error)),
        Err(error) => return Err(Unreachable(problem(&error))),
    };
    let own_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let leases = Api::<Lease>::namespaced(client.clone(), namespace);
    let mut observed = Observed {
        now: Timestamp::now().as_second(),
        cli_version: env!("CARGO_PKG_VERSION").into(),
        namespace: namespace.into(),
        kubernetes,
        definitions: definitions(client).await,
        nodes: list(Api::all(client.clone()), ListParams::default()).await,
        namespaces: list(Api::all(client.clone()), ListParams::default()).await,
        daemon_sets: list(Api::all(client.clone()), ListParams::default()).await,
        deployments: list(Api::namespaced(client.clone(), namespace), ListParams::default()).await,
        lease: seen(leases.get_opt(LEASE).await),
        ..Observed::default()
    };
    observed.pods = pods(client, namespace, observed.namespaces.all()).await;
    let bundle = seen(own_maps.get_opt(TRUST_BUNDLE).await);
    observed.config_maps.insert(format!("{namespace}/{TRUST_BUNDLE}"), bundle);
    foreign_maps(client, &mut observed).await;
    let present = observed.definitions.known().cloned().unwrap_or_default();
    if present.contains_key(FELIX) {
        observed.felix = felix(client).await;
    }
    for (api_version, plural) in CNI_POLICIES {
        let group = api_version.split('/').next().unwrap_or_default();
        let name = format!("{plural}.{group}");
        if present.contains_key(&name) {
            let any = any(client, &resource(api_version, "", plural)).await;
            observed.cni_policies.insert(name, any);
        }
    }
    if observed.installed() {
        observed.answers = answers(client, &observed).await;
        for (group, versions, kind, plural) in KINDS {
            // Where definitions cannot be seen, asking for the objects is the way to know.
            if observed.definitions.known().is_ok() && !present.contains_key(&format!("{plural}.{group}")) {
                continue;
            }
            for version in *versions {
                let objects = objects(client, &resource(&format!("{group}/{version}"), kind, plural)).await;
                let is_known = objects.known().is_ok();
                observed.objects.insert((*kind).into(), objects);
                if is_known {
                    break;
                }
            }
        }
    } else {
        observed.permissions = permissions(client, namespace).await;
    }
    Ok(observed)
}

fn seen<T>(outcome: Result<T, kube::Error>) -> Seen<T> {
    outcome.map_or_else(|error| Seen::unseen(problem(&error)), Seen::Known)
}

async fn list<K>(api: Api<K>, params: ListParams) -> Seen<Vec<K>>
where
    K: Clone + Debug + DeserializeOwned,
{
    seen(crate::cluster::list(&api, params).await)
}

/// Their annotations are enough, and they are large.
async fn definitions(client: &Client) -> Seen<BTreeMap<String, Definition>> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let page = match api.list_metadata(&ListParams::default()).await {
        Ok(page) => page,
        Err(error) => return Seen::unseen(problem(&error)),
    };
    let named = page.items.into_iter().filter_map(|item| {
        let annotations = item.metadata.annotations.unwrap_or_default();
        Some((item.metadata.name?, Definition { annotations }))
    });
    Seen::Known(named.collect())
}

/// Those of Weir's namespace, of namespaces that are labelled for the mesh, and those that are labelled themselves.
async fn pods(client: &Client, own: &str, namespaces: &[Namespace]) -> Seen<Vec<Pod>> {
    let labelled = namespaces.iter().filter(|namespace| is_labelled(namespace));
    let names = labelled.filter_map(|namespace| namespace.metadata.name.as_deref());
    let mut pods: BTreeMap<(Option<String>, Option<String>), Pod> = BTreeMap::new();
    let by_label = ListParams::default().labels(&format!("{MESH_LABEL}=enabled"));
    let mut lists = vec![list(Api::<Pod>::all(client.clone()), by_label).await];
    for name in std::iter::once(own).chain(names) {
        lists.push(list(Api::<Pod>::namespaced(client.clone(), name), ListParams::default()).await);
    }
    for seen in lists {
        match seen {
            Seen::Known(found) => pods.extend(
                found
                    .into_iter()
                    .map(|pod| ((pod.metadata.namespace.clone(), pod.metadata.name.clone()), pod)),
            ),
            Seen::Unseen(unseen) => return Seen::Unseen(unseen),
        }
    }
    Seen::Known(pods.into_values().collect())
}

/// The settings of what else has a hand in the traffic.
async fn foreign_maps(client: &Client, observed: &mut Observed) {
    let cilium = observed.daemon_sets.all().iter().find(|set| set.metadata.name.as_deref() == Some("cilium"));
    let cilium = cilium.and_then(|set| Some(format!("{}/{CILIUM_CONFIG}", set.metadata.namespace.as_ref()?)));
    for wanted in std::iter::once(KUBE_PROXY.to_owned()).chain(cilium) {
        let Some((namespace, name)) = wanted.split_once('/') else { continue };
        let map = Api::<ConfigMap>::namespaced(client.clone(), namespace).get_opt(name).await;
        observed.config_maps.insert(wanted, seen(map));
    }
}

fn resource(api_version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

async fn felix(client: &Client) -> Seen<Option<Value>> {
    let kind = resource("crd.projectcalico.org/v1", "FelixConfiguration", "felixconfigurations");
    let found = Api::<DynamicObject>::all_with(client.clone(), &kind).get_opt("default").await;
    seen(found.map(|found| found.map(|object| object.data)))
}

/// Whether there is an object of the kind anywhere.
async fn any(client: &Client, kind: &ApiResource) -> Seen<bool> {
    let api = Api::<DynamicObject>::all_with(client.clone(), kind);
    let page = api.list_metadata(&ListParams::default().limit(1)).await;
    seen(page.map(|page| !page.items.is_empty()))
}

async fn objects(client: &Client, kind: &ApiResource) -> Seen<Vec<Value>> {
    let api = Api::<DynamicObject>::all_with(client.clone(), kind);
    match list(api, ListParams::default()).await {
        Seen::Known(objects) => {
            let values = objects.into_iter().map(serde_json::to_value);
            match values.collect() {
                Ok(values) => Seen::Known(values),
                Err(error) => Seen::unseen(error.to_string()),
            }
        }
        Seen::Unseen(unseen) => Seen::Unseen(unseen),
    }
}

/// Asks the running pods of Weir's namespace for their health, through the API server.
async fn answers(client: &Client, observed: &Observed) -> BTreeMap<String, Seen<Health>> {
    let of_weir = observed.pods.all().iter().filter(|pod| {
        let labels = pod.metadata.labels.as_ref();
        let part_of = labels.and_then(|labels| labels.get("app.kubernetes.io/part-of"));
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        pod.metadata.namespace.as_ref() == Some(&observed.namespace)
            && part_of.is_some_and(|whole| whole == "weir")
            && phase == Some("Running")
    });
    let asking = of_weir.filter_map(|pod| pod.metadata.name.clone()).map(async |name| {
        let health = ask_health(client, (&observed.namespace, &name), POD_PATIENCE).await;
        (name, health.map_or_else(|error| Seen::unseen(error.to_string()), Seen::Known))
    });
    futures_util::stream::iter(asking).buffer_unordered(ASKED_AT_ONCE).collect().await
}

async fn permissions(client: &Client, namespace: &str) -> Vec<Permission> {
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let mut permissions = Vec::new();
    for (verb, group, resource, namespaced) in INSTALLING {
        let text = |text: &str| Some(text.to_owned());
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    verb: text(verb),
                    group: text(group),
                    resource: text(resource),
                    namespace: namespaced.then(|| namespace.to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = api.create(&PostParams::default(), &review).await;
        let place = if *namespaced { format!(" in {namespace}") } else { String::new() };
        permissions.push(Permission {
            what: format!("{verb} {resource}{place}"),
            allowed: seen(answer.map(|review| review.status.is_some_and(|status| status.allowed))),
        });
    }
    permissions
}
