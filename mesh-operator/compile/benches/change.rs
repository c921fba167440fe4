//! What a mesh of 100 and of 10,000 Services costs: to compile whole, to encode, to hold as a node's view, and to change
//! in one place. `cargo bench -p mesh-compile` prints a table; `cargo bench -p mesh-compile -- 1000` is of that many
//! Services. Memory is what the process has more than before.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and fails where it cannot go on"
)]

use std::time::{Duration, Instant};

use mesh_compile::generate::{self, Size};
use mesh_compile::{Compiler, Settings, Snapshot};
use mesh_ir::config::{MeshConfig, diff};
use mesh_ir::view::MeshView;
use mesh_wire::EncodedConfig;

const CHANGES: usize = 20;

fn main() {
    let asked: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if asked.is_empty() { vec![100, 10_000] } else { asked };
    for services in sizes {
        measure(Size::of_services(services));
    }
}

fn measure(size: Size) {
    println!("{} Services, {} Pods, {} routes, {} nodes", size.services, size.pods, size.routes, size.nodes);
    let settings = Settings {
        trust_domain: "cluster.local".parse().unwrap(),
        default_mode: Default::default(),
        same_node: Default::default(),
    };
    let mut before = resident();
    let mut memory = |what: &str| {
        let now = resident();
        println!("  {what:<40} {:>10.1} MB", (now - before) / 1e6);
        before = now;
    };
    let mut snapshot = generate::snapshot(size);
    memory("memory of the objects");
    let mut compiler = Compiler::new(settings);
    timed("compile whole", || compiler.update(&snapshot));
    let mut compiled = compiler.compiled().clone();
    memory("memory of what is compiled");
    let mut encoded = timed("encode whole", || EncodedConfig::new(&compiled.config));
    memory("memory of the encoded configuration");
    let mut view =
        timed("view whole", || MeshView::default().apply(&diff(&MeshConfig::default(), &compiled.config)));
    memory("memory of the view");

    let mut change = |what: &str, edit: &dyn Fn(&mut Snapshot, usize)| {
        let mut times = [const { Vec::new() }; 3];
        let mut bytes = 0;
        for i in 0..CHANGES {
            edit(&mut snapshot, i);
            let started = Instant::now();
            compiler.update(&snapshot);
            let next = compiler.compiled().clone();
            times[0].push(started.elapsed());
            let started = Instant::now();
            encoded = encoded.next(&next.config);
            let delta = diff(&compiled.config, &next.config);
            times[1].push(started.elapsed());
            bytes += delta.upserts.iter().map(|r| encoded.get(&r.key()).unwrap().body.len()).sum::<usize>();
            let started = Instant::now();
            view = view.apply(&delta);
            times[2].push(started.elapsed());
            compiled = next;
        }
        let [compile, encode, view] = times.map(median);
        println!(
            "  {what}: compile {compile:?}, encode {encode:?}, view {view:?}, {} bytes",
            bytes / CHANGES
        );
    };
    change("an endpoint's readiness", &|snapshot, i| {
        let service = i / 2 * 37 % size.services;
        let unready = (i % 2 == 0).then_some(service);
        snapshot.insert(generate::slice(size, service, unready));
    });
    change("the weight of a route of a Service", &|snapshot, i| {
        _ = snapshot.insert(generate::route(size, 1, 11 + i as u32));
    });
    change("the weight of a route of a Gateway", &|snapshot, i| {
        _ = snapshot.insert(generate::route(size, 0, 11 + i as u32));
    });
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    println!("  {what:<40} {:>10.1?}", started.elapsed());
    result
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// In bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() * 1024.0
}
