//! What the maps must hold, from the mesh's view.

use std::collections::{BTreeMap, BTreeSet};

use mesh_bpf_abi::{Address, EVERY_PORT, Endpoint, LISTED_PORTS};
use mesh_ir::view::MeshView;

use super::address_of;

/// The addresses that belong to the mesh: a connection to one of them is captured, any other is left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapImage {
    pub addresses: BTreeMap<Address, u32>,
    pub ports: BTreeSet<(Address, u32)>,
}

/// The ports of Services that the mesh has something to say about (an endpoint in the mesh, a route, a policy), and
/// the addresses of meshed workloads.
pub fn plan(view: &MeshView) -> MapImage {
    let mut image = MapImage::default();
    for service in view.services() {
        let Some(service_view) = view.service(&service.name) else { continue };
        for port in service_view.ports().iter().filter(|port| service_view.is_captured(port)) {
            for ip in &service.addresses {
                image.addresses.insert(address_of(*ip), LISTED_PORTS);
                image.ports.insert((address_of(*ip), u32::from(port.port)));
            }
        }
    }
    for workload in view.workloads().filter(|workload| workload.meshed) {
        for ip in &workload.addresses {
            image.addresses.insert(address_of(*ip), EVERY_PORT);
        }
    }
    image
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
