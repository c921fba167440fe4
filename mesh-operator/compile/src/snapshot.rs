//! Everything that is compiled, as it stood at one moment.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use mesh_ir::map::SharedMap;
use mesh_ir::name::ObjectName;

use crate::api;
use crate::lookup::{Name, Reads, Table};
use crate::object::{Kind, Object, ObjectId};

macro_rules! tables {
    ($($field:ident, $kind:ident, $key:ty, $type:ty;)*) => {
        /// A set of objects, each kind by name. A clone costs nothing, and shares what it can with the original.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct Snapshot {
            $(pub(crate) $field: SharedMap<$key, Arc<$type>>,)*
        }

        impl Snapshot {
            /// Adds an object, or replaces the one of its name, and says whether that changed anything. An object whose
            /// name is no Kubernetes name is not kept (no source of objects lets one through).
            pub fn insert(&mut self, object: Object) -> bool {
                let id = object.id();
                match object {
                    $(Object::$kind(object) => put(&mut self.$field, <$key>::of(&id), object),)*
                }
            }

            /// Takes an object out, and says whether it was there.
            pub fn remove(&mut self, id: &ObjectId) -> bool {
                match id.kind {
                    $(Kind::$kind => {
                        <$key>::of(id).is_some_and(|key| self.$field.remove(&key).is_some())
                    })*
                }
            }

            pub fn get(&self, id: &ObjectId) -> Option<Object> {
                match id.kind {
                    $(Kind::$kind => {
                        <$key>::of(id).and_then(|key| self.$field.get(&key).cloned()).map(Object::$kind)
                    })*
                }
            }

            /// Where another snapshot differs. What both share is not looked at.
            pub(crate) fn changes_to(&self, after: &Self) -> Vec<Change> {
                let mut changes = Vec::new();
                $(
                    let same = |a: &Arc<$type>, b: &Arc<$type>| Arc::ptr_eq(a, b) || a == b;
                    for change in self.$field.changes_to(&after.$field, same) {
                        changes.push(Change {
                            kind: Kind::$kind,
                            name: change.key.to_key(),
                            before: change.before.cloned().map(Object::$kind),
                            after: change.after.cloned().map(Object::$kind),
                        });
                    }
                )*
                changes
            }

            /// The same objects for one unit to look up.
            pub(crate) fn tables<'a>(&'a self, reads: &'a Reads) -> Tables<'a> {
                Tables { $($field: Table::new(Kind::$kind, &self.$field, reads),)* }
            }
        }

        /// A snapshot that takes note of what is looked up in it.
        #[derive(Clone, Copy, Debug)]
        #[expect(dead_code, reason = "slices are looked up by what they speak of")]
        pub(crate) struct Tables<'a> {
            $(pub(crate) $field: Table<'a, $key, $type>,)*
        }
    };
}

tables! {
    namespaces, Namespace, Arc<str>, core::Namespace;
    nodes, Node, Arc<str>, core::Node;
    cluster_trust_bundles, ClusterTrustBundle, Arc<str>, api::ClusterTrustBundle;
    definitions, CustomResourceDefinition, Arc<str>, api::Definition;
    gateway_classes, GatewayClass, Arc<str>, api::GatewayClass;
    meshes, XMesh, Arc<str>, api::XMesh;
    pods, Pod, ObjectName, api::Pod;
    services, Service, ObjectName, core::Service;
    endpoint_slices, EndpointSlice, ObjectName, api::EndpointSlice;
    network_policies, NetworkPolicy, ObjectName, NetworkPolicy;
    secrets, Secret, ObjectName, core::Secret;
    config_maps, ConfigMap, ObjectName, api::ConfigMap;
    gateways, Gateway, ObjectName, api::Gateway;
    listener_sets, ListenerSet, ObjectName, api::ListenerSet;
    http_routes, HttpRoute, ObjectName, api::HttpRoute;
    grpc_routes, GrpcRoute, ObjectName, api::GrpcRoute;
    tls_routes, TlsRoute, ObjectName, api::TlsRoute;
    tcp_routes, TcpRoute, ObjectName, api::TcpRoute;
    udp_routes, UdpRoute, ObjectName, api::UdpRoute;
    backend_tls_policies, BackendTlsPolicy, ObjectName, api::BackendTlsPolicy;
    backend_traffic_policies, XBackendTrafficPolicy, ObjectName, api::XBackendTrafficPolicy;
    reference_grants, ReferenceGrant, ObjectName, api::ReferenceGrant;
    backend_policies, BackendPolicy, ObjectName, api::BackendPolicy;
    address_pools, AddressPool, Arc<str>, api::AddressPool;
}

/// One object that is not what it was.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) name: Name,
    pub(crate) before: Option<Object>,
    pub(crate) after: Option<Object>,
}

impl Snapshot {
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.get(id).is_some()
    }
}

/// What objects of a kind are called.
trait Called: Sized {
    fn of(id: &ObjectId) -> Option<Self>;
    fn to_key(&self) -> Name;
}

impl Called for ObjectName {
    fn of(id: &ObjectId) -> Option<Self> {
        Self::shared(id.namespace.clone()?, id.name.clone()).ok()
    }

    fn to_key(&self) -> Name {
        Name::Namespaced(self.clone())
    }
}

impl Called for Arc<str> {
    fn of(id: &ObjectId) -> Option<Self> {
        (!id.name.is_empty()).then(|| id.name.clone())
    }

    fn to_key(&self) -> Name {
        Name::Cluster(self.clone())
    }
}

fn put<K: Ord + Clone, T: PartialEq>(map: &mut SharedMap<K, Arc<T>>, key: Option<K>, object: Arc<T>) -> bool {
    let Some(key) = key else { return false };
    match map.get(&key) {
        Some(before) if **before == *object => false,
        _ => {
            map.insert(key, object);
            true
        }
    }
}
