//! Bad input of every kind, tried on one lab: each is refused with a clear error or the right status, nothing else is
//! touched by it, nothing hangs, and in the end no node keeps descriptors or memory of it.
//!
//! The cases are one test because they share the lab, and because the last of them looks at what all of them left behind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test ends where something is not as it has to be"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use weir_tests::lab::can_run;

use world::World;

#[path = "shared/agent.rs"]
mod agent;
#[path = "bad_input/backends.rs"]
mod backends;
#[path = "bad_input/capture_ports.rs"]
mod capture_ports;
#[path = "shared/frames.rs"]
mod frames;
#[path = "bad_input/h2.rs"]
mod h2;
#[path = "bad_input/identities.rs"]
mod identities;
#[path = "bad_input/manifests.rs"]
mod manifests;
#[path = "bad_input/requests.rs"]
mod requests;
#[path = "bad_input/slow_clients.rs"]
mod slow_clients;
#[path = "bad_input/world.rs"]
mod world;

type Case = (&'static str, fn(&World));

const CASES: &[Case] = &[
    ("manifests: not YAML", manifests::not_yaml),
    ("manifests: an unknown field", manifests::unknown_field),
    ("manifests: a route to a missing Service", manifests::missing_service),
    ("manifests: a cross-namespace backend", manifests::cross_namespace),
    ("manifests: a regular expression that does not compile", manifests::regular_expression),
    ("manifests: listeners in conflict", manifests::listeners_in_conflict),
    ("requests: malformed HTTP/1", requests::malformed),
    ("requests: malformed HTTP/2", h2::malformed),
    ("backends: answers that break off", backends::broken_off),
    ("backends: answers that are none", backends::no_answer),
    ("backends: answers that overrun", backends::overrun),
    ("backends: one that never answers", backends::silent),
    ("identities: forged and foreign certificates", identities::not_believed),
    ("identities: an SVID of the mesh is that identity", identities::believed),
    ("capture ports dialled directly", capture_ports::refused),
    ("slow clients: many at once", slow_clients::many),
    ("requests: a storm of malformed ones", requests::storm),
];

#[test]
#[allow(clippy::print_stdout, reason = "the cases of one test are told apart by what it prints")]
fn bad_input_is_refused_and_touches_nothing_else() {
    if !can_run() {
        return;
    }
    let world = World::up();
    // They wait for their time-outs while the other cases run.
    let waiting = slow_clients::begin(&world);
    let mut failed = Vec::new();
    let mut run = |name: &'static str, case: &mut dyn FnMut()| {
        let begun = Instant::now();
        let held = catch_unwind(AssertUnwindSafe(case)).is_ok();
        println!(
            "{} {name} ({:.1} s)",
            if held { "ok    " } else { "FAILED" },
            begun.elapsed().as_secs_f64()
        );
        if !held {
            failed.push(name);
        }
    };
    for (name, case) in CASES {
        run(name, &mut || case(&world));
    }
    run("slow clients: cut off in time", &mut || waiting.end(&world));
    run("nothing is kept", &mut || world.nothing_is_kept());
    assert!(failed.is_empty(), "failed: {}", failed.join(", "));
}
