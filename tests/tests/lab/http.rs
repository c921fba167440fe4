//! HTTP as RFC 9110, 9112, 9113 and 8441 have it, and gRPC over it, between real sockets: through a Gateway, and from a pod.

use std::time::Duration;

use serde_json::Value;
use weir_tests::lab::{Lab, Plan, can_run};
use weir_tests::wait;

use crate::agent::{Agent, Held};
use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame, parse, status};
use crate::{SOON, has, run};

mod calls;
mod streams;

/// How often is looked whether more has come.
const LOOK: Duration = Duration::from_millis(50);

/// A client's wish for WebSocket, and the proof that RFC 6455 §1.3 has for its key.
const WEBSOCKET: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const PROOF: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What the backend says before it answers, without what is between two neighbours.
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";

/// A way to the backends.
struct Entry<'a> {
    name: &'static str,
    agent: &'a Agent,
    /// What answers requests, and what calls.
    host: &'a str,
    callee: &'a str,
    /// What has backends in HTTP/2 to carry other protocols.
    streams: &'a str,
    lab: &'a Lab,
}

/// A connection of an entry, with what has come on it.
struct Link<'a> {
    entry: &'a Entry<'a>,
    held: Held,
    data: Vec<u8>,
    ended: bool,
}

#[test]
fn lab_speaks_http_as_it_is_specified() {
    if !can_run() || !has("python3") || !has("curl") {
        return;
    }
    let backend = concat!(include_str!("../shared/http1.py"), include_str!("http/backend.py"));
    let backend = serde_json::to_string(&["python3", "-c", backend]).unwrap();
    let manifest = include_str!("http/http.yaml").replace("BACKEND", &backend);
    let lab = Plan::new("http").sample("lab.yaml").manifest("http.yaml", manifest).up().unwrap();
    let gateway =
        wait::until("the Gateway's address", SOON, || Ok(lab.gateway("http", "front").ok())).unwrap();
    let gateway = gateway.into_iter().find(std::net::IpAddr::is_ipv4).unwrap().to_string();
    let both = |check: fn(&Entry<'_>)| {
        let gateway = gateway.as_str();
        move |lab: &Lab| {
            let (machine, client) = (Agent::on_the_machine(), Agent::in_pod(lab, "http/client"));
            let [host, callee, streams] = [gateway; 3];
            check(&Entry { name: "Gateway", agent: &machine, host, callee, streams, lab });
            let [host, callee, streams] = ["odd", "callee", "streams"];
            check(&Entry { name: "mesh", agent: &client, host, callee, streams, lab });
        }
    };
    run(
        lab,
        &[
            ("a body that is expected goes once it is wanted", &both(continues)),
            ("a body that is refused does not go", &both(refuses_early)),
            ("a backend that says nothing gets the body after a while", &both(never_continues)),
            ("hints come before the answer is there", &both(hints)),
            ("trailers pass both ways", &both(trailers)),
            ("HTTP/1.0 is answered as such", &both(http_1_0)),
            ("a body that ends with its connection becomes chunks", &both(until_close)),
            ("fields between neighbours do not pass", &both(hop_by_hop)),
            ("a connection is switched to another protocol", &both(switches)),
            ("a wish to switch that is not granted is answered", &both(does_not_switch)),
            ("HTTP/2 in clear is no protocol to switch to", &both(never_h2c)),
            ("a stream of HTTP/2 carries WebSocket", &both(extended_connect)),
            ("an extended CONNECT that is not granted is no tunnel", &both(extended_connect_refused)),
            ("WebSocket goes to a backend in HTTP/2", &both(streams::websocket)),
            ("a stream of HTTP/2 goes to a backend in HTTP/2", &both(streams::of_http2)),
            ("a backend in HTTP/2 that takes no streams is asked for none", &both(streams::not_taken)),
            ("a backend in HTTP/2 refuses a stream in its own words", &both(streams::refused)),
            ("calls: deadlines end them, and go on", &both(calls::deadlines)),
            ("calls: a stream ends with its deadline", &both(calls::deadline_of_a_stream)),
            ("calls: every refusal is a grpc-status", &both(calls::refusals)),
            ("calls: those of one connection are balanced", &both(calls::balanced)),
            ("calls: a stream waits for its reader", &both(calls::backpressure)),
        ],
    );
}

