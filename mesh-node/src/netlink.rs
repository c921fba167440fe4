//! What netlink's answers mean, for whoever asks the kernel about addresses, links and routes. Nothing is asked here.

use std::io;
use std::net::IpAddr;

use rtnetlink::packet_route::address::AddressAttribute;

/// The interface's own address: at one with a peer, `IFA_ADDRESS` is the peer's address, and the own one is `IFA_LOCAL`.
pub(crate) fn own_address(attributes: &[AddressAttribute]) -> Option<IpAddr> {
    let find = |pick: fn(&AddressAttribute) -> Option<IpAddr>| attributes.iter().find_map(pick);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

pub(crate) fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_address_is_not_the_peers() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (own, peer) = (ip("10.0.0.1"), ip("10.0.0.2"));
        let with_peer = [AddressAttribute::Address(peer), AddressAttribute::Local(own)];
        assert_eq!(own_address(&with_peer), Some(own));
        assert_eq!(own_address(&[AddressAttribute::Address(ip("fd00::1"))]), Some(ip("fd00::1")));
        assert_eq!(own_address(&[]), None);
    }
}
