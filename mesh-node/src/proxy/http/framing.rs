//! Stands between a client and hyper's HTTP/1 parser, and follows where one request ends and the next begins. hyper
//! accepts a request with both Content-Length and Transfer-Encoding by overlooking the first, as RFC 9112 §6.1
//! permits; such a request is an attempt to be understood in two ways, and here it is answered 400.
//!
//! ```text
//!          head, complete        body of known length            its last byte
//! Head ───────────────────────▶ Sized ──────────────────────────────────────▶ Head
//!   │  └──────────────────────▶ ChunkSize ⇄ ChunkData ── "0" ──▶ Trailers ──▶ Head
//!   └─ not to be followed: an upgrade, an oversized or a malformed head ─────▶ Unguarded
//! ```
//! Unguarded bytes pass as they are: hyper refuses what is malformed, and what follows an upgrade is no HTTP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A head that is longer is left to hyper, which refuses it.
const MAX_HEAD: usize = 256 * 1024;
const MAX_FIELDS: usize = 512;
/// No parser takes this for a request; hyper answers 400 and closes.
const POISON: &[u8] = b"\0\r\n\r\n";

#[derive(Debug)]
pub(super) struct Guard<T> {
    inner: T,
    held: BytesMut,
    /// How many of the held bytes hyper may have.
    released: usize,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Sized(u64),
    ChunkSize,
    ChunkData(u64),
    Trailers,
    Unguarded,
    /// The rest of the connection is not read.
    Poisoned,
}

enum Head {
    Incomplete,
    Complete(usize, State),
    TwoLengths,
    Unreadable,
}

impl<T> Guard<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, held: BytesMut::new(), released: 0, state: State::Head }
    }

    /// Releases what of the held bytes is understood.
    fn follow(&mut self) {
        loop {
            let rest = &self.held[self.released..];
            if rest.is_empty() {
                return;
            }
            let (used, next) = match self.state {
                State::Unguarded | State::Poisoned => (rest.len(), self.state),
                State::Sized(left) => consume(left, rest.len(), State::Head, State::Sized),
                State::ChunkData(left) => consume(left, rest.len(), State::ChunkSize, State::ChunkData),
                State::ChunkSize => match line(rest) {
                    None if rest.len() > MAX_HEAD => (rest.len(), State::Unguarded),
                    None => return,
                    Some(line) => match chunk_size(&rest[..line]) {
                        Some(0) => (line, State::Trailers),
                        // The line end after the data belongs to it.
                        Some(size) => (line, State::ChunkData(size.saturating_add(2))),
                        None => (rest.len(), State::Unguarded),
                    },
                },
                State::Trailers => match line(rest) {
                    None if rest.len() > MAX_HEAD => (rest.len(), State::Unguarded),
                    None => return,
                    Some(end) if rest[..end].trim_ascii().is_empty() => (end, State::Head),
                    Some(end) => (end, State::Trailers),
                },
                State::Head => match head(rest) {
                    Head::Incomplete if rest.len() > MAX_HEAD => (rest.len(), State::Unguarded),
                    Head::Incomplete => return,
                    Head::Complete(length, next) => (length, next),
                    Head::Unreadable => (rest.len(), State::Unguarded),
                    Head::TwoLengths => {
                        self.held.truncate(self.released);
                        self.held.extend_from_slice(POISON);
                        self.state = State::Poisoned;
                        continue;
                    }
                },
            };
            self.released += used;
            self.state = next;
        }
    }
}

fn consume(left: u64, available: usize, done: State, more: fn(u64) -> State) -> (usize, State) {
    let used = left.min(available as u64);
    let next = if used == left { done } else { more(left - used) };
    // It is at most `available`.
    (used as usize, next)
}

/// The length of the first line, its end included.
fn line(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n').map(|at| at + 1)
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn head(bytes: &[u8]) -> Head {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Head::Incomplete,
        Err(_) => return Head::Unreadable,
    };
    let named = |name: &str| {
        let name = name.to_owned();
        request.headers.iter().filter(move |field| field.name.eq_ignore_ascii_case(&name))
    };
    let chunked = named("transfer-encoding").next().is_some();
    let sized = named("content-length").next();
    match (chunked, sized) {
        (true, Some(_)) => Head::TwoLengths,
        _ if named("upgrade").next().is_some() || request.method == Some("CONNECT") => {
            Head::Complete(length, State::Unguarded)
        }
        (true, None) => Head::Complete(length, State::ChunkSize),
        (false, None) => Head::Complete(length, State::Head),
        (false, Some(field)) => {
            let text = std::str::from_utf8(field.value).map(str::trim);
            match text.map(str::parse) {
                Ok(Ok(0)) => Head::Complete(length, State::Head),
                Ok(Ok(size)) => Head::Complete(length, State::Sized(size)),
                _ => Head::Unreadable,
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.released > 0 {
                let count = this.released.min(buf.remaining());
                buf.put_slice(&this.held[..count]);
                this.held.advance(count);
                this.released -= count;
                if this.held.is_empty() {
                    this.held = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if this.state == State::Poisoned {
                return Poll::Ready(Ok(()));
            }
            if this.state == State::Unguarded && this.held.is_empty() {
                return Pin::new(&mut this.inner).poll_read(cx, buf);
            }
            let mut chunk = [0; 8192];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                // The stream ended amid something: hyper may have what there is of it.
                this.released = this.held.len();
                this.state = State::Poisoned;
                continue;
            }
            this.held.extend_from_slice(read.filled());
            this.follow();
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What comes through when `input` arrives in pieces of `piece` bytes.
    async fn through(input: &[u8], piece: usize) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        for piece in input.chunks(piece) {
            client.write_all(piece).await.unwrap();
        }
        drop(client);
        let mut out = Vec::new();
        Guard::new(server).read_to_end(&mut out).await.unwrap();
        out
    }

    #[tokio::test]
    async fn framing_lets_whole_requests_pass_unchanged() {
        for input in [
            &b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..],
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhelloGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
            b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n4;x=y\r\nTE: \r\n0\r\na: b\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n\x01\x02 content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            b"GARBAGE",
        ] {
            for piece in [1, 7, 4096] {
                assert_eq!(through(input, piece).await, input, "in pieces of {piece}");
            }
        }
    }

    #[tokio::test]
    async fn framing_two_lengths_are_poison_wherever_they_come() {
        let smuggling =
            b"POST / HTTP/1.1\r\ncontent-length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil";
        let first = b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc";
        for piece in [1, 4096] {
            assert_eq!(through(smuggling, piece).await, POISON);
            let both = [&first[..], &smuggling[..]].concat();
            assert_eq!(through(&both, piece).await, [&first[..], POISON].concat());
        }
    }
}
