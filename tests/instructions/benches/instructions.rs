//! The instructions that the hot paths take, counted by Callgrind: `make bench-instructions`. A count does not depend on what
//! else the machine does, so each has a bound here, a tenth above what it was when it was set; where one is passed, the
//! command fails.
#![allow(clippy::unwrap_used, reason = "what fails in here is a bench that fails")]

use std::hint::black_box;

use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use http::{HeaderMap, Method};
use mesh_compile::generate::{self, Size};
use mesh_compile::{Compiler, Settings, Snapshot};
use mesh_ir::config::{MeshConfig, diff};
use mesh_ir::eval::{Action, Flow, Target, route};
use mesh_ir::resource::{Resource, ResourceKey};
use mesh_ir::view::{MeshView, RequestHead};
use mesh_node::proxy::relayed_head;
use serde_json::json;

const PORT: u16 = 20_000;
const ROUTES: usize = 1000;
const HEAD: &[u8] = b"GET /products/17?page=2 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) \
Gecko/20100101\r\nAccept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.5\r\n\
Accept-Encoding: gzip, deflate, br\r\nReferer: https://shop.example/products\r\nConnection: keep-alive\r\nCookie: \
session=0123456789abcdef; theme=dark\r\nUpgrade-Insecure-Requests: 1\r\ntraceparent: \
00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nCache-Control: max-age=0\r\n\r\n";

fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    LibraryBenchmarkConfig::default()
        .tool(Callgrind::default().hard_limits([(EventKind::Ir, instructions)]))
        .clone()
}

fn resource(value: serde_json::Value) -> Resource {
    serde_json::from_value(value).unwrap()
}

/// A Gateway's routes, all of one hostname, each of a path.
fn gateway() -> MeshView {
    let gateway = resource(json!({"kind": "Gateway", "name": "edge/g", "addresses": [],
        "listeners": [{"name": "http", "port": 80, "targetPort": PORT, "protocol": "Http"}]}));
    let parents = json!([{"Listener": {"gateway": "edge/g", "listener": "http", "hostnames": [{"hostname": "shop.example"}]}}]);
    let routes = (0..ROUTES).map(|number| {
        resource(
            json!({"kind": "Route", "key": {"kind": "Http", "name": format!("shop/r{number}")}, "created": 0,
            "parents": parents, "rules": [{"matches": [{"path": {"Prefix": format!("/r{number}")}}],
            "backends": [{"target": {"Service": {"service": "shop/s", "port": 80}}, "weight": 1}]}]}),
        )
    });
    let config: MeshConfig = std::iter::once(gateway).chain(routes).collect();
    MeshView::at("n1".parse().unwrap()).apply(&diff(&MeshConfig::default(), &config))
}

#[library_benchmark(config = at_most(923), setup = gateway)]
fn route_of_a_thousand(view: MeshView) -> MeshView {
    let (method, headers) = (Method::GET, HeaderMap::new());
    let request = RequestHead {
        method: &method,
        path: "/r500/page",
        query: None,
        host: "shop.example",
        headers: &headers,
    };
    let flow = Flow { target: Target::Gateway { target_port: PORT, sni: None }, request };
    assert!(matches!(route(&view, black_box(&flow)).action, Action::Forward(_)));
    view
}

#[library_benchmark(config = at_most(21_004))]
fn head_on_its_way() -> usize {
    relayed_head(black_box(HEAD)).unwrap().len()
}

fn rules() -> (Resource, ResourceKey, Vec<u8>) {
    let rules: Vec<_> = (0..16)
        .map(|number| {
            json!({"matches": [{"path": {"Prefix": format!("/r{number}")}}],
                "backends": [{"target": {"Service": {"service": "shop/cart", "port": 80}}, "weight": 1}]})
        })
        .collect();
    let route = resource(json!({"kind": "Route", "key": {"kind": "Http", "name": "shop/cart"}, "created": 0,
        "parents": [{"Service": {"service": "shop/cart"}}], "rules": rules}));
    let bytes = mesh_wire::encode(&route);
    (route.clone(), route.key(), bytes.into())
}

#[library_benchmark(config = at_most(109_831), setup = rules)]
fn encode_16_rules((route, _, _): (Resource, ResourceKey, Vec<u8>)) -> usize {
    mesh_wire::encode(black_box(&route)).len()
}

#[library_benchmark(config = at_most(123_701), setup = rules)]
fn decode_16_rules((_, key, bytes): (Resource, ResourceKey, Vec<u8>)) -> Resource {
    mesh_wire::decode(&key, black_box(&bytes)).unwrap()
}

/// A mesh of a hundred Services that is compiled, and one of whose endpoints is then not ready any more.
fn endpoint_changed() -> (Compiler, Snapshot) {
    let size = Size::of_services(100);
    let mut snapshot = generate::snapshot(size);
    let mut compiler = Compiler::new(Settings {
        trust_domain: "cluster.local".parse().unwrap(),
        default_mode: Default::default(),
        same_node: Default::default(),
    });
    compiler.update(&snapshot);
    snapshot.insert(generate::slice(size, 37, Some(37)));
    (compiler, snapshot)
}

#[library_benchmark(config = at_most(99_715), setup = endpoint_changed)]
fn compile_an_endpoint((mut compiler, snapshot): (Compiler, Snapshot)) -> (Compiler, Snapshot) {
    compiler.update(black_box(&snapshot));
    (compiler, snapshot)
}

library_benchmark_group!(
    name = hot_paths;
    benchmarks = route_of_a_thousand, head_on_its_way, encode_16_rules, decode_16_rules, compile_an_endpoint
);

main!(library_benchmark_groups = hot_paths);
