//! The kernel's addresses, over netlink: which are ours, adding and removing them, and the interface of a network.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use rtnetlink::packet_route::link::LinkAttribute;
use rtnetlink::{Handle, new_connection};
use tokio::task::JoinHandle;

use crate::netlink::{io_error, own_address};

/// Marks an address as ours. The kernel knows 0 to 3 (linux/if_addr.h), and no other program is known to use this one.
const PROTOCOL: AddressProtocol = AddressProtocol::Other(0x77);
/// Marks an IPv4 address for kernels that do not know protocols. A label begins with its interface's name.
const LABEL: &str = "lo:weir";
/// `lo` has this index in every network namespace.
const LOOPBACK: u32 = 1;
const FOREVER: u32 = u32::MAX;

/// A connection to the kernel for the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Kernel {
    handle: Handle,
    connection: JoinHandle<()>,
}

/// An interface on which neighbours are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// Its Ethernet address; `None` where it has none, as a tunnel.
    pub(super) ethernet: Option<[u8; 6]>,
}

/// An address that is ours.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) address: IpAddr,
    message: AddressMessage,
}

impl Kernel {
    pub(super) fn open() -> io::Result<Self> {
        let (connection, handle, _) = new_connection()?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    pub(super) async fn ours(&self) -> io::Result<Vec<Ours>> {
        let found = self.addresses().await?.into_iter().filter(is_ours);
        Ok(found
            .filter_map(|message| Some(Ours { address: own_address(&message.attributes)?, message }))
            .collect())
    }

    pub(super) async fn add(&self, address: IpAddr, link: &Link) -> io::Result<()> {
        let (index, length) = if address.is_ipv4() { (LOOPBACK, 32) } else { (link.index, 128) };
        let mut request = self.handle.address().add(index, address, length);
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::Protocol(PROTOCOL));
        if address.is_ipv4() {
            attributes.push(AddressAttribute::Label(LABEL.into()));
        } else {
            // Detecting a duplicate takes a second, and would find the node that had the address before.
            attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
            let mut life = CacheInfo::default();
            (life.ifa_preferred, life.ifa_valid) = (0, FOREVER);
            attributes.push(AddressAttribute::CacheInfo(life));
        }
        match request.execute().await.map_err(io_error) {
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                let text =
                    format!("{address} is on this node already, and not by mesh-node; remove it there");
                Err(io::Error::new(io::ErrorKind::AlreadyExists, text))
            }
            added => added,
        }
    }

    pub(super) async fn remove(&self, ours: Ours) -> io::Result<()> {
        match self.handle.address().del(ours.message).execute().await.map_err(io_error) {
            // Gone with its interface.
            Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
            removed => removed,
        }
    }

    /// The interface whose network holds `address`, else the one that has `node_ip`.
    pub(super) async fn link_for(&self, address: IpAddr, node_ip: IpAddr) -> io::Result<Link> {
        let all = self.addresses().await?;
        let others = all.iter().filter(|message| !is_ours(message) && message.header.index != LOOPBACK);
        let holding = others.clone().filter(|message| holds(message, address));
        // Of several the narrowest network is the one that is routed to.
        let by_network = holding.max_by_key(|message| message.header.prefix_len);
        let by_node = || others.clone().find(|message| own_address(&message.attributes) == Some(node_ip));
        let Some(index) = by_network.or_else(by_node).map(|message| message.header.index) else {
            let text = format!(
                "no interface of this node has a network that {address} is in, nor --node-ip {node_ip}"
            );
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
        };
        let mut links = self.handle.link().get().match_index(index).execute();
        let link = links.try_next().await.map_err(io_error)?;
        let link = link.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the interface is gone"))?;
        let mut found = Link { index, name: String::new(), ethernet: None };
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => found.name = name,
                LinkAttribute::Address(bytes) => found.ethernet = bytes.try_into().ok(),
                _ => {}
            }
        }
        Ok(found)
    }

    async fn addresses(&self) -> io::Result<Vec<AddressMessage>> {
        self.handle.address().get().execute().try_collect().await.map_err(io_error)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn is_ours(message: &AddressMessage) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        AddressAttribute::Protocol(protocol) => *protocol == PROTOCOL,
        AddressAttribute::Label(label) => label == LABEL,
        _ => false,
    })
}

fn holds(message: &AddressMessage, address: IpAddr) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    let length = u32::from(message.header.prefix_len);
    let width = if message.header.family == AddressFamily::Inet { 32 } else { 128 };
    match own_address(&message.attributes) {
        // A single address is no network.
        Some(own) if own.is_ipv4() == address.is_ipv4() && (1..width).contains(&length) => {
            (bits(own) ^ bits(address)) >> (128 - length) == 0
        }
        _ => false,
    }
}
