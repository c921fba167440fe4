//! What this reader makes of a message, held against what hyper makes of it: on messages that follow the rules both
//! read the same; on mutated ones this one accepts nothing that hyper does not read in the same way, and what hyper
//! accepts beyond it breaks a rule that [`super`] lists.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::decode::{Decoded, Decoder};
use super::head::{self, HeadLimits};

const LIMITS: HeadLimits = HeadLimits { bytes: 64 * 1024, fields: 100 };

/// A message as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    /// Method and target, or the status.
    start: String,
    fields: Vec<(String, Vec<u8>)>,
    /// `None` where it was malformed or broke off.
    body: Option<Vec<u8>>,
}

impl Seen {
    fn new(start: String, headers: &HeaderMap, body: Option<Vec<u8>>) -> Self {
        let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), value.as_bytes().to_vec())
        };
        Self { start, fields: headers.iter().map(field).collect(), body }
    }
}

/// The body, and what of the input is behind it.
fn our_body(length: head::Length, buffer: &mut BytesMut) -> Option<Vec<u8>> {
    let (mut decoder, mut body) = (Decoder::new(length), Vec::new());
    loop {
        match decoder.decode(buffer).ok()? {
            Decoded::Data(data) => body.extend_from_slice(&data),
            Decoded::Trailers(_) => {}
            Decoded::End => return Some(body),
            Decoded::NeedsMore => {
                decoder.end_of_stream().ok()?;
                return Some(body);
            }
        }
    }
}

fn our_requests(input: &[u8]) -> Vec<Seen> {
    let (mut buffer, mut all) = (BytesMut::from(input), Vec::new());
    while let Ok(Some(head)) = head::request(&mut buffer, &mut 0, LIMITS) {
        let body = our_body(head.length, &mut buffer);
        let ended = body.is_none() || !head.keep_alive;
        all.push(Seen::new(format!("{} {}", head.parts.method, head.parts.uri), &head.parts.headers, body));
        if ended {
            break;
        }
    }
    all
}

fn our_response(input: &[u8], method: &Method) -> Option<Seen> {
    let mut buffer = BytesMut::from(input);
    loop {
        let head = head::response(&mut buffer, &mut 0, LIMITS, method).ok()??;
        if head.parts.status.is_informational() && head.parts.status != 101 {
            continue;
        }
        let body = our_body(head.length, &mut buffer);
        return Some(Seen::new(head.parts.status.to_string(), &head.parts.headers, body));
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn hypers_requests(input: &[u8]) -> Vec<Seen> {
    block_on(async {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(input).await.unwrap();
        client.shutdown().await.unwrap();
        let seen = Rc::new(RefCell::new(Vec::new()));
        let service = service_fn(|request: Request<Incoming>| {
            let seen = seen.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
                let start = format!("{} {}", head.method, head.uri);
                seen.borrow_mut().push(Seen::new(start, &head.headers, body));
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        let _ = builder.half_close(true).serve_connection(TokioIo::new(server), service).await;
        drop(client);
        Rc::into_inner(seen).unwrap().into_inner()
    })
}

fn hypers_response(input: &[u8], method: &Method) -> Option<Seen> {
    block_on(async {
        let (client, mut server) = tokio::io::duplex(1 << 20);
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(client)).await.unwrap();
        let answering = async {
            let mut request = [0; 1024];
            let _ = server.read(&mut request).await;
            let _ = server.write_all(input).await;
            let _ = server.shutdown().await;
            std::future::pending::<()>().await;
        };
        let asking = async {
            let request = Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).unwrap();
            let (head, body) = sender.send_request(request).await.ok()?.into_parts();
            let body = body.collect().await.ok().map(|body| body.to_bytes().to_vec());
            Some(Seen::new(head.status.to_string(), &head.headers, body))
        };
        tokio::pin!(asking);
        tokio::select! {
            seen = &mut asking => seen,
            _ = async { tokio::join!(answering, async { let _ = connection.await; }) } => None,
        }
    })
}

/// Whether the input breaks a rule that hyper does not mind.
fn is_refused_on_purpose(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input).to_ascii_lowercase();
    let count = |field: &str| text.lines().filter(|line| line.trim_start().starts_with(field)).count();
    let bare =
        input.iter().enumerate().any(|(at, byte)| *byte == b'\n' && (at == 0 || input[at - 1] != b'\r'));
    let value = |line: &str, field: &str| {
        let (_, value) = line.strip_prefix(field)?.split_once(':')?;
        Some(value.trim().to_owned())
    };
    let coding = |line: &str| {
        line.starts_with("transfer-encoding")
            && value(line, "transfer-encoding").as_deref() != Some("chunked")
    };
    let size = |line: &str| {
        let digits = line.split(';').next().unwrap_or_default();
        !digits.is_empty() && digits.ends_with([' ', '\t']) || line.contains(';')
    };
    let number = |line: &str| value(line, "content-length").is_none_or(|value| value.parse::<u64>().is_ok());
    bare
        // Before a request it is overlooked here too, before a response not.
        || text.starts_with("\r\n")
        // A body may end between the CR and the LF of the second empty line, and the next request begin with that LF.
        || text.contains("\r\n\r\n\r\n")
        || !text.lines().all(number)
        || count("content-length") > 1
        || count("transfer-encoding") > 1
        || count("content-length") + count("transfer-encoding") > 1
        || text.lines().any(coding)
        || text.lines().any(size)
        // Trailers are read as fields are; hyper looks for no more than their end.
        || text.contains("\r\n0\r\n") && !text.contains("\r\n0\r\n\r\n")
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z][A-Za-z0-9-]{0,12}:[ \t]{0,2}[!-~]{0,20}[ \t]?".prop_filter("one that decides", |field| {
            let name = field.split(':').next().unwrap_or_default().to_ascii_lowercase();
            !["content-length", "transfer-encoding", "connection", "expect", "upgrade", "host"]
                .contains(&name.as_str())
        }),
        Just("X-Empty:".to_owned()),
        Just("X-Text: caf\u{e9} \u{1f600}".to_owned()),
        Just("Connection: keep-alive".to_owned()),
    ]
}

