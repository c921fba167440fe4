//! A view that was changed step by step is the view that is built at once from what came out.
#![allow(clippy::unwrap_used, reason = "clippy spares only the test functions themselves")]

use std::sync::Arc;

use mesh_ir::config::{Delta, MeshConfig, diff};
use mesh_ir::resource::{Resource, ResourceKey};
use mesh_ir::view::MeshView;
use proptest::prelude::*;
use serde_json::json;

fn resource(value: serde_json::Value) -> Resource {
    serde_json::from_value(value).unwrap()
}

fn service() -> impl Strategy<Value = Resource> {
    (0..4u8, any::<bool>(), 0..2u8, any::<bool>()).prop_map(|(id, breaker, ports, local)| {
        let policy = if local { "Local" } else { "Cluster" };
        let ports: Vec<_> =
            (0..=ports).map(|p| json!({"port": 80 + u16::from(p), "protocol": "Http"})).collect();
        let breaker = breaker.then(|| json!({"maxRequests": 2}));
        resource(
            json!({"kind": "Service", "name": format!("shop/s{id}"), "addresses": [format!("10.0.0.{id}")],
            "ports": ports, "udpPorts": [80], "circuitBreaker": breaker, "internalTrafficPolicy": policy}),
        )
    })
}

fn workload() -> impl Strategy<Value = Resource> {
    let health = prop_oneof![Just("Ready"), Just("Draining"), Just("Unready")];
    // Fewer addresses than workloads: some are shared.
    let hint = prop_oneof![
        Just(json!({})),
        (0..3u8).prop_map(|node| json!({"forNodes": [format!("n{node}")], "forZones": ["z0"]})),
        (0..2u8).prop_map(|zone| json!({"forZones": [format!("z{zone}")]})),
    ];
    let node = (0..3u8).prop_map(|node| format!("n{node}"));
    let served = proptest::collection::btree_map(0..4u8, (health, hint), 0..3);
    (0..6u8, 0..5u8, any::<bool>(), node, served).prop_map(|(id, address, meshed, node, services)| {
        let services: Vec<_> = services
            .into_iter()
            .map(|(service, (health, hints))| {
                json!({"service": format!("shop/s{service}"), "health": health, "hints": hints,
                        "ports": [{"port": 80, "target": 8080}], "udpPorts": [{"port": 80, "target": 5300}]})
            })
            .collect();
        resource(json!({"kind": "Workload", "uid": format!("w{id}"), "name": format!("shop/w{id}"),
                "node": node, "addresses": [format!("10.1.0.{address}")], "serviceAccount": "default",
                "meshed": meshed, "mode": "Permissive", "sameNode": "Direct", "services": services}))
    })
}

fn route() -> impl Strategy<Value = Resource> {
    let parent = prop_oneof![
        (0..4u8).prop_map(|id| json!({"Service": {"service": format!("shop/s{id}")}})),
        (0..2u8).prop_map(|id| json!({"Listener": {"gateway": format!("edge/g{id}"), "listener": "http"}})),
        (0..2u8).prop_map(|id| json!({"Listener": {"gateway": format!("edge/g{id}"), "listener": "other",
                "hostnames": [{"hostname": "*.example"}, {"hostname": "b.example", "written": "*.example"}]}})),
        (0..2u8).prop_map(|id| json!({"Listener": {"gateway": format!("edge/g{id}"), "listener": "http",
                "hostnames": [{"hostname": "a.example"}]}})),
        (0..2u8, 0..2u8).prop_map(|(id, wrote)| {
            let written = ["a.example", "*.example"][usize::from(wrote)];
            json!({"Listener": {"gateway": format!("edge/g{id}"), "listener": "http",
                "hostnames": [{"hostname": "a.example", "written": written}]}})
        }),
    ];
    let namespace = prop_oneof![Just("shop"), Just("consumer")];
    let kind = prop_oneof![2 => Just("Http"), 1 => Just("Grpc"), 1 => Just("Tls"), 1 => Just("Tcp"), 1 => Just("Udp")];
    let path = (0..3u8, 0..3u8).prop_map(|(kind, path)| match kind {
        0 => json!({"path": {"Prefix": format!("/{path}")}}),
        1 => json!({"path": {"Exact": format!("/{path}")}}),
        _ => json!({"path": {"Regex": format!("/{path}.*")}}),
    });
    let parents = proptest::collection::vec(parent, 0..4);
    // Some tables are to have an index, and to lose it again.
    let paths = proptest::collection::vec(path, 1..5);
    (kind, 0..4u8, namespace, 0..3i64, parents, paths).prop_map(
        |(kind, id, namespace, created, parents, paths)| {
            let matches = match kind {
                "Http" | "Grpc" => paths,
                _ => Vec::new(),
            };
            resource(json!({"kind": "Route",
                "key": {"kind": kind, "name": format!("{namespace}/r{id}")}, "created": created,
                "parents": parents, "rules": [{"matches": matches, "backends": []}]}))
        },
    )
}

