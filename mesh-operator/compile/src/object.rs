//! The kinds of objects that are compiled, and what each object is called.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use mesh_ir::name::ObjectName;
use mesh_ir::resource::RouteKind;

use crate::api;
use crate::api::metadata::Named;
use crate::read::{self, ReadError, Unknown};

/// Names an object across kinds and namespaces; shown as `HTTPRoute bookinfo/reviews`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    pub kind: Kind,
    /// `None` for kinds that belong to no namespace.
    pub namespace: Option<Arc<str>>,
    pub name: Arc<str>,
}

impl ObjectId {
    /// The object of a kind that belongs to a namespace.
    pub fn namespaced(kind: Kind, name: &ObjectName) -> Self {
        Self { kind, namespace: Some(name.namespace.as_str().into()), name: name.name.clone() }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.as_str())?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

macro_rules! kinds {
    ($($kind:ident, $type:ty, $group:literal, $versions:expr, $name:literal, $namespaced:literal;)*) => {
        /// Every kind that is compiled.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($kind,)*
        }

        impl Kind {
            pub const ALL: &[Kind] = &[$(Self::$kind,)*];

            /// The kind as users write it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// The API group, empty for the core group.
            pub fn group(self) -> &'static str {
                match self {
                    $(Self::$kind => $group,)*
                }
            }

            /// The versions that are read, the one that is written first.
            pub fn versions(self) -> &'static [&'static str] {
                match self {
                    $(Self::$kind => $versions,)*
                }
            }

            pub fn is_namespaced(self) -> bool {
                match self {
                    $(Self::$kind => $namespaced,)*
                }
            }
        }

        /// An object of one of those kinds.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Object {
            $($kind(Arc<$type>),)*
        }

        impl Object {
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$kind(_) => Kind::$kind,)*
                }
            }

            fn metadata(&self) -> &dyn Named {
                match self {
                    $(Self::$kind(object) => &object.metadata,)*
                }
            }

            /// An object as the API server gives it. Fields that are not known are left out.
            pub fn from_json(kind: Kind, value: &serde_json::Value) -> Result<Self, ReadError> {
                match kind {
                    $(Kind::$kind => read::read::<$type>(value).map(Self::from),)*
                }
            }

            /// The same, and the fields that are not known.
            pub(crate) fn read_strictly(
                kind: Kind,
                value: &serde_json::Value,
            ) -> Result<(Self, Vec<Unknown>), ReadError> {
                match kind {
                    $(Kind::$kind => {
                        read::read_strictly::<$type>(value).map(|(object, unknown)| (object.into(), unknown))
                    })*
                }
            }
        }

        $(
            impl From<$type> for Object {
                fn from(object: $type) -> Self {
                    Self::$kind(Arc::new(object))
                }
            }
        )*
    };
}

