//! Clients that send nothing, or half a request, and stay.

use std::time::{Duration, Instant};

use crate::agent::Held;
use crate::world::{SOON, World};

/// The default of mesh-node's `--header-timeout`, with some grace for a busy machine.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60 + 10);
/// Of each kind at each entry.
const MANY: usize = 40;
const KINDS: [(&str, &[u8]); 4] = [
    ("nothing", b""),
    ("half a method", b"GE"),
    ("half a head", b"GET / HTTP/1.1\r\nHost: shop.example\r\nX-Half: a"),
    ("half a preface", b"PRI * HTTP/2.0\r\n\r\nSM"),
];

/// Clients that wait to be cut off.
pub(crate) struct Waiting {
    since: Instant,
    /// The entry's place, what was sent, and the connection.
    connections: Vec<(usize, &'static str, Held)>,
}

pub(crate) fn begin(world: &World) -> Waiting {
    let mut connections = Vec::new();
    for (at, entry) in world.entries().iter().enumerate() {
        for (name, data) in KINDS {
            let held = entry.open();
            entry.agent().send(held, data).unwrap();
            connections.push((at, name, held));
        }
    }
    Waiting { since: Instant::now(), connections }
}

impl Waiting {
    /// Each has been closed, without an answer that could be taken for one of a backend.
    pub(crate) fn end(&self, world: &World) {
        let mut wrong = Vec::new();
        let entries = world.entries();
        for (at, name, held) in &self.connections {
            let (entry, left) = (&entries[*at], HEADER_TIMEOUT.saturating_sub(self.since.elapsed()));
            let came = entry.agent().read(*held, left.max(Duration::from_millis(500)));
            entry.agent().close(*held);
            if !came.ended() || !matches!(came.status(), 0 | 400 | 408) {
                wrong.push(format!("{}: {name}: {came:?}", entry.name));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

pub(crate) fn many(world: &World) {
    let before = world.held();
    let mut opened = Vec::new();
    for entry in world.entries() {
        for (_, data) in KINDS {
            for _ in 0..MANY {
                let held = entry.open();
                entry.agent().send(held, data).unwrap();
                opened.push((entry, held));
            }
        }
    }
    world.until("the nodes to hold the connections", || {
        let sum = |nodes: &[crate::world::Held]| nodes.iter().map(|node| node.descriptors).sum::<usize>();
        sum(&world.held()) >= sum(&before) + opened.len()
    });
    // Nobody else waits for them.
    let begun = Instant::now();
    world.untouched();
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    for (at, (entry, held)) in opened.into_iter().enumerate() {
        match at % 2 {
            0 => entry.agent().close(held),
            _ => entry.agent().reset(held),
        }
    }
    world.descriptors_return_to(&before, SOON);
}
