//! What the maps must hold, from the mesh's view.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use mesh_bpf_abi::{Address, EVERY_PORT, Endpoint, LISTED_PORTS};
use mesh_ir::view::MeshView;

use super::address_of;

/// The addresses that belong to the mesh: a connection to one of them is captured, any other is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapImage {
    pub addresses: BTreeMap<Address, u32>,
    pub ports: BTreeSet<(Address, u32)>,
}

impl MapImage {
    pub(super) fn of(&self, address: &Address) -> Planned {
        let ports = self.ports.range((*address, 0)..=(*address, u32::MAX));
        Planned { kind: self.addresses.get(address).copied(), ports: ports.map(|(_, port)| *port).collect() }
    }
}

/// What they hold of one address.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) kind: Option<u32>,
    pub(super) ports: BTreeSet<u32>,
}

/// The ports of Services that the mesh has something to say about (an endpoint in the mesh, a route, a policy), and
/// the addresses of meshed workloads.
pub fn plan(view: &MeshView) -> MapImage {
    let mut image = MapImage::default();
    let services = view.services().flat_map(|service| &service.addresses);
    for ip in services.chain(view.workloads().flat_map(|workload| &workload.addresses)) {
        let (address, planned) = (address_of(*ip), planned(view, *ip));
        image.addresses.extend(planned.kind.map(|kind| (address, kind)));
        image.ports.extend(planned.ports.into_iter().map(|port| (address, port)));
    }
    image
}

pub(super) fn planned(view: &MeshView, ip: IpAddr) -> Planned {
    let mut planned = Planned::default();
    if let Some(service) = view.service_at(ip) {
        let captured = service.ports().iter().filter(|port| service.is_captured(port));
        planned.ports = captured.map(|port| u32::from(port.port)).collect();
    }
    planned.kind = match (view.is_meshed(ip), planned.ports.is_empty()) {
        (true, _) => Some(EVERY_PORT),
        (false, false) => Some(LISTED_PORTS),
        (false, true) => None,
    };
    planned
}

pub(super) fn endpoint((address, port): (Address, u32)) -> Endpoint {
    Endpoint { address, port }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_ir::config::Delta;
    use mesh_ir::resource::Resource;

    fn view(resources: serde_json::Value) -> MeshView {
        let resources: Vec<Resource> = serde_json::from_value(resources).unwrap();
        let upserts = resources.into_iter().map(std::sync::Arc::new).collect();
        MeshView::default().apply(&Delta { upserts, removes: Vec::new() })
    }

    fn service(name: &str, address: &str) -> serde_json::Value {
        serde_json::json!({"kind": "Service", "name": format!("shop/{name}"), "addresses": [address],
            "ports": [{"port": 80, "protocol": "Http"}, {"port": 81, "protocol": "Tcp"}]})
    }

    fn pod(uid: &str, address: &str, meshed: bool, service: &str) -> serde_json::Value {
        serde_json::json!({"kind": "Workload", "uid": uid, "name": format!("shop/{uid}"), "node": "node-1",
            "addresses": [address], "serviceAccount": "default", "meshed": meshed, "mode": "Permissive",
            "sameNode": "Direct", "services": [{"service": format!("shop/{service}"), "health": "Ready",
            "ports": [{"port": 80, "target": 8080}]}]})
    }

    #[test]
    fn plan_holds_only_what_the_mesh_has_a_say_in() {
        let image = plan(&view(serde_json::json!([
            service("in", "10.0.0.1"),
            service("out", "10.0.0.2"),
            pod("a", "10.1.0.1", true, "in"),
            pod("b", "10.1.0.2", false, "out"),
        ])));
        let v4 = |text: &str| address_of(text.parse().unwrap());
        let expected = BTreeMap::from([(v4("10.0.0.1"), LISTED_PORTS), (v4("10.1.0.1"), EVERY_PORT)]);
        assert_eq!(image.addresses, expected);
        assert_eq!(image.ports, BTreeSet::from([(v4("10.0.0.1"), 80)]));
    }
}
