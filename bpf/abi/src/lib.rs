//! What the kernel side shares with mesh-node: the layout of the maps' keys and values, and the arithmetic that
//! both sides must agree on. Integers and byte arrays only, no padding, sizes asserted beside each type; neither a
//! map nor a program is in here.
#![no_std]

/// Where captured connections are sent, in the pod's own network namespace, on the loopback addresses.
pub const OUTBOUND_PORT: u16 = 15001;
/// Where the listener for inbound connections is bound; `sk_lookup` hands it connections for every port.
pub const INBOUND_PORT: u16 = 15006;

/// An address of either family, as sixteen bytes: IPv4 is mapped (`::ffff:a.b.c.d`), which is also how IPv6 sockets
/// dial it.
pub type Address = [u8; 16];

pub const fn mapped(v4: [u8; 4]) -> Address {
    let [a, b, c, d] = v4;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// The IPv4 address that a mapped address stands for.
pub const fn unmapped(address: &Address) -> Option<[u8; 4]> {
    match *address {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some([a, b, c, d]),
        _ => None,
    }
}

macro_rules! layout {
    ($type:ident, $size:literal) => {
        const _: () = assert!(size_of::<$type>() == $size);
        #[cfg(feature = "user")]
        // SAFETY: `repr(C)`, made of integers and byte arrays, and as large as its fields together: no padding.
        unsafe impl aya::Pod for $type {}
    };
}

/// A captured pod, in PODS under its network namespace's cookie. All zero where it has no address of a family.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    pub v4: Address,
    pub v6: Address,
}
layout!(Pod, 32);

/// In ADDRESSES: what of an address belongs to the mesh.
pub const EVERY_PORT: u32 = 1;
/// Only the ports listed in PORTS.
pub const LISTED_PORTS: u32 = 2;

/// A Service's address and port, in PORTS. The port is in host order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub address: Address,
    pub port: u32,
}
layout!(Endpoint, 20);

/// Where a captured connection comes out at the proxy: its source, within a network namespace. The key of ORIGINS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Source {
    pub netns: u64,
    pub address: Address,
    pub port: u64,
}
layout!(Source, 32);

/// What the application dialled.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub address: Address,
    pub port: u64,
}
layout!(Origin, 24);

/// A captured socket, in FLOWS under its cookie. `source` is complete once the connection was begun.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    pub origin: Origin,
    pub source: Source,
}
layout!(Flow, 56);

/// A connection that the proxy itself is about to make into a pod, in BYPASS: `sk_lookup` leaves it alone.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bypass {
    pub remote: Address,
    pub local: Address,
    pub remote_port: u32,
    pub local_port: u32,
    /// The pod's slot.
    pub slot: u32,
}
layout!(Bypass, 44);

/// A connection by which the node's own Gateways are about to dial one of its pods in the mesh's TLS, in OWN_DIALS: it
/// comes from one of the node's addresses, and `sk_lookup` hands it to the proxy nevertheless. Ports in host order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnDial {
    pub local: Address,
    pub remote_port: u32,
    pub local_port: u32,
}
layout!(OwnDial, 24);

/// How many addresses of the node itself are known. With kube-proxy in mode IPVS each Service's is one of them.
pub const MAX_OWN_ADDRESSES: u32 = 65_536;

/// How many pods one node can capture.
pub const MAX_PODS: u32 = 1024;

/// Where the listeners of the pod in `slot` are in LISTENERS.
pub const fn listener_index(slot: u32, v6: bool) -> u32 {
    slot * 2 + v6 as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abi_mapped_addresses_come_back() {
        assert_eq!(unmapped(&mapped([10, 1, 2, 3])), Some([10, 1, 2, 3]));
        assert_eq!(unmapped(&[0; 16]), None);
        assert_ne!(listener_index(0, true), listener_index(1, false));
    }
}
