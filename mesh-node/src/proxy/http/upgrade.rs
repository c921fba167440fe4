//! Other protocols within HTTP, WebSocket above all: a client asks for one by HTTP/1.1's Upgrade or by HTTP/2's extended CONNECT
//! (RFC 8441), and its backend is asked by the one or the other, as its port is declared; when the backend agrees, the two become one
//! stream. Between them a request has the form of Upgrade, and consent that of a 101.

use std::io;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Version, request};
use hyper::ext::Protocol;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};

use super::body::Body;
use super::fields;
use crate::proxy::conn::Conn;
use crate::proxy::tcp;

mod connect;

pub(super) use connect::Connect;

/// Of a stream's direction.
const BUFFER: usize = 16 * 1024;

/// Protocols that replace what the proxy reads by what it would not: HTTP/2 in clear, by which requests would pass that no route
/// has seen, and TLS.
const NEVER: [&str; 2] = ["h2c", "tls/"];

/// The protocol that a client would rather speak.
pub(super) fn requested(head: &request::Parts) -> Option<HeaderValue> {
    if head.version != Version::HTTP_11 {
        return None;
    }
    let protocol = head.headers.get(UPGRADE)?;
    let never = |name: &str| NEVER.iter().any(|never| starts_with(name, never));
    if fields::items(&head.headers, &UPGRADE).any(never) {
        return None;
    }
    let mut options = fields::items(&head.headers, &CONNECTION);
    options.any(|option| option.eq_ignore_ascii_case("upgrade")).then(|| protocol.clone())
}

/// Says the wish to the backend.
pub(super) fn say(protocol: &HeaderValue, headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol.clone());
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
}

/// A stream of HTTP/2 that is to carry another protocol.
#[derive(Debug)]
pub(super) struct Tunnel {
    pub(super) protocol: HeaderValue,
    stream: OnUpgrade,
}

impl Tunnel {
    /// Of an extended CONNECT, which becomes the request that a client of HTTP/1.1 would have made: routes see no difference.
    pub(super) fn of<B>(request: &mut Request<B>) -> Option<Self> {
        if request.method() != Method::CONNECT {
            return None;
        }
        let protocol = request.extensions_mut().remove::<Protocol>()?;
        let protocol = HeaderValue::try_from(protocol.as_str()).ok()?;
        let stream = hyper::upgrade::on(&mut *request);
        *request.method_mut() = Method::GET;
        if is_websocket(protocol.as_bytes()) {
            // HTTP/2 has none, since it needs no proof that the server has understood (RFC 8441 §5).
            request.headers_mut().entry(SEC_WEBSOCKET_KEY).or_insert_with(key);
        }
        Some(Self { protocol, stream })
    }

    /// Joins the stream to what is behind a backend's 101, and says so as HTTP/2 does. Another answer goes on as it
    /// is, but for one that would mean consent here.
    pub(super) fn answer(self, mut response: Response<Body>) -> Response<Body> {
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            if response.status().is_success() {
                *response.status_mut() = StatusCode::BAD_GATEWAY;
            }
            return response;
        }
        let (mut head, mut body) = response.into_parts();
        let backend = body.switched();
        let stream = self.stream;
        tokio::task::spawn_local(async move {
            // What is counted for the request goes on as long as the stream does.
            let _held = body;
            let Some(backend) = backend else { return };
            let joined = match stream.await {
                Ok(client) => join(Side::Stream(TokioIo::new(client)), backend).await,
                Err(gone) => {
                    backend.reset();
                    Err(io::Error::other(gone))
                }
            };
            if let Err(error) = joined {
                tracing::debug!(%error, "the stream of an upgraded request ended with an error");
            }
        });
        head.status = StatusCode::OK;
        for name in [CONNECTION, UPGRADE, CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT] {
            head.headers.remove(name);
        }
        Response::from_parts(head, Body::whole(""))
    }
}

/// One of the two that become one stream.
#[derive(Debug)]
pub(in crate::proxy) enum Side {
    /// A connection that speaks HTTP no more.
    Connection(Conn),
    /// A stream of HTTP/2. Of one that is let go our half ends as if that were all; it is reset where the other has not ended.
    Stream(TokioIo<Upgraded>),
}

impl Side {
    fn reset(&self) {
        if let Self::Connection(conn) = self {
            conn.reset();
        }
    }
}

/// Carries what each side says to the other, until both have ended or one has broken.
pub(super) async fn join(client: Side, backend: Side) -> io::Result<()> {
    match (client, backend) {
        (Side::Connection(client), Side::Connection(backend)) => {
            tcp::copy(client, backend).await?;
            Ok(())
        }
        (Side::Connection(mut conn), Side::Stream(mut stream))
        | (Side::Stream(mut stream), Side::Connection(mut conn)) => {
            copy(&mut conn, &mut stream).await.inspect_err(|_| conn.reset())
        }
        (Side::Stream(mut client), Side::Stream(mut backend)) => copy(&mut client, &mut backend).await,
    }
}

async fn copy(
    one: &mut (impl AsyncRead + AsyncWrite + Unpin),
    other: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<()> {
    copy_bidirectional_with_sizes(one, other, BUFFER, BUFFER).await.map(drop)
}

fn is_websocket(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(b"websocket")
}

/// Sixteen bytes by chance, in Base64 (RFC 6455 §4.1).
fn key() -> HeaderValue {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = [b'='; 24];
    for digit in &mut text[..21] {
        *digit = DIGITS[fastrand::usize(..DIGITS.len())];
    }
    // Of the last byte two bits are left.
    text[21] = DIGITS[16 * fastrand::usize(..4)];
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("AAAAAAAAAAAAAAAAAAAAAA=="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrade_is_asked_for_by_both_fields_and_never_to_what_would_hide_requests() {
        let check = |connection: &'static str, upgrade: &'static str, asked: bool| {
            let request = Request::get("/").header(CONNECTION, connection).header(UPGRADE, upgrade);
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(requested(&head).is_some(), asked, "{connection} {upgrade}");
        };
        check("keep-alive, Upgrade", "websocket", true);
        check("keep-alive", "websocket", false);
        check("Upgrade, HTTP2-Settings", "h2c", false);
        check("upgrade", "websocket, H2C", false);
        check("upgrade", "TLS/1.2", false);
    }

    #[test]
    fn upgrade_keys_are_sixteen_bytes() {
        let key = key();
        let text = key.to_str().unwrap();
        assert!(text.len() == 24 && text.ends_with("==") && "AQgw".contains(&text[21..22]), "{text}");
    }
}
