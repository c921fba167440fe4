//! What it costs to write and read a resource of the configuration: `cargo bench -p mesh-wire`.
#![allow(clippy::unwrap_used, reason = "what fails in here is a bench that fails")]

use divan::{Bencher, black_box};
use mesh_ir::resource::Resource;
use mesh_wire::{decode, encode};
use serde_json::json;

fn main() {
    divan::main();
}

fn workload() -> Resource {
    let value = json!({"kind": "Workload", "uid": "5e6a5d5c-0b6e-4f0c-9d2e-7d7f0f6f3a10", "name": "shop/cart-7d9c",
        "node": "node-17", "addresses": ["10.1.2.3", "fd00::1:203"], "serviceAccount": "cart", "meshed": true,
        "mode": "Permissive", "sameNode": "Direct", "services": [{"service": "shop/cart", "health": "Ready", "hints": {},
        "ports": [{"port": 80, "target": 8080}]}]});
    serde_json::from_value(value).unwrap()
}

fn route() -> Resource {
    let rules: Vec<_> = (0..16)
        .map(|number| {
            json!({"matches": [{"path": {"Prefix": format!("/r{number}")}}],
                "backends": [{"target": {"Service": {"service": "shop/cart", "port": 80}}, "weight": 1}]})
        })
        .collect();
    let value = json!({"kind": "Route", "key": {"kind": "Http", "name": "shop/cart"}, "created": 0,
        "parents": [{"Service": {"service": "shop/cart"}}], "rules": rules});
    serde_json::from_value(value).unwrap()
}

fn writes(bencher: Bencher<'_, '_>, resource: &Resource) {
    bencher.bench(|| encode(black_box(resource)));
}

fn reads(bencher: Bencher<'_, '_>, resource: &Resource) {
    let (key, bytes) = (resource.key(), encode(resource));
    bencher.bench(|| decode(&key, black_box(&bytes)).unwrap());
}

#[divan::bench]
fn encode_workload(bencher: Bencher<'_, '_>) {
    writes(bencher, &workload());
}

#[divan::bench]
fn decode_workload(bencher: Bencher<'_, '_>) {
    reads(bencher, &workload());
}

#[divan::bench]
fn encode_route_of_16_rules(bencher: Bencher<'_, '_>) {
    writes(bencher, &route());
}

#[divan::bench]
fn decode_route_of_16_rules(bencher: Bencher<'_, '_>) {
    reads(bencher, &route());
}
