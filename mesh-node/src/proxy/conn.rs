//! A connection of the proxy's, in whatever it is wrapped, with the bytes that were read ahead to see what it speaks.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::buffers;
use super::tls::Tls;

/// A buffer with less room is not read into.
const MIN_READ: usize = 2048;
/// A read of so much is followed by more, as a rule.
const MUCH: usize = buffers::SIZE / 2;
/// What TLS may hold in records that the socket has not taken: one large read, so that it goes out in few writes.
const TLS_BUFFER: usize = buffers::LARGE + buffers::FRAMES;

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
    Mesh(Box<Tls>),
    /// Of a Gateway's client, or to an application that is spoken to in TLS.
    Edge(Box<TlsStream<Conn>>),
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
        let read = match io {
            // No buffer is lent to what has nothing to read, most often to wait.
            Io::Tcp(tcp) if tcp.poll_read_ready(cx)?.is_pending() => Poll::Pending,
            Io::Tcp(tcp) => poll_read_into(cx, tcp, ahead, large),
            Io::Mesh(tls) => poll_open_into(cx, tls, ahead),
            Io::Edge(tls) => poll_read_into(cx, tls, ahead, large),
        };
        if !matches!(read, Poll::Ready(Ok(1..))) {
            self.rest();
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
    pub(super) fn rest(&mut self) {
        if self.ahead.is_empty() && self.ahead.try_reclaim(buffers::SIZE) {
            buffers::give_back(mem::take(&mut self.ahead));
        }
    }

    /// Makes the ending of this connection a reset.
    pub(super) fn reset(&self) {
        // Where this fails the connection is gone already.
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(std::time::Duration::ZERO));
    }

    /// The socket by itself, and what was read ahead of it.
    pub(super) fn into_tcp(self) -> io::Result<(TcpStream, BytesMut)> {
        match self.io {
            Io::Tcp(tcp) => Ok((tcp, self.ahead)),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.io {
            Io::Tcp(tcp) => tcp,
            Io::Mesh(tls) => tls.tcp(),
            Io::Edge(tls) => tls.get_ref().0.tcp(),
        }
    }
}

fn poll_read_into(
    cx: &mut Context<'_>,
    from: &mut (impl AsyncRead + Unpin),
    ahead: &mut BytesMut,
    large: &mut bool,
) -> Poll<io::Result<usize>> {
    make_room(ahead, *large);
    let room = (ahead.capacity() - ahead.len()).min(buffers::LARGE);
    let mut into = ahead.limit(room);
    let read = pin!(from.read_buf(&mut into)).poll(cx);
    if let Poll::Ready(Ok(count @ 1..)) = read {
        *large = count == room && room >= MUCH || count > buffers::SIZE;
    }
    read
}

/// As much as has come and there is room for.
fn poll_open_into(cx: &mut Context<'_>, tls: &mut Tls, ahead: &mut BytesMut) -> Poll<io::Result<usize>> {
    while ready!(tls.poll_receive(cx))? {
        if !ahead.is_empty() {
            make_room(ahead, false);
        }
        match tls.open(cx, ahead)? {
            // It was not of data.
            0 => {}
            count => return Poll::Ready(Ok(count)),
        }
    }
    Poll::Ready(Ok(0))
}

fn make_room(ahead: &mut BytesMut, large: bool) {
    let room = ahead.capacity() - ahead.len();
    if ahead.is_empty() && (room < MIN_READ || large && room <= buffers::SIZE) {
        buffers::give_back(mem::take(ahead));
        *ahead = buffers::lend(large);
    } else if room < MIN_READ {
        ahead.reserve(buffers::SIZE);
    }
}

impl From<TcpStream> for Conn {
    fn from(tcp: TcpStream) -> Self {
        Self::new(Io::Tcp(tcp))
    }
}

impl From<Tls> for Conn {
    fn from(tls: Tls) -> Self {
        Self::new(Io::Mesh(Box::new(tls)))
    }
}

/// At an end of the mesh: with a Gateway's client, or an application.
impl From<TlsStream<Conn>> for Conn {
    fn from(mut tls: TlsStream<Conn>) -> Self {
        match &mut tls {
            TlsStream::Client(tls) => tls.get_mut().1.set_buffer_limit(Some(TLS_BUFFER)),
            TlsStream::Server(tls) => tls.get_mut().1.set_buffer_limit(Some(TLS_BUFFER)),
        }
        Self::new(Io::Edge(Box::new(tls)))
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // rustls asks for 4 KiB at a time; it is given that from what one larger read takes.
        let through_ahead = buf.remaining() < buffers::SIZE || matches!(self.io, Io::Mesh(_));
        if self.ahead.is_empty() && through_ahead {
            ready!(self.poll_ahead(cx))?;
        }
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            self.rest();
            return Poll::Ready(Ok(()));
        }
        match &mut self.io {
            Io::Tcp(tcp) if !through_ahead => Pin::new(tcp).poll_read(cx, buf),
            Io::Edge(tls) if !through_ahead => Pin::new(tls).poll_read(cx, buf),
            // The end of the stream.
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Io::Mesh(tls) => tls.poll_write(cx, [buf].into_iter()),
            Io::Edge(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            Io::Mesh(tls) => tls.poll_write(cx, bufs.iter().map(|buf| &**buf)),
            Io::Edge(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Tcp(tcp) => tcp.is_write_vectored(),
            Io::Mesh(_) => true,
            Io::Edge(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Io::Mesh(tls) => tls.poll_flush(cx),
            Io::Edge(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Io::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Io::Mesh(tls) => tls.poll_shutdown(cx),
            Io::Edge(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