fn gateway() -> impl Strategy<Value = Resource> {
    let hostname = prop_oneof![Just(None), Just(Some("a.example")), Just(Some("*.example"))];
    (0..2u8, 0..3u16, 0..3u16, hostname).prop_map(|(id, port, other, hostname)| {
        let listeners = json!([
            {"name": "http", "port": 80, "targetPort": 20000 + port, "protocol": "Http"},
            {"name": "other", "port": 81, "targetPort": 20000 + other, "protocol": "Http", "hostname": hostname},
        ]);
        let listeners = listeners.as_array().unwrap()[..usize::from(port.min(1)) + 1].to_vec();
        resource(json!({"kind": "Gateway", "name": format!("edge/g{id}"), "addresses": [], "listeners": listeners}))
    })
}

fn node() -> impl Strategy<Value = Resource> {
    (0..3u8, 0..2u8, proptest::option::of(0..2u8)).prop_map(|(id, net, zone)| {
        let zone = zone.map(|zone| format!("z{zone}"));
        resource(
            json!({"kind": "Node", "name": format!("n{id}"), "addresses": [format!("192.168.{net}.{id}")],
            "zone": zone}),
        )
    })
}

fn any_resource() -> impl Strategy<Value = Resource> {
    prop_oneof![2 => service(), 4 => workload(), 6 => route(), 2 => gateway(), 1 => node()]
}

fn config() -> impl Strategy<Value = MeshConfig> {
    proptest::collection::vec(any_resource(), 0..16).prop_map(|resources| resources.into_iter().collect())
}

fn here() -> MeshView {
    MeshView::at("n1".parse().unwrap())
}

fn whole(config: &MeshConfig) -> MeshView {
    here().apply(&diff(&MeshConfig::default(), config))
}

proptest! {
    #[test]
    fn view_changed_step_by_step_is_the_view_built_at_once(configs in proptest::collection::vec(config(), 1..8)) {
        let mut view = here();
        let mut before = MeshConfig::default();
        for config in configs {
            view = view.apply(&diff(&before, &config));
            prop_assert_eq!(&view, &whole(&config));
            before = config;
        }
    }

    #[test]
    fn config_apply_of_a_diff_gives_the_other(a in config(), b in config()) {
        let mut changed = a.clone();
        changed.apply(&diff(&a, &b));
        prop_assert_eq!(&changed, &b);
        prop_assert!(diff(&b, &b).is_empty());
    }

    #[test]
    fn key_of_every_resource_reads_back(resource in any_resource()) {
        let key = resource.key();
        prop_assert_eq!(key.to_string().parse::<ResourceKey>().unwrap(), key);
    }
}

#[test]
fn view_removal_of_what_is_not_there_changes_nothing() {
    let view = whole(&MeshConfig::default());
    let key: ResourceKey = "Service shop/none".parse().unwrap();
    let delta = Delta { upserts: Vec::<Arc<Resource>>::new(), removes: vec![key] };
    assert_eq!(view.apply(&delta), view);
}
