//! A connection of the proxy's, in whatever it is wrapped, with the bytes that were read ahead to see what it speaks.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

use super::buffers;

/// A buffer with less room is not read into.
const MIN_READ: usize = 2048;
/// A read of so much is followed by more, as a rule.
const MUCH: usize = buffers::SIZE / 2;
/// What TLS may hold in records that the socket has not taken: more than one large read, so that it goes out in few
/// writes.
const TLS_BUFFER: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Conn {
    ahead: BytesMut,
    io: Io,
    /// The last read took all that there was room for, and that was much.
    large: bool,
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Client(Box<client::TlsStream<Conn>>),
    Server(Box<server::TlsStream<Conn>>),
}

impl Conn {
    fn new(io: Io) -> Self {
        Self { ahead: BytesMut::new(), io, large: false }
    }

    /// What was read ahead and not yet read.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    pub(super) fn ahead_mut(&mut self) -> &mut BytesMut {
        &mut self.ahead
    }

    /// Reads more ahead; 0 is the end of the stream. Loses nothing when it is cancelled.
    pub(super) async fn look_ahead(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_ahead(cx)).await
    }

    /// Reads more ahead; 0 is the end of the stream.
    pub(super) fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { ahead, io, large } = self;
        // No buffer is lent to what has nothing to read, most often to wait.
        if let Io::Tcp(tcp) = io
            && tcp.poll_read_ready(cx)?.is_pending()
        {
            self.rest();
            return Poll::Pending;
        }
        let room = ahead.capacity() - ahead.len();
        if ahead.is_empty() && (room < MIN_READ || *large && room <= buffers::SIZE) {
            buffers::give_back(mem::take(ahead));
            *ahead = buffers::lend(*large);
        } else if room < MIN_READ {
            ahead.reserve(buffers::SIZE);
        }
        let room = ahead.capacity() - ahead.len();
        let read = match io {
            Io::Tcp(tcp) => pin!(tcp.read_buf(ahead)).poll(cx),
            Io::Client(tls) => pin!(tls.read_buf(ahead)).poll(cx),
            Io::Server(tls) => pin!(tls.read_buf(ahead)).poll(cx),
        };
        match read {
            Poll::Ready(Ok(count @ 1..)) => *large = count == room && room >= MUCH || count > buffers::SIZE,
            _ => self.rest(),
        }
        read
    }

    /// The socket, where nothing wraps it and nothing was read ahead of it.
    pub(super) fn plain(&self) -> Option<&TcpStream> {
        match &self.io {
            Io::Tcp(tcp) if self.ahead.is_empty() => Some(tcp),
            _ => None,
        }
    }

    /// Whether nothing has come on a connection where nothing should: neither bytes nor the end of the stream.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.ahead.is_empty() && self.poll_ahead(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// Gives the buffer back where it holds nothing. One that a message refers to still is kept for what comes next.
    fn rest(&mut self) {
        if self.ahead.is_empty() && self.ahead.try_reclaim(buffers::SIZE) {
            buffers::give_back(mem::take(&mut self.ahead));
        }
    }

    /// Makes the ending of this connection a reset.
    pub(super) fn reset(&self) {
        // Where this fails the connection is gone already.
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(std::time::Duration::ZERO));
    }

    fn tcp(&self) -> &TcpStream {
        match &self.io {
            Io::Tcp(tcp) => tcp,
            Io::Client(tls) => tls.get_ref().0.tcp(),
            Io::Server(tls) => tls.get_ref().0.tcp(),
        }
    }
}

impl From<TcpStream> for Conn {
    fn from(tcp: TcpStream) -> Self {
        Self::new(Io::Tcp(tcp))
    }
}

impl From<client::TlsStream<Conn>> for Conn {
    fn from(mut tls: client::TlsStream<Conn>) -> Self {
        tls.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
        Self::new(Io::Client(Box::new(tls)))
    }
}

impl From<server::TlsStream<Conn>> for Conn {
    fn from(mut tls: server::TlsStream<Conn>) -> Self {
        tls.get_mut().1.set_buffer_limit(Some(TLS_BUFFER));
        Self::new(Io::Server(Box::new(tls)))
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // TLS asks for 4 KiB at a time; it is given that from what one larger read takes.
        if self.ahead.is_empty() && buf.remaining() < buffers::SIZE {
            ready!(self.poll_ahead(cx))?;
        }
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            self.rest();
            return Poll::Ready(Ok(()));
        }
        if buf.remaining() < buffers::SIZE {
            // The end of the stream.
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Io::Client(tls) => Pin::new(tls).poll_read(cx, buf),
            Io::Server(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Io::Client(tls) => Pin::new(tls).poll_write(cx, buf),
            Io::Server(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Io::Client(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
            Io::Server(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Tcp(tcp) => tcp.is_write_vectored(),
            Io::Client(tls) => tls.is_write_vectored(),
            Io::Server(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Io::Client(tls) => Pin::new(tls).poll_flush(cx),
            Io::Server(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Io::Client(tls) => Pin::new(tls).poll_shutdown(cx),
            Io::Server(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