/// Fields that frame a body, and the body.
fn framed() -> impl Strategy<Value = (Vec<String>, String)> {
    let sized = "[ -~]{0,40}".prop_map(|body| (vec![format!("Content-Length: {}", body.len())], body));
    let chunks = vec("[ -~]{1,20}", 0..4);
    let chunked = (chunks, any::<bool>(), any::<bool>()).prop_map(|(chunks, extension, trailer)| {
        let extension = if extension { ";a=b; c=\"d e\"" } else { "" };
        let mut body: String =
            chunks.iter().map(|chunk| format!("{:x}{extension}\r\n{chunk}\r\n", chunk.len())).collect();
        body += if trailer { "0\r\nX-After: b\r\n\r\n" } else { "0\r\n\r\n" };
        (vec!["Transfer-Encoding: chunked".to_owned()], body)
    });
    prop_oneof![Just((Vec::new(), String::new())), sized, chunked]
}

fn message(start: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (start, vec(field(), 0..5), framed()).prop_map(|(start, fields, (framing, body))| {
        let fields: String = fields.into_iter().chain(framing).map(|field| field + "\r\n").collect();
        format!("{start}\r\n{fields}\r\n{body}")
    })
}

fn requests() -> impl Strategy<Value = String> {
    let method = prop_oneof![Just("GET"), Just("POST"), Just("HEAD"), Just("OPTIONS"), Just("X-OWN")];
    let target =
        prop_oneof!["/[a-z0-9%/._~-]{0,20}(\\?[a-z0-9=&]{0,10})?", Just("http://a.example/b".to_owned())];
    let start = (method, target).prop_map(|(method, target)| format!("{method} {target} HTTP/1.1"));
    vec(message(start), 1..4).prop_map(|requests| requests.concat())
}

fn responses() -> impl Strategy<Value = String> {
    let status = prop_oneof![Just("200 OK"), Just("404 Not Found"), Just("204 No Content"), Just("599 ")];
    let interim = prop_oneof![4 => Just(""), 1 => Just("HTTP/1.1 100 Continue\r\n\r\n")];
    (interim, message(status.prop_map(|status| format!("HTTP/1.1 {status}"))))
        .prop_map(|(a, b)| format!("{a}{b}"))
}

