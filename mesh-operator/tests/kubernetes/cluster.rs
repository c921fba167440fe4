//! The cluster that a test runs in, and its part of it.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use mesh_operator::ApiServer;
use serde_json::{Value, json};
use tokio::sync::Mutex;

/// Longer than the time in which another replica takes over.
const PATIENCE: Duration = Duration::from_secs(40);

/// Two operators that know nothing of each other write over each other's statuses.
static ALONE: Mutex<()> = Mutex::const_new(());

pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

/// Runs a test in a namespace of its own, and removes all it made.
pub(crate) async fn test(body: impl AsyncFnOnce(&Cluster)) {
    if std::env::var_os("KUBECONFIG").is_none() {
        eprintln!("skipped: needs KUBECONFIG");
        return;
    }
    let _alone = ALONE.lock().await;
    let client = Client::try_default().await.unwrap();
    let namespace = format!("weir-test-{:08x}", fastrand::u32(..));
    let cluster = Cluster { client, namespace };
    if let Some(why) = cluster.unsuitable().await {
        eprintln!("skipped: {why}");
        return;
    }
    let namespaces = cluster.cluster_api("", "v1", "Namespace");
    let mut object = DynamicObject::new(&cluster.namespace, &resource("", "v1", "Namespace"));
    object.data = json!({});
    namespaces.create(&PostParams::default(), &object).await.unwrap();
    let result = AssertUnwindSafe(body(&cluster)).catch_unwind().await;
    cluster.clean_up().await;
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

pub(crate) fn condition<'a>(status: &'a Value, kind: &str) -> &'a str {
    find(status, kind)["status"].as_str().unwrap_or_default()
}

pub(crate) fn find<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let conditions = status["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap_or(&Value::Null)
}

impl Cluster {
    /// For an operator, whose runtime has the connections: they end with it.
    pub(crate) async fn server(&self) -> ApiServer {
        Client::try_default().await.unwrap().into()
    }

    pub(crate) async fn create(&self, kind: &str, name: &str, data: Value) {
        let (api, resource) = self.api(kind);
        let mut object = DynamicObject::new(name, &resource);
        object.data = data;
        api.create(&PostParams::default(), &object).await.unwrap();
    }

    pub(crate) async fn patch(&self, kind: &str, name: &str, patch: Value) {
        let (api, _) = self.api(kind);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn patch_status(&self, kind: &str, name: &str, patch: Value) {
        let (api, _) = self.api(kind);
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    pub(crate) async fn delete(&self, kind: &str, name: &str) {
        self.api(kind).0.delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Null where it is not there.
    pub(crate) async fn get(&self, kind: &str, name: &str) -> Value {
        let object = self.api(kind).0.get_opt(name).await.unwrap();
        object.map_or(Value::Null, |object| serde_json::to_value(object).unwrap())
    }

    pub(crate) async fn wait(&self, kind: &str, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let object = self.get(kind, name).await;
            if !object.is_null() && is_so(&object) {
                return object;
            }
            assert!(Instant::now() < end, "{kind} {name} is not as it should be: {}", shown(object));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn wait_gone(&self, kind: &str, name: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.get(kind, name).await.is_null() {
            assert!(Instant::now() < end, "{kind} {name} is still there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn node_names(&self) -> Vec<String> {
        let nodes = self.cluster_api("", "v1", "Node").list(&ListParams::default()).await.unwrap();
        nodes.items.into_iter().map(|node| node.metadata.name.unwrap()).collect()
    }

    pub(crate) async fn create_pool(&self, addresses: &[&str]) -> String {
        let pools = self.cluster_api("weir.dev", "v1alpha1", "AddressPool");
        let mut pool = DynamicObject::new(&self.namespace, &resource("weir.dev", "v1alpha1", "AddressPool"));
        pool.data = json!({"spec": {"addresses": addresses}});
        pools.create(&PostParams::default(), &pool).await.unwrap();
        self.namespace.clone()
    }

    pub(crate) async fn delete_pool(&self, name: &str) {
        let pools = self.cluster_api("weir.dev", "v1alpha1", "AddressPool");
        pools.delete(name, &DeleteParams::default()).await.unwrap();
    }

    fn api(&self, kind: &str) -> (Api<DynamicObject>, ApiResource) {
        let kinds = BTreeMap::from([
            ("EndpointSlice", ("discovery.k8s.io", "v1")),
            ("Gateway", ("gateway.networking.k8s.io", "v1")),
            ("GatewayClass", ("gateway.networking.k8s.io", "v1")),
            ("HTTPRoute", ("gateway.networking.k8s.io", "v1")),
            ("Lease", ("coordination.k8s.io", "v1")),
            ("Service", ("", "v1")),
        ]);
        let (group, version) = kinds[kind];
        let resource = resource(group, version, kind);
        let api = match kind {
            "GatewayClass" => Api::all_with(self.client.clone(), &resource),
            _ => Api::namespaced_with(self.client.clone(), &self.namespace, &resource),
        };
        (api, resource)
    }

    fn cluster_api(&self, group: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(group, version, kind))
    }

    async fn unsuitable(&self) -> Option<String> {
        let definitions = self.cluster_api("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
        for name in ["gateways.gateway.networking.k8s.io", "addresspools.weir.dev"] {
            if definitions.get_opt(name).await.unwrap().is_none() {
                return Some(format!("needs the CustomResourceDefinition {name}"));
            }
        }
        let leases = self.cluster_api("coordination.k8s.io", "v1", "Lease");
        let others = leases.list(&ListParams::default().fields("metadata.name=weir-operator")).await.unwrap();
        let is_test = |lease: &DynamicObject| {
            lease.metadata.namespace.as_ref().is_some_and(|namespace| namespace.starts_with("weir-test-"))
        };
        let held = |lease: &&DynamicObject| lease.data["spec"]["holderIdentity"] != "" && !is_test(lease);
        let other = others.items.iter().find(held)?;
        let namespace = other.metadata.namespace.as_deref().unwrap_or_default();
        Some(format!("needs a cluster without an operator of Weir, and one leads in {namespace}"))
    }

    async fn clean_up(&self) {
        let pools = self.cluster_api("weir.dev", "v1alpha1", "AddressPool");
        for api in [pools, self.cluster_api("", "v1", "Namespace")] {
            match api.delete(&self.namespace, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => eprintln!("cannot remove {} of the test: {error}", self.namespace),
            }
        }
    }
}

fn resource(group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}

/// Without who wrote which field, which is most of an object.
fn shown(mut object: Value) -> String {
    object["metadata"]["managedFields"] = Value::Null;
    format!("{object:#}")
}
