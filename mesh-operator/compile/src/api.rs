//! The custom kinds that are compiled: the Gateway API's, generated from its published definitions, and our own
//! policies.

/// Written by `generate`, which is run by hand when the Gateway API has a new release.
#[allow(clippy::all, dead_code, missing_debug_implementations, non_camel_case_types, unreachable_pub)]
pub mod generated {
    pub mod gateway;
    pub mod gateway_class;
    pub mod grpc_route;
    pub mod http_route;
    pub mod reference_grant;
    pub mod tcp_route;
    pub mod tls_route;
}
pub mod address_pool;
pub mod policy;
pub mod reference;

pub use address_pool::AddressPool;
pub use generated::gateway::Gateway;
pub use generated::gateway_class::GatewayClass;
pub use generated::grpc_route::GrpcRoute;
pub use generated::http_route::HttpRoute;
pub use generated::reference_grant::ReferenceGrant;
pub use generated::tcp_route::TcpRoute;
pub use generated::tls_route::TlsRoute;
pub use policy::BackendPolicy;
pub use reference::{BackendReference, ParentReference};

/// The API group of Gateways, routes and grants.
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";
