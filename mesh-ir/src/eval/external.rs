//! Which addresses a hostname outside of the cluster may have. Whoever writes an XBackend chooses the name, and whoever serves
//! its zone the addresses: neither may have a node dial what only the node can reach, or what the mesh and its grants
//! keep from them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::name::{NodeName, ObjectName};
use crate::view::MeshView;

/// Why an address is not dialled for an external hostname.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it is the unspecified address")]
    Unspecified,
    #[error("it is a loopback address")]
    Loopback,
    #[error("it is a link-local address")]
    LinkLocal,
    #[error("it is a multicast address")]
    Multicast,
    #[error("it is a broadcast address")]
    Broadcast,
    #[error("it is the address of a cloud's metadata service")]
    Metadata,
    /// Of the node that would dial it.
    #[error("it is an address of this node")]
    Own,
    #[error("it is an address of node {0}")]
    Node(NodeName),
    #[error("it is the address of Service {0}")]
    Service(ObjectName),
    #[error("it is the address of {0}, which is of the cluster")]
    Workload(ObjectName),
}

/// Those of Alibaba Cloud, Oracle Cloud and AWS; all others are link-local.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether an address may be dialled for an external hostname. Asked when the name is resolved and again at each dial: an
/// address may have come to be the cluster's in between. `own` are the addresses of the node that would dial, those too that
/// the configuration does not know.
pub fn admit(view: &MeshView, own: &BTreeSet<IpAddr>, address: IpAddr) -> Result<(), Refused> {
    let address = embedded(address);
    of_its_kind(address).map_or(Ok(()), Err)?;
    if own.contains(&address) {
        return Err(Refused::Own);
    }
    if let Some(node) = view.node(address) {
        return Err(Refused::Node(node.clone()));
    }
    if let Some(service) = view.service_at(address) {
        return Err(Refused::Service(service.name.clone()));
    }
    match view.workload(address) {
        Some(workload) => Err(Refused::Workload(workload.name.clone())),
        None => Ok(()),
    }
}

/// The IPv4 address that an IPv6 address leads to, where it does: IPv4-mapped (RFC 4291 §2.5.5.2) and that of a translator
/// by the well-known prefix (RFC 6052 §2.1).
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Ipv4Addr::new(a, b, c, d).into()
        }
        _ => v6.to_canonical(),
    }
}

fn of_its_kind(address: IpAddr) -> Option<Refused> {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    // All of 0.0.0.0/8 is "this network" (RFC 1122 §3.2.1.3), and Linux takes its first for the host itself.
    let unspecified = address.is_unspecified() || matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0);
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    [
        (unspecified, Refused::Unspecified),
        (address.is_loopback(), Refused::Loopback),
        (link_local, Refused::LinkLocal),
        (address.is_multicast(), Refused::Multicast),
        (broadcast, Refused::Broadcast),
        (METADATA.contains(&address), Refused::Metadata),
    ]
    .into_iter()
    .find_map(|(is, refused)| is.then_some(refused))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::config::Delta;
    use crate::resource::Resource;

    #[test]
    fn external_addresses_of_the_host_and_of_the_cluster_are_refused() {
        let resource = |value| Arc::new(serde_json::from_value::<Resource>(value).unwrap());
        let upserts = vec![
            resource(json!({"kind": "Node", "name": "a", "addresses": ["10.0.0.1"]})),
            resource(
                json!({"kind": "Service", "name": "shop/cart", "addresses": ["10.96.0.1"], "ports": []}),
            ),
            resource(json!({
                "kind": "Workload", "uid": "w", "name": "shop/w", "node": null, "addresses": ["10.1.0.1"],
                "serviceAccount": "default", "meshed": true, "mode": "Strict", "sameNode": "Direct", "services": [],
            })),
        ];
        let view = MeshView::default().apply(&Delta { upserts, removes: Vec::new() });
        let own = BTreeSet::from(["10.1.0.254".parse().unwrap()]);
        let of =
            |text: &str| admit(&view, &own, text.parse().unwrap()).map_err(|refused| refused.to_string());
        for (text, why) in [
            ("0.0.0.0", "it is the unspecified address"),
            ("0.1.2.3", "it is the unspecified address"),
            ("::", "it is the unspecified address"),
            ("127.0.0.1", "it is a loopback address"),
            ("127.8.9.1", "it is a loopback address"),
            ("::1", "it is a loopback address"),
            ("::ffff:127.0.0.1", "it is a loopback address"),
            ("64:ff9b::a9fe:a9fe", "it is a link-local address"),
            ("169.254.169.254", "it is a link-local address"),
            ("fe80::1", "it is a link-local address"),
            ("224.0.0.1", "it is a multicast address"),
            ("ff02::1", "it is a multicast address"),
            ("255.255.255.255", "it is a broadcast address"),
            ("100.100.100.200", "it is the address of a cloud's metadata service"),
            ("fd00:ec2::254", "it is the address of a cloud's metadata service"),
            ("10.1.0.254", "it is an address of this node"),
            ("10.0.0.1", "it is an address of node a"),
            ("::ffff:10.0.0.1", "it is an address of node a"),
            ("10.96.0.1", "it is the address of Service shop/cart"),
            ("10.1.0.1", "it is the address of shop/w, which is of the cluster"),
        ] {
            assert_eq!(of(text), Err(why.into()), "{text}");
        }
        for text in ["192.0.2.1", "10.0.0.2", "192.168.1.1", "2001:db8::1", "fd00::1"] {
            assert_eq!(of(text), Ok(()), "{text}");
        }
    }
}