impl<'a> Entry<'a> {
    fn open(&'a self, host: &str) -> Link<'a> {
        let held = self.agent.open(host, 80, None).unwrap();
        Link { entry: self, held, data: Vec::new(), ended: false }
    }

    /// A request with this in its head, its body, and the answer as it comes to the end of the connection.
    fn exchange(&self, request: &str) -> String {
        let mut link = self.open(self.host);
        link.send(request.as_bytes());
        link.until("the end", |link| link.ended);
        link.text()
    }

    /// The head of a request to the backend's path.
    fn head(&self, method: &str, path: &str, fields: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nHost: odd.example\r\n{fields}\r\n")
    }
}

impl Link<'_> {
    fn send(&self, data: &[u8]) {
        self.entry.agent.send(self.held, data).unwrap();
    }

    /// Reads until there is what is looked for.
    #[track_caller]
    fn until(&mut self, what: &str, is_there: impl Fn(&Self) -> bool) {
        let found = wait::until(what, SOON, || {
            if !is_there(self) {
                let received = self.entry.agent.read(self.held, LOOK);
                self.data.extend(&received.data);
                self.ended |= received.ended();
            }
            Ok(is_there(self).then_some(()))
        });
        assert!(found.is_ok(), "{}: {what}: {:?}", self.entry.name, self.text());
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// What of the connection's bytes are DATA of HTTP/2.
    fn streamed(&self) -> Vec<u8> {
        parse(&self.data).into_iter().filter(|frame| frame.0 == DATA).flat_map(|frame| frame.2).collect()
    }
}

impl Drop for Link<'_> {
    fn drop(&mut self) {
        self.entry.agent.close(self.held);
    }
}

/// What a backend saw, out of an answer.
#[track_caller]
fn seen(answer: &str) -> Value {
    let (from, to) = (answer.find('{'), answer.rfind('}'));
    let json = from.zip(to).map(|(from, to)| &answer[from..=to]);
    serde_json::from_str(json.unwrap_or_default()).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

fn continues(entry: &Entry<'_>) {
    let mut link = entry.open(entry.host);
    let fields = "Expect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n";
    link.send(entry.head("POST", "/continues", fields).as_bytes());
    link.until("100 Continue", |link| link.text().contains("\r\n\r\n"));
    assert_eq!(link.text(), "HTTP/1.1 100 Continue\r\n\r\n", "{}", entry.name);
    link.send(b"hello");
    link.until("the end", |link| link.ended);
    let answer = link.text();
    assert!(answer["HTTP/1.1 100 Continue\r\n\r\n".len()..].starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(seen(&answer)["body"], "hello");
}

fn refuses_early(entry: &Entry<'_>) {
    // No byte of the body is ever sent; the connection cannot go on behind it.
    let fields = "Expect: 100-continue\r\nContent-Length: 5000000\r\n";
    let answer = entry.exchange(&entry.head("POST", "/refuses-early", fields));
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.ends_with("no"), "{}: {answer}", entry.name);
    // Where nobody waits, a body that goes on does not keep the answer back.
    let mut link = entry.open(entry.host);
    link.send(entry.head("POST", "/refuses-early", "Content-Length: 5000000\r\n").as_bytes());
    link.send(&[b'x'; 1000]);
    link.until("the answer", |link| link.text().ends_with("no"));
    assert!(link.text().starts_with("HTTP/1.1 403 "), "{}", link.text());
}

fn never_continues(entry: &Entry<'_>) {
    let fields = "Expect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n";
    let answer = entry.exchange(&(entry.head("POST", "/never-continues", fields) + "hello"));
    assert_eq!(seen(&answer)["body"], "hello", "{}", entry.name);
}

fn hints(entry: &Entry<'_>) {
    let mut link = entry.open(entry.host);
    link.send(entry.head("POST", "/hints", "Content-Length: 5\r\nConnection: close\r\n").as_bytes());
    // The backend does not answer before it has the body.
    link.until("hints", |link| link.text().contains("\r\n\r\n"));
    assert_eq!(link.text(), HINTS, "{}", entry.name);
    link.send(b"hello");
    link.until("the end", |link| link.ended);
    let answer = link.text();
    assert!(
        answer[HINTS.len()..].starts_with("HTTP/1.1 200 ") && seen(&answer)["body"] == "hello",
        "{answer}"
    );
    // HTTP/1.0 has none.
    let answer = entry.exchange("GET /hints HTTP/1.0\r\nHost: odd.example\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200 ") && !answer.contains("preload"), "{}: {answer}", entry.name);
}

