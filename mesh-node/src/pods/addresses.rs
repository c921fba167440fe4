//! The addresses of a pod, from its network namespace. The configuration learns of them only after the kubelet has, when
//! the pod's containers may run already.

use std::io;
use std::net::IpAddr;

use futures_util::TryStreamExt;
use rtnetlink::new_connection;
use rtnetlink::packet_route::address::{AddressMessage, AddressScope};
use rtnetlink::packet_route::link::LinkAttribute;

use crate::netlink::{io_error, own_address};
use crate::netns::Netns;

/// What Kubernetes' container runtimes call the interface whose addresses are the pod's.
const INTERFACE: &str = "eth0";

/// None until the pod's network has been made.
pub async fn read(netns: &Netns) -> io::Result<Vec<IpAddr>> {
    let (connection, handle, _) = netns.enter(new_connection)??;
    let connection = tokio::spawn(connection);
    let result = async {
        let mut links = handle.link().get().execute();
        let mut index = None;
        while let Some(link) = links.try_next().await.map_err(io_error)? {
            let is_named = |a: &LinkAttribute| matches!(a, LinkAttribute::IfName(name) if name == INTERFACE);
            if link.attributes.iter().any(is_named) {
                index = Some(link.header.index);
            }
        }
        let Some(index) = index else { return Ok(Vec::new()) };
        let listed: Vec<AddressMessage> =
            handle.address().get().execute().try_collect().await.map_err(io_error)?;
        let of_the_pod = listed.iter().filter(|message| {
            message.header.index == index && message.header.scope == AddressScope::Universe
        });
        Ok(of_the_pod.filter_map(|message| own_address(&message.attributes)).collect())
    }
    .await;
    connection.abort();
    result
}
