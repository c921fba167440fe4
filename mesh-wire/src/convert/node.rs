use mesh_ir::resource::Node;

use super::{Malformed, address_bytes, addresses, name};
use crate::proto;

impl From<&Node> for proto::Node {
    fn from(node: &Node) -> Self {
        let Node { name, addresses, zone } = node;
        Self {
            name: name.to_string(),
            addresses: address_bytes(addresses),
            zone: zone.as_ref().map(ToString::to_string),
        }
    }
}

impl TryFrom<proto::Node> for Node {
    type Error = Malformed;
    fn try_from(node: proto::Node) -> Result<Self, Malformed> {
        Ok(Self {
            name: name("name", &node.name)?,
            addresses: addresses("addresses", node.addresses)?,
            zone: node.zone.map(|zone| name("zone", &zone)).transpose()?,
        })
    }
}