fn trailers(entry: &Entry<'_>) {
    let fields = "Transfer-Encoding: chunked\r\nTrailer: X-Own\r\nTE: trailers, gzip;q=0.5\r\nConnection: TE, close\r\n";
    let body = "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nX-Own: 1\r\nX-Unannounced: 2\r\n\r\n";
    let answer = entry.exchange(&(entry.head("POST", "/trailers", fields) + body));
    // Two chunks of JSON, which a chunk's size parts.
    let text: String = answer.split("\r\n").filter(|line| line.contains('"')).collect();
    let seen = seen(&text);
    assert_eq!(
        (seen["body"].as_str(), seen["fields"]["te"].as_str()),
        (Some("abcdefg"), Some("trailers")),
        "{answer}"
    );
    assert_eq!(seen["trailers"], serde_json::json!(["x-own: 1"]), "{answer}");
    assert!(answer.to_lowercase().ends_with("\r\n0\r\nx-sum: 7\r\n\r\n"), "{}: {answer}", entry.name);
    // Who does not take trailers gets none, and in HTTP/2 they need no announcement.
    let answer = entry.exchange(&entry.head("GET", "/trailers", "Connection: close\r\n"));
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "{}: {answer}", entry.name);
    if entry.name == "mesh" {
        // A pod that speaks HTTP/2 speaks it to its server, and this one does not.
        return;
    }
    let mut link = entry.open(entry.host);
    link.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    let head = block("POST", "/trailers", &[("trailer", "x-own")]);
    let own = [&[0, 5][..], b"x-own", &[1], b"3"].concat();
    link.send(&frame(HEADERS, END_HEADERS, 1, &head));
    link.send(&frame(DATA, 0, 1, b"of HTTP/2"));
    link.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &own));
    let heads = |link: &Link<'_>| parse(&link.data).iter().filter(|frame| frame.0 == HEADERS).count();
    link.until("trailers", |link| heads(link) == 2);
    let seen = self::seen(&String::from_utf8(link.streamed()).unwrap());
    assert_eq!((seen["body"].as_str(), seen["trailers"][0].as_str()), (Some("of HTTP/2"), Some("x-own: 3")));
}

fn http_1_0(entry: &Entry<'_>) {
    // It says no host, takes no chunks, and its connection ends unless it asks otherwise.
    let answer = entry.exchange("GET /trailers HTTP/1.0\r\nHost: odd.example\r\n\r\n");
    assert!(
        answer.starts_with("HTTP/1.0 200 ") && !answer.to_lowercase().contains("transfer-encoding"),
        "{answer}"
    );
    assert_eq!(seen(&answer)["head"].as_str().unwrap().lines().next(), Some("GET /trailers HTTP/1.1"));
    let mut link = entry.open(entry.host);
    for _ in 0..2 {
        link.data.clear();
        link.send(b"GET /kept HTTP/1.0\r\nHost: odd.example\r\nConnection: keep-alive\r\n\r\n");
        link.until("an answer", |link| link.text().ends_with('}'));
        assert!(link.text().to_lowercase().contains("connection: keep-alive"), "{}", link.text());
    }
}

fn until_close(entry: &Entry<'_>) {
    let mut link = entry.open(entry.host);
    for _ in 0..2 {
        link.data.clear();
        link.send(entry.head("GET", "/until-close", "").as_bytes());
        link.until("the last chunk", |link| link.text().ends_with("\r\n0\r\n\r\n"));
        let answer = link.text();
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("transfer-encoding: chunked"),
            "{answer}"
        );
    }
}

