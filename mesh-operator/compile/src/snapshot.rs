//! Everything that is compiled, as it stood at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use mesh_ir::name::ObjectName;

use crate::api;
use crate::object::{Kind, Object, ObjectId};

/// A set of objects, each kind by name. A clone shares the objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub(crate) namespaces: BTreeMap<Arc<str>, Arc<core::Namespace>>,
    pub(crate) nodes: BTreeMap<Arc<str>, Arc<core::Node>>,
    pub(crate) gateway_classes: BTreeMap<Arc<str>, Arc<api::GatewayClass>>,
    pub(crate) pods: BTreeMap<ObjectName, Arc<core::Pod>>,
    pub(crate) services: BTreeMap<ObjectName, Arc<core::Service>>,
    pub(crate) endpoint_slices: BTreeMap<ObjectName, Arc<EndpointSlice>>,
    pub(crate) network_policies: BTreeMap<ObjectName, Arc<NetworkPolicy>>,
    pub(crate) secrets: BTreeMap<ObjectName, Arc<core::Secret>>,
    pub(crate) config_maps: BTreeMap<ObjectName, Arc<core::ConfigMap>>,
    pub(crate) gateways: BTreeMap<ObjectName, Arc<api::Gateway>>,
    pub(crate) http_routes: BTreeMap<ObjectName, Arc<api::HttpRoute>>,
    pub(crate) reference_grants: BTreeMap<ObjectName, Arc<api::ReferenceGrant>>,
    pub(crate) backend_policies: BTreeMap<ObjectName, Arc<api::BackendPolicy>>,
    pub(crate) address_pools: BTreeMap<Arc<str>, Arc<api::AddressPool>>,
}

impl Snapshot {
    /// Adds an object, or replaces the one of its name, and says whether that changed anything. An object whose
    /// name is no Kubernetes name is not kept (no source of objects lets one through).
    pub fn insert(&mut self, object: Object) -> bool {
        let id = object.id();
        match object {
            Object::Namespace(o) => put(&mut self.namespaces, cluster_key(&id), o),
            Object::Node(o) => put(&mut self.nodes, cluster_key(&id), o),
            Object::GatewayClass(o) => put(&mut self.gateway_classes, cluster_key(&id), o),
            Object::Pod(o) => put(&mut self.pods, key(&id), o),
            Object::Service(o) => put(&mut self.services, key(&id), o),
            Object::EndpointSlice(o) => put(&mut self.endpoint_slices, key(&id), o),
            Object::NetworkPolicy(o) => put(&mut self.network_policies, key(&id), o),
            Object::Secret(o) => put(&mut self.secrets, key(&id), o),
            Object::ConfigMap(o) => put(&mut self.config_maps, key(&id), o),
            Object::Gateway(o) => put(&mut self.gateways, key(&id), o),
            Object::HttpRoute(o) => put(&mut self.http_routes, key(&id), o),
            Object::ReferenceGrant(o) => put(&mut self.reference_grants, key(&id), o),
            Object::BackendPolicy(o) => put(&mut self.backend_policies, key(&id), o),
            Object::AddressPool(o) => put(&mut self.address_pools, cluster_key(&id), o),
        }
    }

    /// Takes an object out, and says whether it was there.
    pub fn remove(&mut self, id: &ObjectId) -> bool {
        match id.kind {
            Kind::Namespace => self.namespaces.remove(&id.name).is_some(),
            Kind::Node => self.nodes.remove(&id.name).is_some(),
            Kind::GatewayClass => self.gateway_classes.remove(&id.name).is_some(),
            Kind::Pod => take(&mut self.pods, id),
            Kind::Service => take(&mut self.services, id),
            Kind::EndpointSlice => take(&mut self.endpoint_slices, id),
            Kind::NetworkPolicy => take(&mut self.network_policies, id),
            Kind::Secret => take(&mut self.secrets, id),
            Kind::ConfigMap => take(&mut self.config_maps, id),
            Kind::Gateway => take(&mut self.gateways, id),
            Kind::HttpRoute => take(&mut self.http_routes, id),
            Kind::ReferenceGrant => take(&mut self.reference_grants, id),
            Kind::BackendPolicy => take(&mut self.backend_policies, id),
            Kind::AddressPool => self.address_pools.remove(&id.name).is_some(),
        }
    }

    pub fn get(&self, id: &ObjectId) -> Option<Object> {
        Some(match id.kind {
            Kind::Namespace => Object::Namespace(self.namespaces.get(&id.name)?.clone()),
            Kind::Node => Object::Node(self.nodes.get(&id.name)?.clone()),
            Kind::GatewayClass => Object::GatewayClass(self.gateway_classes.get(&id.name)?.clone()),
            Kind::Pod => Object::Pod(self.pods.get(&key(id)?)?.clone()),
            Kind::Service => Object::Service(self.services.get(&key(id)?)?.clone()),
            Kind::EndpointSlice => Object::EndpointSlice(self.endpoint_slices.get(&key(id)?)?.clone()),
            Kind::NetworkPolicy => Object::NetworkPolicy(self.network_policies.get(&key(id)?)?.clone()),
            Kind::Secret => Object::Secret(self.secrets.get(&key(id)?)?.clone()),
            Kind::ConfigMap => Object::ConfigMap(self.config_maps.get(&key(id)?)?.clone()),
            Kind::Gateway => Object::Gateway(self.gateways.get(&key(id)?)?.clone()),
            Kind::HttpRoute => Object::HttpRoute(self.http_routes.get(&key(id)?)?.clone()),
            Kind::ReferenceGrant => Object::ReferenceGrant(self.reference_grants.get(&key(id)?)?.clone()),
            Kind::BackendPolicy => Object::BackendPolicy(self.backend_policies.get(&key(id)?)?.clone()),
            Kind::AddressPool => Object::AddressPool(self.address_pools.get(&id.name)?.clone()),
        })
    }

    pub fn contains(&self, id: &ObjectId) -> bool {
        self.get(id).is_some()
    }
}

fn key(id: &ObjectId) -> Option<ObjectName> {
    ObjectName::new(id.namespace.as_deref()?, &id.name).ok()
}

fn cluster_key(id: &ObjectId) -> Option<Arc<str>> {
    (!id.name.is_empty()).then(|| id.name.clone())
}

fn put<K: Ord, T: PartialEq>(map: &mut BTreeMap<K, Arc<T>>, key: Option<K>, object: Arc<T>) -> bool {
    let Some(key) = key else { return false };
    match map.get(&key) {
        Some(before) if **before == *object => false,
        _ => {
            map.insert(key, object);
            true
        }
    }
}

fn take<T>(map: &mut BTreeMap<ObjectName, Arc<T>>, id: &ObjectId) -> bool {
    key(id).is_some_and(|key| map.remove(&key).is_some())
}