kinds! {
    Namespace, core::Namespace, "", &["v1"], "Namespace", false;
    Node, core::Node, "", &["v1"], "Node", false;
    Pod, api::Pod, "", &["v1"], "Pod", true;
    Service, core::Service, "", &["v1"], "Service", true;
    EndpointSlice, api::EndpointSlice, "discovery.k8s.io", &["v1"], "EndpointSlice", true;
    NetworkPolicy, NetworkPolicy, "networking.k8s.io", &["v1"], "NetworkPolicy", true;
    Secret, core::Secret, "", &["v1"], "Secret", true;
    ConfigMap, api::ConfigMap, "", &["v1"], "ConfigMap", true;
    ClusterTrustBundle, api::ClusterTrustBundle, "certificates.k8s.io", &["v1", "v1beta1", "v1alpha1"], "ClusterTrustBundle", false;
    CustomResourceDefinition, api::Definition, "apiextensions.k8s.io", &["v1"], "CustomResourceDefinition", false;
    GatewayClass, api::GatewayClass, "gateway.networking.k8s.io", &["v1", "v1beta1"], "GatewayClass", false;
    Gateway, api::Gateway, "gateway.networking.k8s.io", &["v1", "v1beta1"], "Gateway", true;
    ListenerSet, api::ListenerSet, "gateway.networking.k8s.io", &["v1"], "ListenerSet", true;
    GrpcRoute, api::GrpcRoute, "gateway.networking.k8s.io", &["v1"], "GRPCRoute", true;
    HttpRoute, api::HttpRoute, "gateway.networking.k8s.io", &["v1", "v1beta1"], "HTTPRoute", true;
    TcpRoute, api::TcpRoute, "gateway.networking.k8s.io", &["v1", "v1alpha2"], "TCPRoute", true;
    TlsRoute, api::TlsRoute, "gateway.networking.k8s.io", &["v1", "v1alpha3", "v1alpha2"], "TLSRoute", true;
    UdpRoute, api::UdpRoute, "gateway.networking.k8s.io", &["v1", "v1alpha2"], "UDPRoute", true;
    BackendTlsPolicy, api::BackendTlsPolicy, "gateway.networking.k8s.io", &["v1", "v1alpha3"], "BackendTLSPolicy", true;
    ReferenceGrant, api::ReferenceGrant, "gateway.networking.k8s.io", &["v1", "v1beta1"], "ReferenceGrant", true;
    XBackendTrafficPolicy, api::XBackendTrafficPolicy, "gateway.networking.x-k8s.io", &["v1alpha1"], "XBackendTrafficPolicy", true;
    XMesh, api::XMesh, "gateway.networking.x-k8s.io", &["v1alpha1"], "XMesh", false;
    BackendPolicy, api::BackendPolicy, "weir.dev", &["v1alpha1"], "BackendPolicy", true;
    AddressPool, api::AddressPool, "weir.dev", &["v1alpha1"], "AddressPool", false;
}

/// Whose status a kind has, and how it is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusShape {
    /// One controller's.
    Own,
    /// A list, with entries of each controller for each parent.
    Parents,
    /// A list, with entries of each controller for each ancestor (GEP-713).
    Ancestors,
}

impl Kind {
    /// The kind of the objects that routes of a kind come from.
    pub(crate) fn of_routes(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Grpc => Self::GrpcRoute,
            RouteKind::Http => Self::HttpRoute,
            RouteKind::Tls => Self::TlsRoute,
            RouteKind::Tcp => Self::TcpRoute,
            RouteKind::Udp => Self::UdpRoute,
        }
    }

    pub(crate) fn as_route(self) -> Option<RouteKind> {
        RouteKind::ALL.into_iter().find(|kind| Self::of_routes(*kind) == self)
    }

    /// The status that is written, where there is one.
    pub fn status_shape(self) -> Option<StatusShape> {
        match self {
            Self::GatewayClass | Self::Gateway | Self::ListenerSet | Self::XMesh | Self::AddressPool => {
                Some(StatusShape::Own)
            }
            Self::BackendPolicy | Self::BackendTlsPolicy | Self::XBackendTrafficPolicy => {
                Some(StatusShape::Ancestors)
            }
            _ => self.as_route().map(|_| StatusShape::Parents),
        }
    }

    /// `v1`, or `group/version`.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.versions()[0].into(),
            group => format!("{group}/{}", self.versions()[0]),
        }
    }

    /// The kind that a manifest's `apiVersion` and `kind` name, if it is one of ours.
    pub fn from_manifest(api_version: &str, kind: &str) -> Option<Self> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let is_it = |k: &&Kind| k.as_str() == kind && k.group() == group && k.versions().contains(&version);
        Self::ALL.iter().find(is_it).copied()
    }
}

impl Object {
    pub fn id(&self) -> ObjectId {
        let metadata = self.metadata();
        let namespaced = self.kind().is_namespaced();
        ObjectId {
            kind: self.kind(),
            namespace: namespaced.then(|| metadata.namespace().unwrap_or_else(|| "default".into())),
            name: metadata.name(),
        }
    }
}
