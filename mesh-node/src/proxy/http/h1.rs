//! HTTP/1.1 and 1.0 on a connection, for servers and for clients (RFC 9112): heads, the framing of bodies, and one
//! exchange after the other. What a message means (routes, hosts, fields between neighbours) is not decided here.
//!
//! It is strict where two readers could disagree about where a message ends. A message that breaks a rule is refused,
//! and its connection with it:
//! - both Content-Length and Transfer-Encoding, or either of them more than once;
//! - a Content-Length that is not digits alone, a Transfer-Encoding that is not `chunked` alone or not of HTTP/1.1;
//! - a line of a request, or of a chunked body, that does not end in CR LF;
//! - folded lines, spaces before a colon, bytes that no name or value may hold;
//! - chunk sizes with anything but hexadecimal digits before the extension.
//!
//! How a message is framed on its way out follows from the body alone; fields that would say something else are not
//! passed on.
//!
//! `head` and `decode` read, `encode` writes, all without I/O. `server` and `client` do the I/O, one task for a client's
//! connection and for all that is done for its requests.

mod client;
mod decode;
#[cfg(test)]
mod differential;
mod encode;
mod head;
mod outbox;
mod sending;
mod server;
#[cfg(test)]
mod tests;

pub(super) use client::{ResponseBody, send};
pub(super) use head::HeadLimits;
pub(super) use sending::SendError;
pub(super) use server::{End, Interim, RequestBody, serve};

use std::io;

use bytes::BytesMut;

use super::fields;

/// The head of a request as it goes on to a backend, of the bytes in which it came: what every request costs without its
/// sockets, for a benchmark to count.
pub fn relayed_head(bytes: &[u8]) -> Option<BytesMut> {
    let limits = HeadLimits { bytes: bytes.len(), fields: head::MAX_FIELDS };
    let mut head = head::request(&mut BytesMut::from(bytes), &mut 0, limits).ok()??;
    fields::strip_hop_by_hop(&mut head.parts.headers);
    let mut out = BytesMut::new();
    encode::request(&head.parts, head.length, &mut out);
    Some(out)
}

/// Why an exchange on a connection failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Head(#[from] head::HeadError),
    #[error("the body is malformed: {0}")]
    Body(&'static str),
    #[error("the connection ended before the message did")]
    CutOff,
    #[error("the body is not as long as the head says")]
    Length,
    #[error("the server sent more than {0} interim responses")]
    Interim(usize),
    #[error("the server switched protocols, which nobody asked for")]
    Unasked,
}
