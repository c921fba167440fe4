//! Telling the neighbours who answers for an address now: gratuitous ARP (RFC 5227, 3) and unsolicited Neighbor
//! Advertisements (RFC 4861, 7.2.6).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV6};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::kernel::Link;
use super::packet;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Tells them once. On a link without Ethernet addresses there is nobody to tell.
pub(super) fn tell(address: IpAddr, link: &Link) -> io::Result<()> {
    let Some(ethernet) = link.ethernet else { return Ok(()) };
    match address {
        IpAddr::V4(v4) => packet::broadcast_arp(link.index, &announcement(v4, ethernet)),
        IpAddr::V6(v6) => advertise(v6, ethernet, link.index),
    }
}

/// An ARP announcement: a request for one's own address, which every neighbour that knows the address takes note of.
fn announcement(address: Ipv4Addr, ethernet: [u8; 6]) -> [u8; 28] {
    let mut arp = [0; 28];
    // Ethernet, IPv4, lengths of 6 and 4, request.
    arp[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 1]);
    arp[8..14].copy_from_slice(&ethernet);
    arp[14..18].copy_from_slice(&address.octets());
    arp[24..28].copy_from_slice(&address.octets());
    arp
}

fn advertise(address: Ipv6Addr, ethernet: [u8; 6], index: u32) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
    // A receiver drops what a router may have passed on (RFC 4861, 7.1.2).
    socket.set_multicast_hops_v6(255)?;
    socket.set_multicast_if_v6(index)?;
    socket.bind(&SockAddr::from(SocketAddrV6::new(address, 0, 0, index)))?;
    let to = SockAddr::from(SocketAddrV6::new(ALL_NODES, 0, 0, index));
    socket.send_to(&advertisement(address, ethernet), &to).map(|_| ())
}

/// The kernel fills in the checksum.
fn advertisement(address: Ipv6Addr, ethernet: [u8; 6]) -> [u8; 32] {
    let mut message = [0; 32];
    // Neighbor Advertisement; the flag says to override what is known.
    (message[0], message[4]) = (136, 0x20);
    message[8..24].copy_from_slice(&address.octets());
    // Option: the target's link-layer address, 8 bytes long in units of 8.
    (message[24], message[25]) = (2, 1);
    message[26..32].copy_from_slice(&ethernet);
    message
}