fn hop_by_hop(entry: &Entry<'_>) {
    let fields = "Connection: close, X-Between, Host\r\nX-Between: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
                  TE: gzip\r\nUpgrade: spdy/3\r\nX-Beyond: 2\r\n";
    let answer = entry.exchange(&entry.head("GET", "/hop-by-hop", fields));
    let seen = seen(&answer);
    let sent = seen["fields"].as_object().unwrap();
    for name in ["connection", "x-between", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert_eq!(sent.get(name), None, "{}: {seen}", entry.name);
    }
    assert_eq!((sent["host"].as_str(), sent["x-beyond"].as_str()), (Some("odd.example"), Some("2")));
    let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
    assert!(head.contains("x-theirs: 2") && head.contains("connection: close"), "{head}");
    assert!(!head.contains("x-mine") && !head.contains("keep-alive"), "{head}");
}

fn switches(entry: &Entry<'_>) {
    let mut link = entry.open(entry.host);
    // The first bytes of the other protocol may come with the request for it.
    link.send((entry.head("GET", "/switches", WEBSOCKET) + "early").as_bytes());
    link.until("the echo", |link| link.text().ends_with("early"));
    let head = link.text().to_lowercase();
    assert!(head.starts_with("http/1.1 101 ") && head.contains("upgrade: websocket"), "{head}");
    assert!(link.text().contains(PROOF), "{}", link.text());
    comes_back(&mut link);
}

/// What is sent on a connection that speaks HTTP no more, all of it.
fn comes_back(link: &mut Link<'_>) {
    link.data.clear();
    let binary: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    link.send(&binary);
    link.until("all of it", |link| link.data.len() >= binary.len());
    assert_eq!(link.data, binary);
}

fn does_not_switch(entry: &Entry<'_>) {
    let mut link = entry.open(entry.host);
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    for _ in 0..2 {
        link.data.clear();
        link.send(entry.head("GET", "/stays", fields).as_bytes());
        link.until("an answer", |link| link.text().ends_with('}'));
        let answer = link.text();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{}: {answer}", entry.name);
        assert_eq!(seen(&answer)["fields"]["upgrade"], "websocket");
    }
}

fn never_h2c(entry: &Entry<'_>) {
    let fields =
        "Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let answer = entry.exchange(&entry.head("GET", "/switches", fields));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{}: {answer}", entry.name);
    let seen = seen(&answer);
    assert_eq!((&seen["fields"]["upgrade"], &seen["fields"]["http2-settings"]), (&Value::Null, &Value::Null));
}

/// An extended CONNECT on a new connection of HTTP/2, up to its answer.
fn connected<'a>(entry: &'a Entry<'a>, host: &str, path: &str, expected: u16) -> Link<'a> {
    let mut link = entry.open(host);
    link.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    // SETTINGS_ENABLE_CONNECT_PROTOCOL, 8, must be 1 before a client may ask.
    let enables = |frame: &(u8, u32, Vec<u8>)| {
        frame.0 == SETTINGS && frame.2.chunks(6).any(|setting| setting == [0, 8, 0, 0, 0, 1])
    };
    link.until("the server's settings", |link| parse(&link.data).iter().any(enables));
    link.send(&frame(SETTINGS, 1, 0, &[]));
    let more = [(":protocol", "websocket"), ("sec-websocket-version", "13")];
    link.send(&frame(HEADERS, END_HEADERS, 1, &block("CONNECT", path, &more)));
    link.until("an answer", |link| parse(&link.data).iter().any(|frame| frame.0 == HEADERS));
    let answered = parse(&link.data).iter().find_map(status);
    assert_eq!(answered, Some(expected), "{}", entry.name);
    link
}

fn extended_connect(entry: &Entry<'_>) {
    let mut link = connected(entry, entry.host, "/switches/by-http2", 200);
    for text in ["to and", " fro"] {
        link.send(&frame(DATA, 0, 1, text.as_bytes()));
    }
    link.until("the echo", |link| link.streamed() == b"to and fro");
    ends_both_ways(&mut link);
}

/// The client's end of a stream is the backend's, and the other way round.
fn ends_both_ways(link: &mut Link<'_>) {
    link.send(&frame(DATA, END_STREAM, 1, b""));
    let ended = |frame: &(u8, u32, Vec<u8>)| frame.0 == DATA && frame.2.is_empty();
    link.until("the end of the stream", |link| parse(&link.data).iter().any(ended));
}

fn extended_connect_refused(entry: &Entry<'_>) {
    // What the backend answers instead goes on as it is, but its 200 would be consent.
    connected(entry, entry.host, "/stays", 502);
}
