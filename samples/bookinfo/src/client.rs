//! The HTTP client that services and tools share, and what its failures are called.

use std::error::Error;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};

pub(crate) type Client = legacy::Client<HttpConnector, Full<Bytes>>;

/// Shorter than the time after which a server here gives an idle connection up, so that the client leaves first.
const IDLE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// HTTP/2 without TLS, by prior knowledge.
    Http2,
}

/// A client that keeps its connections, at most `idle_connections` idle ones to each host.
pub(crate) fn client(protocol: Protocol, connect_timeout: Duration, idle_connections: usize) -> Client {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(connect_timeout));
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(idle_connections)
        .http2_only(protocol == Protocol::Http2)
        .build(connector)
}

/// One word for the kind of a failure, to count by.
pub(crate) fn kind(error: &(dyn Error + 'static)) -> &'static str {
    let io_kind = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    match io_kind {
        Some(io::ErrorKind::ConnectionRefused) => "refused",
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => "reset",
        Some(io::ErrorKind::TimedOut) => "timeout",
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => "unreachable",
        _ => match causes(error).find_map(|cause| cause.downcast_ref::<hyper::Error>()) {
            Some(cause) if cause.is_incomplete_message() || cause.is_closed() || cause.is_canceled() => {
                "closed"
            }
            // Not HTTP, HTTP at the wrong time, or a stream that HTTP/2 ended.
            Some(_) => "protocol",
            None => "connect",
        },
    }
}

/// The failure with all its causes in one line.
pub(crate) fn describe(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    for cause in causes(error) {
        let text = cause.to_string();
        // Some errors repeat their source in their own words; say each thing once.
        if !line.contains(&text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
    }
    line
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&cause| cause.source())
}
