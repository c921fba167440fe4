//! The maps, all pinned: they outlive the node's process.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, SockMap};
use mesh_bpf_abi::{
    Address, Bypass, Endpoint, Flow, MAX_OWN_ADDRESSES, MAX_PODS, Origin, OwnDial, Pod, Source,
};

/// Connections that may be under way at once on a node before the oldest entry is forgotten.
const MAX_FLOWS: u32 = 262_144;

#[map]
pub static PODS: HashMap<u64, Pod> = HashMap::pinned(MAX_PODS, 0);

/// The cgroup of mesh-node itself, where it runs among the pods; 0 where it does not.
#[map]
pub static OWN_CGROUP: Array<u64> = Array::pinned(1, 0);

#[map]
pub static ADDRESSES: HashMap<Address, u32> = HashMap::pinned(262_144, 1 /* BPF_F_NO_PREALLOC */);

#[map]
pub static PORTS: HashMap<Endpoint, u32> = HashMap::pinned(131_072, 1 /* BPF_F_NO_PREALLOC */);

#[map]
pub static FLOWS: LruHashMap<u64, Flow> = LruHashMap::pinned(MAX_FLOWS, 0);

#[map]
pub static ORIGINS: LruHashMap<Source, Origin> = LruHashMap::pinned(MAX_FLOWS, 0);

#[map]
pub static BYPASS: HashMap<Bypass, u32> = HashMap::pinned(65_536, 1 /* BPF_F_NO_PREALLOC */);

/// The node's own addresses.
#[map]
pub static OWN_ADDRESSES: HashMap<Address, u32> =
    HashMap::pinned(MAX_OWN_ADDRESSES, 1 /* BPF_F_NO_PREALLOC */);

#[map]
pub static OWN_DIALS: HashMap<OwnDial, u32> = HashMap::pinned(65_536, 1 /* BPF_F_NO_PREALLOC */);

#[map]
pub static LISTENERS: SockMap = SockMap::pinned(MAX_PODS * 2, 0);
