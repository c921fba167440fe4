//! What a client speaks, from its first bytes: HTTP/1, HTTP/2, the mesh's own TLS, or something else.

use std::io;
use std::time::Duration;

use rustls::server::{Acceptor, ClientHello};
use tokio::time::timeout;

use super::conn::Conn;
use crate::identity::ALPN;

/// A ClientHello larger than this is not one of ours.
const MAX_HELLO: usize = 16 * 1024;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"TRACE ", b"PATCH ", b"CONNECT "];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http1,
    Http2,
    Other,
    /// Nothing, or too little to tell, within the time or before the stream ended. Where HTTP is not declared, a server
    /// that speaks first may be behind it.
    Undecided,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen<T> {
    Certain(T),
    NeedsMore,
}

/// What an application's client speaks.
pub(super) async fn protocol(conn: &mut Conn, limit: Duration) -> io::Result<Spoken> {
    Ok(look(conn, limit, http).await?.unwrap_or(Spoken::Undecided))
}

/// Whether a peer begins the mesh's TLS.
pub(super) async fn mesh_tls(conn: &mut Conn, limit: Duration) -> io::Result<bool> {
    let is_ours =
        |hello: &ClientHello<'_>| hello.alpn().is_some_and(|mut names| names.any(|name| name == ALPN));
    Ok(look(conn, limit, |bytes| client_hello(bytes, is_ours)).await?.flatten().unwrap_or(false))
}

/// The server, in lower case, that a TLS client asks for; `None` where the client does not begin TLS in time.
pub(super) async fn server_name(conn: &mut Conn, limit: Duration) -> io::Result<Option<Option<String>>> {
    let name = |hello: &ClientHello<'_>| hello.server_name().map(str::to_ascii_lowercase);
    Ok(look(conn, limit, |bytes| client_hello(bytes, name)).await?.flatten())
}

/// Reads ahead until `judge` is certain; `None` when the time is over or the stream ends before.
async fn look<T>(
    conn: &mut Conn,
    limit: Duration,
    judge: impl Fn(&[u8]) -> Seen<T>,
) -> io::Result<Option<T>> {
    let looking = async {
        loop {
            if let Seen::Certain(answer) = judge(conn.ahead()) {
                return Ok(Some(answer));
            }
            if conn.look_ahead().await? == 0 {
                return Ok(None);
            }
        }
    };
    timeout(limit, looking).await.unwrap_or(Ok(None))
}

fn http(bytes: &[u8]) -> Seen<Spoken> {
    let begins = |whole: &[u8]| bytes.starts_with(whole);
    let may_become = |whole: &[u8]| whole.starts_with(bytes);
    if begins(PREFACE) {
        Seen::Certain(Spoken::Http2)
    } else if METHODS.iter().any(|method| begins(method)) {
        Seen::Certain(Spoken::Http1)
    } else if may_become(PREFACE) || METHODS.iter().any(|method| may_become(method)) {
        Seen::NeedsMore
    } else {
        Seen::Certain(Spoken::Other)
    }
}

/// What `read` finds in the ClientHello that the bytes begin with; `None` where they do not.
fn client_hello<T>(bytes: &[u8], read: impl Fn(&ClientHello<'_>) -> T) -> Seen<Option<T>> {
    const HANDSHAKE: u8 = 22;
    match bytes.first() {
        None => return Seen::NeedsMore,
        Some(&HANDSHAKE) if bytes.len() <= MAX_HELLO => {}
        Some(_) => return Seen::Certain(None),
    }
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Seen::Certain(None);
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Seen::Certain(Some(read(&accepted.client_hello()))),
            Ok(None) => {}
            Err(_) => return Seen::Certain(None),
        }
    }
    Seen::NeedsMore
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detect_is_certain_as_early_as_it_can_be() {
        let check = |bytes: &[u8], expected| assert_eq!(http(bytes), expected, "{bytes:?}");
        check(b"", Seen::NeedsMore);
        check(b"G", Seen::NeedsMore);
        check(b"P", Seen::NeedsMore);
        check(b"PR", Seen::NeedsMore);
        check(b"GET /", Seen::Certain(Spoken::Http1));
        check(b"get /", Seen::Certain(Spoken::Other));
        check(b"GETS", Seen::Certain(Spoken::Other));
        check(b"\x16\x03\x01", Seen::Certain(Spoken::Other));
        check(PREFACE, Seen::Certain(Spoken::Http2));
        let hello = |bytes: &[u8]| client_hello(bytes, |_| ());
        assert_eq!(hello(b"GET / HTTP/1.1"), Seen::Certain(None));
        assert_eq!(hello(b"\x16\x03"), Seen::NeedsMore);
        assert_eq!(hello(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00"), Seen::Certain(None));
    }
}
