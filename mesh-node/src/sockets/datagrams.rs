//! The sockets of UDP: one a worker for each port of the Gateways, and one for each client, connected to its backend.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::sockopt::{Ipv6RecvPacketInfo, RxqOvfl};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg, sendmsg, setsockopt,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// More than the payload of any datagram: what is read is never cut.
pub const MAX_DATAGRAM: usize = 65_536;
/// What the kernel holds for a worker that is busy: some thousand small datagrams. It grants no more than
/// net.core.rmem_max.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Between whom a datagram goes. The client is known by the address of the node that it dialled too: what answers it must
/// come from there. Both are of IPv6; IPv4 is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    pub client: SocketAddrV6,
    pub own: Ipv6Addr,
    /// Where `own` is an address that several links may have; zero otherwise, and routing decides.
    interface: u32,
}

impl Ends {
    /// The client in its own family.
    pub fn client(&self) -> SocketAddr {
        super::canonical(self.client.into())
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    pub length: usize,
    pub ends: Ends,
    /// How many datagrams the kernel has dropped so far because nobody read them in time.
    pub overflown: u32,
}

/// A receiver of one worker for a port of all of the node's addresses; the other workers' share it, and the kernel gives all
/// that a client sends to one of them.
pub fn receiver(port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
    let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.set_only_v6(false)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
    setsockopt(&socket, RxqOvfl, &1)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// A socket that sends to this address, and hears nobody else.
pub fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::from(to))?;
    Ok(socket.into())
}

/// Over a connected socket; at once or not at all.
pub fn send(socket: &impl AsRawFd, datagram: &[u8]) -> io::Result<()> {
    Ok(nix::sys::socket::send(socket.as_raw_fd(), datagram, MsgFlags::empty()).map(|_| ())?)
}

/// The next datagram of a connected socket, or what it was told of an earlier one that it sent.
pub fn recv(socket: &impl AsRawFd, datagram: &mut [u8]) -> io::Result<usize> {
    Ok(nix::sys::socket::recv(socket.as_raw_fd(), datagram, MsgFlags::empty())?)
}

/// Where control messages are put, and the buffer for the datagram.
#[derive(Debug)]
pub struct Buffer {
    pub datagram: Box<[u8]>,
    control: Vec<u8>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { datagram: vec![0; MAX_DATAGRAM].into(), control: nix::cmsg_space!(libc::in6_pktinfo, u32) }
    }
}

/// The next datagram of a receiver, if there is one.
pub fn receive(socket: &impl AsRawFd, buffer: &mut Buffer) -> io::Result<Arrived> {
    let mut parts = [IoSliceMut::new(&mut buffer.datagram)];
    let control = Some(&mut buffer.control[..]);
    let message = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut parts, control, MsgFlags::empty())?;
    let (mut own, mut overflown) = (None, 0);
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::Ipv6PacketInfo(info) => own = Some(info),
            ControlMessageOwned::RxqOvfl(count) => overflown = count,
            _ => {}
        }
    }
    let missing = || io::Error::other("the kernel did not say from whom, or to whom, a datagram is");
    let (client, info) = message.address.zip(own).ok_or_else(missing)?;
    let own = Ipv6Addr::from(info.ipi6_addr.s6_addr);
    let interface = if own.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
    // The flow label is no part of who it is.
    let client = SocketAddrV6::new(client.ip(), client.port(), 0, client.scope_id());
    Ok(Arrived { length: message.bytes, ends: Ends { client, own, interface }, overflown })
}

/// Answers a client from the address that it dialled.
pub fn answer(socket: &impl AsRawFd, datagram: &[u8], ends: &Ends) -> io::Result<()> {
    let from = libc::in6_pktinfo {
        ipi6_addr: libc::in6_addr { s6_addr: ends.own.octets() },
        ipi6_ifindex: ends.interface,
    };
    let control = [ControlMessage::Ipv6PacketInfo(&from)];
    let to = SockaddrIn6::from(ends.client);
    sendmsg(socket.as_raw_fd(), &[IoSlice::new(datagram)], &control, MsgFlags::empty(), Some(&to))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn wait(socket: &UdpSocket) {
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }

    /// On the address that the client dials, of several that the socket has.
    fn check(dialled: &str) {
        let socket = receiver(0).unwrap();
        wait(&socket);
        let dialled = SocketAddr::new(dialled.parse().unwrap(), socket.local_addr().unwrap().port());
        let client = connected(dialled).unwrap();
        wait(&client);
        let mut buffer = Buffer::default();
        for length in [0, 1, 1472, 9000, 65_507] {
            let sent: Vec<u8> = (0..length).map(|at| at as u8).collect();
            client.send(&sent).unwrap();
            let arrived = receive(&socket, &mut buffer).unwrap();
            assert_eq!(arrived.ends.client(), client.local_addr().unwrap());
            assert_eq!(arrived.ends.own.to_canonical(), dialled.ip());
            assert!(buffer.datagram[..arrived.length] == sent[..], "{length} bytes");
            answer(&socket, &buffer.datagram[..arrived.length], &arrived.ends).unwrap();
            // It is connected, and would not hear an answer from elsewhere.
            let mut heard = vec![0; MAX_DATAGRAM];
            assert_eq!(client.recv(&mut heard).unwrap(), length);
            assert!(heard[..length] == sent[..], "{length} bytes");
        }
    }

    #[test]
    fn datagrams_are_answered_from_the_address_that_was_dialled() {
        check("127.0.0.1");
        check("127.0.0.9");
        check("::1");
    }

    #[test]
    fn datagrams_that_nobody_reads_are_counted_and_held_within_a_bound() {
        let socket = receiver(0).unwrap();
        wait(&socket);
        let port = socket.local_addr().unwrap().port();
        let client = connected(SocketAddr::new("127.0.0.1".parse().unwrap(), port)).unwrap();
        client.set_nonblocking(false).unwrap();
        let sent = 1000;
        for _ in 0..sent {
            client.send(&[0; 60_000]).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let mut buffer = Buffer::default();
        let mut held = 0;
        while receive(&socket, &mut buffer).is_ok() {
            held += 1;
        }
        client.send(b"last").unwrap();
        wait(&socket);
        let overflown = receive(&socket, &mut buffer).unwrap().overflown;
        assert!(held < 2 * RECEIVE_BUFFER / 60_000, "{held}");
        assert_eq!(held + overflown as usize, sent);
    }
}
