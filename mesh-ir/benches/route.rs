//! What it costs to ask what becomes of a request, as the routes at a Gateway grow: `cargo bench -p mesh-ir`.
//!
//! Half of the routes have a hostname of their own, half share one and differ in their path.
#![allow(clippy::unwrap_used, reason = "what fails in here is a bench that fails")]

use divan::{Bencher, black_box};
use http::{HeaderMap, Method};
use mesh_ir::config::{MeshConfig, diff};
use mesh_ir::eval::{Action, Flow, Target, route};
use mesh_ir::resource::Resource;
use mesh_ir::view::{MeshView, RequestHead};
use serde_json::json;

const ROUTES: [usize; 4] = [1, 100, 1000, 5000];
const PORT: u16 = 20_000;

fn main() {
    divan::main();
}

fn view(routes: usize) -> MeshView {
    let parent = |hostname: String| json!([{"Listener": {"gateway": "edge/g", "listener": "http", "hostnames": [{"hostname": hostname}]}}]);
    let resource = |value: serde_json::Value| -> Resource { serde_json::from_value(value).unwrap() };
    let gateway = resource(json!({"kind": "Gateway", "name": "edge/g", "addresses": [],
        "listeners": [{"name": "http", "port": 80, "targetPort": PORT, "protocol": "Http"}]}));
    let routes = (0..routes.max(2)).map(|number| {
        let (hostname, path) = if number % 2 == 0 {
            (format!("r{number}.example"), "/".to_owned())
        } else {
            ("shared.example".to_owned(), format!("/r{number}"))
        };
        resource(
            json!({"kind": "Route", "key": {"kind": "Http", "name": format!("shop/r{number}")}, "created": 0,
            "parents": parent(hostname), "rules": [{"matches": [{"path": {"Prefix": path}}],
            "backends": [{"target": {"Service": {"service": "shop/s", "port": 80}}, "weight": 1}]}]}),
        )
    });
    let config: MeshConfig = std::iter::once(gateway).chain(routes).collect();
    MeshView::at("n1".parse().unwrap()).apply(&diff(&MeshConfig::default(), &config))
}

fn ask(bencher: Bencher<'_, '_>, routes: usize, host: &str, path: &str) {
    let view = view(routes);
    let headers = HeaderMap::new();
    let request = RequestHead { method: &Method::GET, path, query: None, host, headers: &headers };
    let flow = Flow { target: Target::Gateway { target_port: PORT, sni: None }, request };
    assert!(matches!(route(&view, &flow).action, Action::Forward(_)), "{host}{path} reaches no backend");
    bencher.bench(|| black_box(route(&view, black_box(&flow))).listener.is_some());
}

#[divan::bench(args = ROUTES)]
fn by_host(bencher: Bencher<'_, '_>, routes: usize) {
    ask(bencher, routes, &format!("r{}.example", routes / 4 * 2), "/page");
}

#[divan::bench(args = ROUTES)]
fn by_path(bencher: Bencher<'_, '_>, routes: usize) {
    ask(bencher, routes, "shared.example", &format!("/r{}/page", routes / 4 * 2 + 1));
}
