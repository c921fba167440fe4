use mesh_ir::resource::{Health, Hints, Membership, Mode, PortPair, SameNode, Workload};

use super::{Malformed, Within, address_bytes, addresses, each, list, messages, name, port};
use crate::proto;

impl From<&Workload> for proto::Workload {
    fn from(workload: &Workload) -> Self {
        let Workload { uid, name, node, addresses, service_account, meshed, mode, same_node, services } =
            workload;
        let mode = match mode {
            Mode::Permissive => proto::Mode::Permissive,
            Mode::Strict => proto::Mode::Strict,
        };
        let same_node = match same_node {
            SameNode::Direct => proto::SameNode::Direct,
            SameNode::Network => proto::SameNode::Network,
            SameNode::Encrypt => proto::SameNode::Encrypt,
        };
        Self {
            uid: uid.to_string(),
            name: name.to_string(),
            node: node.as_ref().map(ToString::to_string),
            addresses: address_bytes(addresses),
            service_account: service_account.to_string(),
            meshed: *meshed,
            mode: mode.into(),
            same_node: same_node.into(),
            services: messages(services),
        }
    }
}

impl TryFrom<proto::Workload> for Workload {
    type Error = Malformed;
    fn try_from(workload: proto::Workload) -> Result<Self, Malformed> {
        let mode = match workload.mode() {
            proto::Mode::Unspecified => return Err(Malformed::unknown("the mode").within("mode")),
            proto::Mode::Permissive => Mode::Permissive,
            proto::Mode::Strict => Mode::Strict,
        };
        let same_node = match workload.same_node() {
            proto::SameNode::Unspecified => return Err(Malformed::unknown("the way").within("same_node")),
            proto::SameNode::Direct => SameNode::Direct,
            proto::SameNode::Network => SameNode::Network,
            proto::SameNode::Encrypt => SameNode::Encrypt,
        };
        Ok(Self {
            uid: name("uid", &workload.uid)?,
            name: name("name", &workload.name)?,
            node: workload.node.map(|node| name("node", &node)).transpose()?,
            addresses: addresses("addresses", workload.addresses)?,
            service_account: name("service_account", &workload.service_account)?,
            meshed: workload.meshed,
            mode,
            same_node,
            services: list("services", workload.services)?,
        })
    }
}

impl From<&Membership> for proto::Membership {
    fn from(membership: &Membership) -> Self {
        let Membership { service, ports, udp_ports, health, hints: Hints { for_nodes, for_zones } } =
            membership;
        let health = match health {
            Health::Ready => proto::Health::Ready,
            Health::Draining => proto::Health::Draining,
            Health::Unready => proto::Health::Unready,
        };
        Self {
            service: service.to_string(),
            ports: messages(ports),
            udp_ports: messages(udp_ports),
            health: health.into(),
            for_nodes: for_nodes.iter().map(ToString::to_string).collect(),
            for_zones: for_zones.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<proto::Membership> for Membership {
    type Error = Malformed;
    fn try_from(membership: proto::Membership) -> Result<Self, Malformed> {
        let health = match membership.health() {
            proto::Health::Unspecified => Err(Malformed::unknown("the health")),
            proto::Health::Ready => Ok(Health::Ready),
            proto::Health::Draining => Ok(Health::Draining),
            proto::Health::Unready => Ok(Health::Unready),
        };
        Ok(Self {
            service: name("service", &membership.service)?,
            ports: list("ports", membership.ports)?,
            udp_ports: list("udp_ports", membership.udp_ports)?,
            health: health.within("health")?,
            hints: Hints {
                for_nodes: each("for_nodes", membership.for_nodes, |node| Ok(node.parse()?))?,
                for_zones: each("for_zones", membership.for_zones, |zone| Ok(zone.parse()?))?,
            },
        })
    }
}

impl From<&PortPair> for proto::PortPair {
    fn from(pair: &PortPair) -> Self {
        Self { port: pair.port.into(), target: pair.target.into() }
    }
}

impl TryFrom<proto::PortPair> for PortPair {
    type Error = Malformed;
    fn try_from(pair: proto::PortPair) -> Result<Self, Malformed> {
        Ok(Self { port: port("port", pair.port)?, target: port("target", pair.target)? })
    }
}
