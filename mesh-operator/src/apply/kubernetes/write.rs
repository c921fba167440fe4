//! The requests that write.

use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use mesh_compile::{CONTROLLER, Kind, MANAGED_BY_LABEL, MANAGER, ObjectId};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::merge;
use super::plan::Write;
use crate::cluster;

const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a status is tried again that somebody else changes meanwhile.
const ATTEMPTS: usize = 5;

/// A write that was not made.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) subject: String,
    pub(super) problem: String,
}

pub(super) struct Writer {
    client: Client,
}

impl Writer {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(super) async fn write(&self, write: &Write) -> Result<(), Failure> {
        let (subject, result) = match write {
            Write::Status { id, live, ours, .. } => {
                let first = Some((live.resource_version.clone(), live.content["status"].clone()));
                (format!("status of {id}"), self.bounded(self.status(id, first, ours.as_ref())).await)
            }
            Write::Apply { id, body } => (id.to_string(), self.bounded(self.apply(id, body)).await),
            Write::Delete { id, live } => {
                let uid = live.content["metadata"]["uid"].as_str().map(Into::into);
                (format!("removal of {id}"), self.bounded(self.delete(id, uid)).await)
            }
            Write::Addresses { id, live, ingress } => {
                // Whoever else wrote meanwhile wrote no addresses; but it must be the same Service.
                let patch = json!({
                    "metadata": { "uid": live.content["metadata"]["uid"] },
                    "status": { "loadBalancer": { "ingress": ingress } },
                });
                (format!("addresses of {id}"), self.bounded(self.patch_status(id, patch)).await)
            }
            Write::Create(id) => (id.to_string(), self.bounded(self.create(id)).await),
        };
        result.map_err(|problem| Failure { subject, problem })
    }

    async fn bounded(&self, request: impl Future<Output = kube::Result<()>>) -> Result<(), String> {
        match tokio::time::timeout(TIMEOUT, request).await {
            Ok(result) => result.map_err(|error| cluster::problem(&error)),
            Err(_) => Err(format!("no answer in {TIMEOUT:?}")),
        }
    }

    /// Writes our part of a status over that of `seen`. Where somebody else was faster, what they wrote is merged with
    /// ours anew.
    async fn status(
        &self,
        id: &ObjectId,
        mut seen: Option<(String, Value)>,
        ours: Option<&Value>,
    ) -> kube::Result<()> {
        let mut attempt = 1;
        loop {
            let (version, live) = match seen.take() {
                Some(seen) => seen,
                None => match self.api(id).get_opt(&id.name).await? {
                    Some(mut object) => {
                        (object.metadata.resource_version.unwrap_or_default(), object.data["status"].take())
                    }
                    None => return Ok(()),
                },
            };
            let Some(status) = merge::merge(id.kind, &live, ours, &now()) else { return Ok(()) };
            let patch = json!({ "metadata": { "resourceVersion": version }, "status": status });
            match self.patch_status(id, patch).await {
                Err(error) if cluster::is(&error, 409) && attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    async fn patch_status(&self, id: &ObjectId, mut patch: Value) -> kube::Result<()> {
        patch["apiVersion"] = json!(id.kind.api_version());
        patch["kind"] = json!(id.kind.as_str());
        let params = PatchParams { field_manager: Some(MANAGER.into()), ..PatchParams::default() };
        match self.api(id).patch_status(&id.name, &params, &Patch::Merge(&patch)).await {
            Ok(_) => Ok(()),
            // It was deleted meanwhile.
            Err(error) if cluster::is(&error, 404) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn apply(&self, id: &ObjectId, body: &Value) -> kube::Result<()> {
        // Fields that we say are ours, whoever else has set them; all others are left alone.
        let params = PatchParams::apply(MANAGER).force();
        self.api(id).patch(&id.name, &params, &Patch::Apply(body)).await.map(|_| ())
    }

    async fn delete(&self, id: &ObjectId, uid: Option<String>) -> kube::Result<()> {
        let preconditions = Preconditions { uid, ..Preconditions::default() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.api(id).delete(&id.name, &params).await {
            Ok(_) => Ok(()),
            // It is gone, or another is in its place.
            Err(error) if cluster::is(&error, 404) || cluster::is(&error, 409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn create(&self, id: &ObjectId) -> kube::Result<()> {
        let mut object = DynamicObject::new(&id.name, &resource(id.kind));
        object.metadata.labels = Some([(MANAGED_BY_LABEL.into(), MANAGER.into())].into());
        object.data = json!({ "spec": { "controllerName": CONTROLLER } });
        // GEP-3949 lets nothing else be said of a mesh.
        if id.kind == Kind::GatewayClass {
            object.data["spec"]["description"] = json!("Gateways of Weir: every node's proxy serves them");
        }
        match self.api(id).create(&PostParams::default(), &object).await {
            Ok(_) => {
                tracing::info!(object = %id, "created what the mesh brings with it");
                Ok(())
            }
            Err(error) if cluster::is(&error, 409) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn api(&self, id: &ObjectId) -> Api<DynamicObject> {
        let resource = resource(id.kind);
        match &id.namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        }
    }
}

pub(crate) fn resource(kind: Kind) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(kind.group(), kind.versions()[0], kind.as_str()))
}

fn now() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).expect("today's year has four digits")
}
