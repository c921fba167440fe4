//! The node's part of the mesh: it captures the traffic of the meshed pods on its node with eBPF, is their proxy and
//! the proxy of the Gateways, holds their keys, and reports what went through.
//!
//! What the mesh means is not decided here but in `mesh_ir::eval`; only `datapath` knows eBPF, only `identity`
//! holds workload keys. The flow is subscribe → state → capture (datapath, pods) → proxy.

pub mod admin;
pub mod announce;
pub mod capabilities;
pub mod capture;
pub mod cni;
pub mod datapath;
pub mod files;
pub mod host;
pub mod identity;
mod names;
mod netlink;
pub mod netns;
pub mod pods;
pub mod proxy;
pub mod run;
pub mod settings;
pub mod sockets;
pub mod state;
pub mod subscribe;
pub mod sysctl;
pub mod telemetry;
pub mod uninstall;
