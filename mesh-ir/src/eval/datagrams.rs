//! UDP at Gateways. Which backend a client's first datagram goes to is what [`super::connection`] says of connections; what
//! has no end of its own is asked about again when the configuration changes.

use crate::name::{ObjectName, Uid};
use crate::resource::{BackendTarget, Health, Transport};
use crate::view::MeshView;

use super::endpoints::Member;
use super::{ConnectionDecision, Target, connection};

/// To whom the datagrams of a client go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    pub service: ObjectName,
    pub port: u16,
    pub workload: Uid,
    /// The workload's own port.
    pub target: u16,
}

/// Whether the datagrams of a client that has a receiver go on to that one: the listener's route still names its Service
/// with a weight above zero, and it serves still. One that terminates keeps the clients that it has.
pub fn goes_on(view: &MeshView, target_port: u16, receiver: &Receiver) -> bool {
    let Receiver { service, port, workload, target } = receiver;
    let ConnectionDecision::Forward(rule) = connection(view, Target::Gateway { target_port, sni: None })
    else {
        return false;
    };
    let routed = rule.rule.backends.iter().any(|backend| {
        let wanted = |target: &BackendTarget| match target {
            BackendTarget::Service { service: named, port: at } => named == service && at == port,
            BackendTarget::Invalid { .. } => false,
        };
        backend.weight > 0 && wanted(&backend.target)
    });
    let member = view
        .workload_by_uid(workload)
        .and_then(|workload| Member::of(workload, service, (Transport::Udp, *port)));
    let serves =
        member.is_some_and(|(member, own_port)| own_port == *target && member.health != Health::Unready);
    routed && view.service_udp_port(service, *port).is_some() && serves
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::config::Delta;
    use crate::resource::Resource;

    const PORT: u16 = 20_000;

    fn view(weight: u32, port: u16, health: &str) -> MeshView {
        let resource = |value: Value| Arc::new(serde_json::from_value::<Resource>(value).unwrap());
        let listener = json!({"name": "udp", "port": 53, "targetPort": PORT, "protocol": "Udp"});
        let backend = json!({"weight": weight, "target": {"Service": {"service": "shop/dns", "port": 53}}});
        let membership = json!({
            "service": "shop/dns", "ports": [], "udpPorts": [{"port": 53, "target": port}], "health": health,
        });
        let upserts = vec![
            resource(json!({
                "kind": "Service", "name": "shop/dns", "addresses": [], "ports": [], "udpPorts": [53],
            })),
            resource(json!({
                "kind": "Workload", "uid": "w", "name": "shop/w", "node": null, "addresses": ["10.1.0.1"],
                "serviceAccount": "default", "meshed": false, "mode": "Strict", "sameNode": "Direct",
                "services": [membership],
            })),
            resource(json!({
                "kind": "Gateway", "name": "edge/g", "addresses": [], "listeners": [listener],
            })),
            resource(json!({
                "kind": "Route", "key": {"kind": "Udp", "name": "shop/r"}, "created": 0,
                "parents": [{"Listener": {"gateway": "edge/g", "listener": "udp"}}],
                "rules": [{"backends": [backend]}],
            })),
        ];
        MeshView::default().apply(&Delta { upserts, removes: Vec::new() })
    }

    #[test]
    fn datagrams_go_on_while_the_route_names_the_service_and_the_workload_serves() {
        let receiver = Receiver {
            service: "shop/dns".parse().unwrap(),
            port: 53,
            workload: "w".parse().unwrap(),
            target: 5300,
        };
        let check = |view: &MeshView, expected: bool, why: &str| {
            assert_eq!(goes_on(view, PORT, &receiver), expected, "{why}");
        };
        check(&view(1, 5300, "Ready"), true, "nothing has changed");
        check(&view(9, 5300, "Draining"), true, "it is on its way out, and has this client still");
        check(&view(0, 5300, "Ready"), false, "the weight is zero");
        check(&view(1, 5301, "Ready"), false, "the port is another");
        check(&view(1, 5300, "Unready"), false, "it does not serve");
        check(&MeshView::default(), false, "nothing is there");
        for gone in ["UDPRoute shop/r", "Gateway edge/g", "Service shop/dns", "Workload w"] {
            let delta = Delta { upserts: Vec::new(), removes: vec![gone.parse().unwrap()] };
            check(&view(1, 5300, "Ready").apply(&delta), false, gone);
        }
    }
}