#[derive(Clone, Debug)]
enum Mutation {
    Replace(u8),
    Insert(u8),
    Remove,
    /// The line at this place stands twice.
    Repeat,
    /// These words, at the beginning of the line.
    Say(&'static str),
}

fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, Mutation)>> {
    let byte = || prop::sample::select(&b"\r\n :;,\t\0\x7f\xff05fx+-AG"[..]);
    let words = prop::sample::select(
        &[
            "Content-Length: 3\r\n",
            "Content-Length: 0\r\n",
            "Transfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Connection: close\r\n",
            "\r\n",
            "GET / HTTP/1.1\r\n",
            "0\r\n\r\n",
            " ",
        ][..],
    );
    let mutation = prop_oneof![
        byte().prop_map(Mutation::Replace),
        byte().prop_map(Mutation::Insert),
        Just(Mutation::Remove),
        Just(Mutation::Repeat),
        words.prop_map(Mutation::Say),
    ];
    vec((any::<prop::sample::Index>(), mutation), 1..4)
}

fn mutated(text: &str, mutations: &[(prop::sample::Index, Mutation)]) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (at, mutation) in mutations {
        let at = at.index(bytes.len());
        let begin = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        match mutation {
            Mutation::Replace(byte) => bytes[at] = *byte,
            Mutation::Insert(byte) => bytes.insert(at, *byte),
            Mutation::Remove if bytes.len() > 1 => {
                bytes.remove(at);
            }
            Mutation::Remove => {}
            Mutation::Repeat => {
                let end = bytes[at..]
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(bytes.len(), |end| at + end + 1);
                let line = bytes[begin..end].to_vec();
                bytes.splice(begin..begin, line);
            }
            Mutation::Say(words) => {
                bytes.splice(begin..begin, words.bytes());
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn differential_requests_by_the_rules_are_read_as_hyper_reads_them(input in requests()) {
        let ours = our_requests(input.as_bytes());
        prop_assert!(ours.iter().all(|request| request.body.is_some()));
        prop_assert_eq!(ours, hypers_requests(input.as_bytes()));
    }

    #[test]
    fn differential_mutated_requests_are_read_as_hyper_reads_them_or_refused(
        text in requests(), mutations in mutations()
    ) {
        let input = mutated(&text, &mutations);
        let (ours, hypers) = (our_requests(&input), hypers_requests(&input));
        for (at, request) in ours.iter().enumerate() {
            match hypers.get(at) {
                // One that is refused on purpose may be read further by hyper.
                Some(theirs) if request.body.is_none() && theirs.body.is_some() => {
                    prop_assert!(is_refused_on_purpose(&input), "{request:?} but {theirs:?}");
                }
                theirs => prop_assert_eq!(Some(request), theirs),
            }
        }
        prop_assert!(hypers.len() <= ours.len() || is_refused_on_purpose(&input), "{ours:?} but {hypers:?}");
    }

    #[test]
    fn differential_responses_by_the_rules_are_read_as_hyper_reads_them(input in responses()) {
        for method in [Method::GET, Method::HEAD] {
            let ours = our_response(input.as_bytes(), &method);
            prop_assert!(ours.as_ref().is_some_and(|response| response.body.is_some()));
            prop_assert_eq!(ours, hypers_response(input.as_bytes(), &method));
        }
    }

    #[test]
    fn differential_mutated_responses_are_read_as_hyper_reads_them_or_refused(
        text in responses(), mutations in mutations()
    ) {
        let input = mutated(&text, &mutations);
        match (our_response(&input, &Method::GET), hypers_response(&input, &Method::GET)) {
            (Some(ours), theirs) if ours.body.is_some() => prop_assert_eq!(Some(ours), theirs),
            (_, Some(theirs)) if theirs.body.is_some() => {
                prop_assert!(is_refused_on_purpose(&input), "{theirs:?}");
            }
            _ => {}
        }
    }
}
