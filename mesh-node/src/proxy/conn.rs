//! A connection of the proxy's, in whatever it is wrapped, with the bytes that were read ahead to see what it speaks.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

#[derive(Debug)]
pub(super) struct Conn {
    ahead: BytesMut,
    io: Io,
}

#[derive(Debug)]
enum Io {
    Tcp(TcpStream),
    Client(Box<client::TlsStream<TcpStream>>),
    Server(Box<server::TlsStream<Conn>>),
}

impl Conn {
    /// What was read ahead and not yet read.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Reads more ahead; 0 is the end of the stream. Loses nothing when it is cancelled.
    pub(super) async fn look_ahead(&mut self) -> io::Result<usize> {
        match &mut self.io {
            Io::Tcp(tcp) => tcp.read_buf(&mut self.ahead).await,
            Io::Client(tls) => tls.read_buf(&mut self.ahead).await,
            Io::Server(tls) => Box::pin(tls.read_buf(&mut self.ahead)).await,
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
            Io::Client(tls) => tls.get_ref().0,
            Io::Server(tls) => tls.get_ref().0.tcp(),
        }
    }
}

impl From<TcpStream> for Conn {
    fn from(tcp: TcpStream) -> Self {
        Self { ahead: BytesMut::new(), io: Io::Tcp(tcp) }
    }
}

impl From<client::TlsStream<TcpStream>> for Conn {
    fn from(tls: client::TlsStream<TcpStream>) -> Self {
        Self { ahead: BytesMut::new(), io: Io::Client(Box::new(tls)) }
    }
}

impl From<server::TlsStream<Conn>> for Conn {
    fn from(tls: server::TlsStream<Conn>) -> Self {
        Self { ahead: BytesMut::new(), io: Io::Server(Box::new(tls)) }
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            if self.ahead.is_empty() {
                self.ahead = BytesMut::new();
            }
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
