//! Backends that break off, answer nonsense, or never answer.

use std::time::{Duration, Instant};

use crate::agent::Received;
use crate::world::{Entry, World};

/// Its name, the statuses of which one answers it, and how it is made.
type Dial<'d> = (&'d str, &'d [u16], &'d dyn Fn() -> Received);

/// A response that broke off is told from a whole one by its client, and its connection is used no more.
pub(crate) fn broken_off(world: &World) {
    let mut wrong = Vec::new();
    for entry in world.entries() {
        for how in ["half-reset", "half-chunked-reset", "half-closed", "half-chunked-closed", "bad-chunk"] {
            let marker = world.marker();
            let answer = entry.get(&format!("/{marker}/{how}"));
            let whole = if answer.header("transfer-encoding").is_some() {
                answer.body().ends_with("0\r\n\r\n")
            } else {
                let length = answer.header("content-length").and_then(|text| text.parse::<usize>().ok());
                length.is_none_or(|length| answer.body().len() >= length)
            };
            let refused = answer.status() == 502;
            if !answer.ended() || !refused && (answer.status() != 200 || whole) {
                wrong.push(format!("{}: {how}: not seen to be broken: {answer:?}", entry.name));
            }
            next_is_good(&entry, &marker, how, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

pub(crate) fn no_answer(world: &World) {
    let mut wrong = Vec::new();
    for entry in world.entries() {
        for how in ["closed", "reset", "garbage", "two-lengths", "huge-head"] {
            let marker = world.marker();
            let answer = entry.get(&format!("/{marker}/{how}"));
            if answer.status() != 502 || !answer.ended() {
                wrong.push(format!("{}: {how}: not 502: {answer:?}", entry.name));
            }
            next_is_good(&entry, &marker, how, &mut wrong);
        }
    }
    // A node that dials its own pod knows that nobody listens; one that has come to another node by TLS only that
    // the connection broke.
    let nobody = b"GET / HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n";
    let [_, near, far] = world.entries();
    let dials: [Dial<'_>; 4] = [
        ("the Gateway to node-1", &[502, 503], &|| world.get("/near/nobody")),
        ("the Gateway to node-2", &[502, 503], &|| world.get("/far/nobody")),
        (near.name, &[503], &|| near.port(81, nobody)),
        (far.name, &[502, 503], &|| far.port(81, nobody)),
    ];
    for (name, statuses, dial) in dials {
        let begun = Instant::now();
        let answer = dial();
        let took = begun.elapsed();
        if !statuses.contains(&answer.status()) || took > Duration::from_secs(2) {
            wrong.push(format!("{name}: nobody listens: not {statuses:?} at once: {took:?} {answer:?}"));
        }
    }
    world.untouched();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a backend says beyond its response is for nobody.
pub(crate) fn overrun(world: &World) {
    for entry in world.entries() {
        for _ in 0..20 {
            let answer = entry.get("/overrun");
            assert_eq!((answer.status(), answer.body().as_str()), (200, "hello"), "{}", entry.name);
            let next = entry.get("/good");
            assert_eq!((next.status(), next.body().as_str()), (200, "good"), "{}", entry.name);
        }
    }
}

pub(crate) fn silent(world: &World) {
    let gateway = |path: &'static str| (path, world.get(path));
    let mut answers: Vec<(&str, Received, Duration)> = Vec::new();
    for path in ["/near/hurried/silent", "/far/hurried/silent"] {
        let begun = Instant::now();
        let (path, answer) = gateway(path);
        answers.push((path, answer, begun.elapsed()));
    }
    for entry in &world.entries()[1..] {
        let begun = Instant::now();
        answers.push((entry.name, entry.get("/hurried/silent"), begun.elapsed()));
    }
    for (place, answer, took) in answers {
        assert_eq!(answer.status(), 504, "{place}: {answer:?}");
        assert!(took > Duration::from_millis(450) && took < Duration::from_secs(2), "{place}: {took:?}");
    }
    world.untouched();
}

fn next_is_good(entry: &Entry<'_>, marker: &str, how: &str, wrong: &mut Vec<String>) {
    let after = format!("after-{marker}");
    let good = entry.get(&format!("/{after}/good"));
    if good.status() != 200 || good.body() != "good" {
        wrong.push(format!("{}: after {how}: {good:?}", entry.name));
    }
    let seen = entry.seen();
    let of = |path: &str| {
        let mut found =
            seen.iter().filter(|request| request["head"].as_str().is_some_and(|h| h.contains(path)));
        found.next().map(|request| request["connection"].clone())
    };
    let (broken, next) = (of(&format!("/{marker}/")), of(&format!("/{after}/")));
    if broken.is_none() || next.is_none() || broken == next {
        wrong.push(format!("{}: {how}: on connection {broken:?}, the next request on {next:?}", entry.name));
    }
}
