//! The kernel's side of the node: the eBPF programs and their maps. `plan` says what the maps must hold, `maps`
//! makes them hold it, `load` attaches the programs and pins all of it, so that it outlives this process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mesh_bpf_abi::{Address, mapped, unmapped};

pub mod load;
pub mod maps;
pub mod plan;

pub use load::{Datapath, DatapathError};
pub use maps::{Announcement, ConnectionMaps, OwnAddresses};

pub(crate) fn address_of(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => mapped(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

pub(crate) fn ip_of(address: &Address) -> IpAddr {
    match unmapped(address) {
        Some(v4) => Ipv4Addr::from(v4).into(),
        None => Ipv6Addr::from(*address).into(),
    }
}
