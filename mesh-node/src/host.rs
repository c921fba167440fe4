//! The addresses of the node itself. What comes from one of them was sent by the node: its kubelet, which probes the
//! pods, comes from whichever of them is nearest to the pod.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::{Handle, MulticastGroup, new_multicast_connection};

use crate::state::State;

/// Keeps `state.host_addresses` as the kernel has them; they are there when this returns.
pub async fn follow_addresses(state: Arc<State>) -> io::Result<impl Future<Output = ()>> {
    let groups = [MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut changes) = new_multicast_connection(&groups)?;
    tokio::spawn(connection);
    read(&handle, &state).await?;
    Ok(async move {
        while changes.next().await.is_some() {
            if let Err(error) = read(&handle, &state).await {
                tracing::error!(%error, "cannot read the node's addresses; those known before are used");
            }
        }
    })
}

async fn read(handle: &Handle, state: &State) -> io::Result<()> {
    let mut messages = handle.address().get().execute();
    let mut addresses = HashSet::new();
    while let Some(message) = messages.try_next().await.map_err(io::Error::other)? {
        addresses.extend(message.attributes.iter().filter_map(|attribute| match attribute {
            AddressAttribute::Address(address) | AddressAttribute::Local(address) => Some(*address),
            _ => None,
        }));
    }
    let addresses: HashSet<IpAddr> = addresses;
    state.host_addresses.store(Arc::new(addresses));
    Ok(())
}
