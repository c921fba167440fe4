//! Malformed HTTP/2, with prior knowledge, through the Gateway and from inside a pod.

use crate::world::World;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

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

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block without compression (RFC 7541 §6.2.2).
fn block(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let first = [(":method", method), (":scheme", "http"), (":authority", "shop.example"), (":path", path)];
    let mut block = Vec::new();
    for (name, value) in first.iter().chain(fields) {
        block.push(0);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                block.push(length as u8);
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push((length % 128 + 128) as u8);
                    length /= 128;
                }
                block.push(length as u8);
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// Kind, stream and payload of each whole frame.
fn parse(mut data: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while data.len() >= 9 {
        let length = u32::from_be_bytes([0, data[0], data[1], data[2]]) as usize;
        let stream = u32::from_be_bytes([data[5], data[6], data[7], data[8]]);
        let Some(payload) = data.get(9..9 + length) else { break };
        frames.push((data[3], stream, payload.to_vec()));
        data = &data[9 + length..];
    }
    frames
}

/// The status of a response, where it is in the static table or a literal that follows the index of one (RFC 7541
/// appendix A), as a server says the first time.
fn status((kind, _, payload): &(u8, u32, Vec<u8>)) -> Option<u16> {
    const STATIC: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    if *kind != HEADERS {
        return None;
    }
    match *payload.first()? {
        index @ 0x88..=0x8e => Some(STATIC[usize::from(index - 0x88)]),
        // A literal of three digits, plain or in Huffman's code: 10 bits or more for each of these.
        0x48 if payload.get(1) == Some(&3) => std::str::from_utf8(payload.get(2..5)?).ok()?.parse().ok(),
        0x48 if payload.get(1)? & 0x80 != 0 => {
            huffman_digits(payload.get(2..2 + usize::from(payload[1] & 0x7f))?)
        }
        _ => None,
    }
}

/// Three digits in HPACK's Huffman code: `0`, `1` and `2` have 5 bits, the others 6 (RFC 7541 appendix B).
fn huffman_digits(code: &[u8]) -> Option<u16> {
    let bits: u32 = code.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte));
    let (mut left, mut number) = (8 * u32::try_from(code.len()).ok()?, 0);
    for _ in 0..3 {
        let five = bits >> left.checked_sub(5)? & 0x1f;
        let digit = if five < 3 {
            left -= 5;
            five
        } else {
            let six = bits >> left.checked_sub(6)? & 0x3f;
            left -= 6;
            six.checked_sub(0x19)? + 3
        };
        number = number * 10 + digit;
    }
    u16::try_from(number).ok()
}
