//! The kinds that are compiled and not taken as k8s-openapi has them: the Gateway API's, generated from its published
//! definitions, our own policies, and what is read of the kinds of which a mesh has most.

/// Written by `generate`, which is run by hand when the Gateway API has a new release.
#[allow(clippy::all, dead_code, missing_debug_implementations, non_camel_case_types, unreachable_pub)]
pub mod generated {
    pub mod backend_tls_policy;
    pub mod gateway;
    pub mod gateway_class;
    pub mod grpc_route;
    pub mod http_route;
    pub mod listener_set;
    pub mod reference_grant;
    pub mod tcp_route;
    pub mod tls_route;
    pub mod udp_route;
    pub mod x_backend_traffic_policy;
    pub mod x_mesh;
}
pub mod address_pool;
mod cluster_trust_bundle;
pub mod config_map;
pub mod definition;
mod endpoint_slice;
pub(crate) mod metadata;
mod pod;
pub mod policy;
pub mod reference;
mod shared;

pub use address_pool::AddressPool;
pub use cluster_trust_bundle::ClusterTrustBundle;
pub use config_map::ConfigMap;
pub use definition::Definition;
pub use endpoint_slice::EndpointSlice;
pub(crate) use endpoint_slice::{Endpoint, EndpointPort};
pub use generated::backend_tls_policy::BackendTlsPolicy;
pub use generated::gateway::Gateway;
pub use generated::gateway_class::GatewayClass;
pub use generated::grpc_route::GrpcRoute;
pub use generated::http_route::HttpRoute;
pub use generated::listener_set::ListenerSet;
pub use generated::reference_grant::ReferenceGrant;
pub use generated::tcp_route::TcpRoute;
pub use generated::tls_route::TlsRoute;
pub use generated::udp_route::UdpRoute;
pub use generated::x_backend_traffic_policy::XBackendTrafficPolicy;
pub use generated::x_mesh::XMesh;
pub use metadata::Metadata;
pub use pod::Pod;
pub use policy::BackendPolicy;
pub use reference::{BackendReference, ParentReference};
pub use shared::{Labels, Text};

/// The API group of Gateways, routes and grants.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
/// That of its kinds which are still being tried.
pub const EXPERIMENTAL_GROUP: &str = "gateway.networking.x-k8s.io";
