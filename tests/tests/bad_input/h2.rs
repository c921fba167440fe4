//! Malformed HTTP/2, with prior knowledge, through the Gateway and from inside a pod.

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM, SETTINGS, block,
    frame, parse, status,
};
use crate::world::World;

/// What refuses a request or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// The connection ends with an error.
    Connection,
    /// The stream is reset, or answered with this status.
    Stream(&'static [u16]),
}

pub(crate) fn malformed(world: &World) {
    let mut wrong = Vec::new();
    for entry in world.entries() {
        let count = all("").len();
        for at in 0..count {
            let marker = world.marker();
            let (name, frames, refusal) = all(&format!("{}/{marker}", entry.prefix)).swap_remove(at);
            let data = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frames].concat();
            let held = entry.open();
            // A peer that has had enough may close before it has taken all of it.
            let _ = entry.agent().send(held, &data);
            let answer = entry.agent().read(held, std::time::Duration::from_millis(700));
            entry.agent().close(held);
            let frames = parse(&answer.data);
            let ended = answer.ended() || frames.iter().any(|(kind, ..)| *kind == GOAWAY);
            let reset = frames.iter().any(|(kind, ..)| *kind == RST_STREAM);
            let refused = match refusal {
                Refusal::Connection => ended,
                Refusal::Stream(statuses) => {
                    ended
                        || reset
                        || frames.iter().any(|frame| status(frame).is_some_and(|s| statuses.contains(&s)))
                }
            };
            if !refused {
                wrong.push(format!("{}: {name}: not {refusal:?}: {} {frames:?}", entry.name, answer.end));
            }
            if let Some(seen) = entry.seen_of(&marker).filter(|seen| seen["complete"] == true) {
                wrong.push(format!("{}: {name}: the backend saw {seen}", entry.name));
            }
            let good = entry.get("/good");
            if good.status() != 200 {
                wrong.push(format!("{}: {name}: the next request: {good:?}", entry.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let url = format!("http://{}/far/good", world.gateway);
    let good = world.lab.get_from_host(&["--http2", &url]).unwrap();
    assert_eq!(good.status(), 200, "{good:?}");
}

fn all(path: &str) -> Vec<(&'static str, Vec<u8>, Refusal)> {
    let ends = END_STREAM | END_HEADERS;
    let request = |method: &str| block(method, path, &[]);
    let with = |method: &str, fields: &[(&str, &str)]| block(method, path, fields);
    let huge = with("GET", &[("x-long", &"h".repeat(100_000))]);
    let mut pieces = huge.chunks(16_000);
    let mut oversized = frame(HEADERS, END_STREAM, 1, pieces.next().unwrap_or_default());
    for piece in pieces {
        oversized.extend(frame(CONTINUATION, 0, 1, piece));
    }
    oversized.extend(frame(CONTINUATION, END_HEADERS, 1, &[]));
    let mut endless = frame(HEADERS, END_STREAM, 1, &request("GET"));
    for _ in 0..2000 {
        endless.extend(frame(CONTINUATION, 0, 1, &[]));
    }
    let body = |fields: &[(&str, &str)], data: &[u8]| {
        [frame(HEADERS, END_HEADERS, 1, &with("POST", fields)), frame(DATA, END_STREAM, 1, data)].concat()
    };
    let bad = Refusal::Stream(&[400]);
    vec![
        ("headers of 100,000 bytes", oversized, Refusal::Stream(&[431])),
        ("headers without an end", endless, Refusal::Connection),
        ("headers on stream 0", frame(HEADERS, ends, 0, &request("GET")), Refusal::Connection),
        ("headers on an even stream", frame(HEADERS, ends, 2, &request("GET")), Refusal::Connection),
        ("data on a stream that is not open", frame(DATA, END_STREAM, 1, b"hello"), Refusal::Connection),
        ("a frame beyond the largest size", frame(DATA, 0, 1, &[0; 20_000]), Refusal::Connection),
        ("settings of a broken length", frame(SETTINGS, 0, 0, &[1, 2, 3]), Refusal::Connection),
        ("headers that cannot be unpacked", frame(HEADERS, ends, 1, &[0xff; 20]), Refusal::Connection),
        ("an upper-case name", frame(HEADERS, ends, 1, &with("GET", &[("X-Upper", "a")])), bad),
        ("a Connection header", frame(HEADERS, ends, 1, &with("GET", &[("connection", "close")])), bad),
        (
            "a Transfer-Encoding",
            frame(HEADERS, ends, 1, &with("GET", &[("transfer-encoding", "chunked")])),
            bad,
        ),
        ("a line end in a value", frame(HEADERS, ends, 1, &with("GET", &[("x-a", "b\r\nx-c: d")])), bad),
        (
            "a pseudo-header after the others",
            frame(HEADERS, ends, 1, &with("GET", &[("x-a", "b"), (":path", "/x")])),
            bad,
        ),
        ("more data than its length", body(&[("content-length", "2")], b"hello"), bad),
        ("less data than its length", body(&[("content-length", "9")], b"hello"), bad),
    ]
}
