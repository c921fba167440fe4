//! Sending an ARP packet, for which no library builds the address.
#![allow(unsafe_code)]

use std::io;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// To every neighbour on the interface `index`; the kernel puts the Ethernet header before it.
pub(super) fn broadcast_arp(index: u32, arp: &[u8; 28]) -> io::Result<()> {
    // Protocol numbers of packet sockets are in network order (packet(7)).
    let protocol = (libc::ETH_P_ARP as u16).to_be();
    // Made for no protocol, so that the socket is sent no packet while it lives.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(0)))?;
    let index = i32::try_from(index).map_err(io::Error::other)?;
    // SAFETY: `storage` is as large as any socket address and aligned for it, so a `sockaddr_ll` fits into it; it is
    // zeroed, and every field of a `sockaddr_ll` is an integer for which zero is a value. The length is that of what was
    // written.
    let (_, to) = unsafe {
        SockAddr::try_init(|storage, length| {
            let address = &mut *storage.cast::<libc::sockaddr_ll>();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol;
            address.sll_ifindex = index;
            address.sll_halen = 6;
            address.sll_addr[..6].copy_from_slice(&[0xff; 6]);
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    socket.send_to(arp, &to).map(|_| ())
}
