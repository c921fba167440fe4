//! The addresses of the node itself. What comes from one of them was sent by the node: its kubelet, which probes the
//! pods, comes from whichever of them is nearest to the pod.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use mesh_bpf_abi::MAX_OWN_ADDRESSES;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};

use crate::datapath::OwnAddresses;
use crate::netlink::{io_error, own_address};
use crate::state::State;

/// Keeps `own` and the state as the kernel has them; they are there when this returns.
pub async fn follow_addresses(
    state: Arc<State>,
    mut own: OwnAddresses,
) -> io::Result<impl Future<Output = ()>> {
    let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut changes) = new_multicast_connection(&groups)?;
    tokio::spawn(connection);
    hold(&state, &handle, &mut own).await?;
    Ok(async move {
        while changes.next().await.is_some() {
            if let Err(error) = hold(&state, &handle, &mut own).await {
                tracing::error!(%error, "the node's addresses are not up to date; those known before are used");
            }
        }
    })
}

async fn hold(state: &State, handle: &Handle, own: &mut OwnAddresses) -> io::Result<()> {
    let mut messages = handle.address().get().execute();
    let mut addresses = BTreeSet::new();
    while let Some(message) = messages.try_next().await.map_err(io_error)? {
        addresses.extend(own_address(&message.attributes).filter(|ip| is_the_nodes_alone(*ip)));
    }
    let too_many = own.hold(&addresses).map_err(io::Error::other)?;
    state.own_addresses.store(Arc::new(addresses));
    if too_many > 0 {
        tracing::error!(
            too_many,
            "the node has more than {MAX_OWN_ADDRESSES} addresses; pods in mode strict refuse the probes that come \
             from the others"
        );
    }
    Ok(())
}

/// Whoever is on the same link can have the same link-local address as the node has on another link.
fn is_the_nodes_alone(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_can_have_too_is_not_the_nodes_alone() {
        let alone = |text: &str| is_the_nodes_alone(text.parse().unwrap());
        for own in ["10.0.0.1", "fd00::1"] {
            assert!(alone(own), "{own}");
        }
        for other in ["127.0.0.1", "::1", "fe80::1"] {
            assert!(!alone(other), "{other}");
        }
    }
}
