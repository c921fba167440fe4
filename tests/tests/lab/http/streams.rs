//! Other protocols to backends in HTTP/2: what a client asks for by Upgrade or by extended CONNECT goes to them by extended CONNECT.

use serde_json::Value;

use super::{Entry, Link, PROOF, WEBSOCKET, comes_back, connected, ends_both_ways, seen};
use crate::frames::{DATA, frame};

pub(super) fn websocket(entry: &Entry<'_>) {
    let mut link = upgraded(entry, "/streams", "");
    link.until("what the backend saw", |link| link.text().ends_with("}\n"));
    let (head, line) = link.text().split_once("\r\n\r\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains(PROOF), "{}: {head}", entry.name);
    let said = head.to_lowercase();
    assert!(
        said.contains("\r\nupgrade: websocket\r\n") && said.contains("\r\nconnection: upgrade\r\n"),
        "{head}"
    );
    reached(&line);
    comes_back(&mut link);
}

pub(super) fn of_http2(entry: &Entry<'_>) {
    let mut link = connected(entry, entry.streams, "/streams", 200);
    link.until("what the backend saw", |link| link.streamed().ends_with(b"}\n"));
    let line = link.streamed();
    reached(&String::from_utf8_lossy(&line));
    link.send(&frame(DATA, 0, 1, b"to and"));
    link.send(&frame(DATA, 0, 1, b" fro"));
    link.until("the echo", |link| link.streamed()[line.len()..] == *b"to and fro");
    ends_both_ways(&mut link);
}

pub(super) fn not_taken(entry: &Entry<'_>) {
    let mut link = upgraded(entry, "/no-streams", "");
    link.until("the reason", |link| link.text().ends_with("kubernetes.io/ws)\n"));
    let answer = link.text();
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("RFC 8441"), "{}: {answer}", entry.name);
    connected(entry, entry.streams, "/no-streams", 502);
}

pub(super) fn refused(entry: &Entry<'_>) {
    // Each of two backends has its first failure for each path.
    let path = format!("/streams/refused/{}", entry.name);
    let mut link = upgraded(entry, &path, "Fail-First: 1\r\n");
    link.until("the backend's words", |link| link.text().ends_with('}'));
    let answer = link.text();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{}: {answer}", entry.name);
    assert_eq!(seen(&answer)["error"], "this one fails, as asked");
    // The connection goes on.
    link.data.clear();
    link.send(entry.head("GET", "/streams", "").as_bytes());
    link.until("an answer", |link| link.text().ends_with('}'));
    assert_eq!(seen(&link.text())["method"], "GET");
}

/// A connection of HTTP/1.1 on which WebSocket is wished for.
fn upgraded<'a>(entry: &'a Entry<'a>, path: &str, more: &str) -> Link<'a> {
    let link = entry.open(entry.streams);
    link.send(entry.head("GET", path, &format!("{WEBSOCKET}{more}")).as_bytes());
    link
}

/// What a backend must have seen.
#[track_caller]
fn reached(line: &str) {
    let seen = seen(line);
    assert_eq!((&seen["method"], &seen["protocol"]), (&"CONNECT".into(), &"websocket".into()), "{seen}");
    let fields = &seen["headers"];
    assert_eq!(fields["sec-websocket-version"], "13", "{seen}");
    for name in ["sec-websocket-key", "connection", "upgrade"] {
        assert_eq!(fields[name], Value::Null, "{name}: {seen}");
    }
}
