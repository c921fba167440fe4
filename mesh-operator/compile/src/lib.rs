//! Compiles Kubernetes objects into the mesh's configuration, the statuses that the Gateway API demands of them, and
//! the Services and EndpointSlices that Gateways need.
//!
//! This crate is pure. It reads no cluster, no folder and no clock, and writes nothing: a `Snapshot` goes in and a
//! `Compiled` comes out; a `Compiler` keeps what it needs to make the next of them at the cost of what differs. What is wrong in the input becomes configuration (an answer to give) and status, never an
//! error, so that one object's mistake leaves all others as they are.

mod address;
pub mod api;
mod attach;
mod authorities;
mod backend;
mod backend_tls;
mod certificate;
mod claims;
mod class;
mod compiler;
mod connection_route;
mod duration;
mod features;
mod gateway;
mod gateway_service;
#[cfg(feature = "generate")]
pub mod generate;
mod grant;
mod grpc_route;
mod http_route;
mod listener;
mod listener_set;
mod lookup;
pub mod manifest;
mod mesh;
mod network_policy;
mod node;
mod object;
mod policy;
pub mod read;
mod route;
mod selector;
mod service;
mod session;
mod snapshot;
pub mod status;
mod traffic_policy;
mod workload;

use std::net::IpAddr;
use std::sync::Arc;

use mesh_ir::config::MeshConfig;
use mesh_ir::map::SharedMap;
use mesh_ir::name::TrustDomain;
use mesh_ir::resource::{Mode, SameNode};
use serde_json::Value;

pub use api::config_map::AUTHORITIES_KEY;
pub use api::definition::BUNDLE_VERSION_ANNOTATION;
pub use api::{EXPERIMENTAL_GROUP, GATEWAY_GROUP};
pub use compiler::Compiler;
pub use gateway_service::{ANNOUNCED_BY_ANNOTATION, GATEWAY_NAME_LABEL, MANAGED_BY_LABEL, MANAGER};
pub use object::{Kind, Object, ObjectId, StatusShape};
pub use snapshot::Snapshot;
pub use status::Status;
pub use workload::MIRROR_ANNOTATION;

/// What a GatewayClass, or an XMesh, names as its controller to be ours.
pub const CONTROLLER: &str = "weir.dev/gateway-controller";

/// The GatewayClass that the mesh brings with it. A Gateway may name it before the object exists.
pub const GATEWAY_CLASS: &str = "weir";

/// The XMesh that the mesh brings with it.
pub const MESH: &str = "weir";

/// What applies to the whole mesh.
#[derive(Clone, Debug)]
pub struct Settings {
    pub trust_domain: TrustDomain,
    /// The mode of workloads whose namespace says none.
    pub default_mode: Mode,
    /// How workloads of one node reach each other at least; those that a NetworkPolicy selects by the pod network at
    /// least, whatever this says.
    pub same_node: SameNode,
}

/// All that follows from a `Snapshot`. A clone costs nothing, and shares what it can with the original.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compiled {
    pub config: MeshConfig,
    /// Of every object whose status is ours to write.
    pub statuses: SharedMap<ObjectId, Arc<Status>>,
    /// The Services and EndpointSlices that accepted Gateways need, as the API server is given them.
    pub owned: SharedMap<ObjectId, Arc<Value>>,
    /// The addresses that AddressPools give to the Services of Gateways. A Service that is not named has its addresses
    /// from elsewhere.
    pub addresses: SharedMap<ObjectId, Vec<IpAddr>>,
}

/// Compiles everything. `lastTransitionTime` of a condition is not in the result: it is for whoever writes the
/// status, who alone knows what stood there before.
pub fn compile(snapshot: &Snapshot, settings: &Settings) -> Compiled {
    let mut compiler = Compiler::new(settings.clone());
    compiler.update(snapshot);
    compiler.compiled().clone()
}
