//! What an HTTP/2 connection writes, gathered. The library writes each frame of data by itself; here what it writes while it is
//! polled waits until it rests, and then leaves in one write, which is one record of TLS.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::buffers;
use crate::proxy::conn::Conn;

/// What is held at most. Where more comes, it leaves together with what is held, and is not copied.
const LIMIT: usize = buffers::SIZE;
/// Pieces of one write that go out together with what is held; the library makes two of a frame.
const PIECES: usize = 8;

/// A connection, shared by the library that reads and writes it and by the task that lets go what is held.
#[derive(Clone, Debug)]
pub(super) struct Gathered(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    conn: Conn,
    held: BytesMut,
    /// Something was written and the connection not flushed since.
    unflushed: bool,
    /// Something was written since whoever polls the library last looked.
    touched: bool,
    /// What the connection failed with, for the library to hear.
    failed: Option<io::Error>,
    /// Who looks what the library knows once it has been polled.
    onlooker: Option<Waker>,
}

impl Gathered {
    pub(super) fn new(conn: Conn) -> Self {
        let (held, failed, onlooker) = (BytesMut::new(), None, None);
        Self(Rc::new(RefCell::new(Inner { conn, held, unflushed: false, touched: false, failed, onlooker })))
    }

    /// Has the task woken when one of those that [`Self::run`] runs has next been polled.
    pub(super) fn look_on(&self, cx: &Context<'_>) {
        self.0.borrow_mut().onlooker = Some(cx.waker().clone());
    }

    /// Runs what writes to this connection, and lets go what it wrote each time that it rests. Others may run beside it that
    /// share the connection but never write to it.
    pub(super) async fn run<F: Future>(self, writer: F) -> F::Output {
        let mut writer = pin!(writer);
        let mut writes = false;
        poll_fn(|cx| {
            let polled = writer.as_mut().poll(cx);
            let inner = &mut *self.0.borrow_mut();
            if let Some(onlooker) = inner.onlooker.take() {
                onlooker.wake();
            }
            // The connection wakes one task when it takes more: whoever never writes must not be it.
            writes |= mem::take(&mut inner.touched);
            if writes
                && inner.failed.is_none()
                && let Poll::Ready(Err(error)) = inner.poll_flush(cx)
            {
                inner.held.clear();
                inner.failed = Some(error);
                cx.waker().wake_by_ref();
            }
            polled
        })
        .await
    }
}

impl Inner {
    fn poll_write(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.touched = true;
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        self.unflushed = true;
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        loop {
            let held = self.held.len();
            if held + length <= LIMIT {
                if held == 0 && self.held.capacity() < LIMIT {
                    self.held = buffers::lend(false);
                }
                for piece in pieces {
                    self.held.extend_from_slice(piece);
                }
                return Poll::Ready(Ok(length));
            }
            let mut all = [IoSlice::new(&[]); 1 + PIECES];
            all[0] = IoSlice::new(&self.held);
            for (slot, piece) in all[1..].iter_mut().zip(pieces) {
                *slot = IoSlice::new(piece);
            }
            let written = ready!(Pin::new(&mut self.conn).poll_write_vectored(cx, &all))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(written.min(held));
            if written > held {
                return Poll::Ready(Ok(written - held));
            }
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.conn).poll_write(cx, &self.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(written);
        }
        if self.held.capacity() > 0 {
            buffers::give_back(mem::take(&mut self.held));
        }
        ready!(Pin::new(&mut self.conn).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Gathered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().conn).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gathered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, bufs)
    }

    /// So that frames are not copied before they come here.
    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What is held leaves when the library rests, which it does behind every flush in the end.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().failed.take().map_or(Poll::Ready(Ok(())), |error| Poll::Ready(Err(error)))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = &mut *self.0.borrow_mut();
        inner.touched = true;
        ready!(inner.poll_flush(cx))?;
        Pin::new(&mut inner.conn).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;

    use super::*;

    async fn pair() -> (Gathered, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (Gathered::new(near.unwrap().into()), far.unwrap().0)
    }

    #[tokio::test]
    async fn gathered_frames_leave_when_their_writer_rests() {
        let (near, mut far) = pair().await;
        let (go_on, rest) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let mut io = near.clone();
        let writer = near.run(async move {
            for frame in ["one ", "two "] {
                io.write_all(frame.as_bytes()).await.unwrap();
                io.flush().await.unwrap();
            }
            tell.send(io.0.borrow().held.to_vec()).unwrap();
            rest.await.unwrap();
            io.write_all(b"three").await.unwrap();
            io.shutdown().await.unwrap();
        });
        let reader = async {
            let held = told.await.unwrap();
            assert_eq!(held, b"one two ");
            let mut first = [0; 8];
            far.read_exact(&mut first).await.unwrap();
            assert_eq!(&first, b"one two ");
            go_on.send(()).unwrap();
            let mut rest = String::new();
            far.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "three");
        };
        tokio::join!(writer, reader);
    }

    #[tokio::test]
    async fn gathered_pieces_of_all_sizes_arrive_in_their_order_and_no_more_is_held_than_the_limit() {
        let (near, mut far) = pair().await;
        let sizes = [1, 9, 1029, LIMIT - 1, LIMIT, LIMIT + 1, 100_000, 3, 300_000, 17];
        let mut sent = Vec::new();
        let mut io = near.clone();
        let writer = near.run(async {
            for round in 0..40 {
                for size in sizes {
                    let piece = vec![(round + size % 251) as u8; size];
                    io.write_all(&piece).await.unwrap();
                    io.flush().await.unwrap();
                    assert!(io.0.borrow().held.len() <= LIMIT);
                    sent.extend_from_slice(&piece);
                }
            }
            io.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        // One that reads late: the writer has to wait for it, and goes on when it reads.
        let reader = async {
            tokio::task::yield_now().await;
            far.read_to_end(&mut received).await.unwrap();
        };
        tokio::join!(writer, reader);
        assert!(sent == received, "{} bytes were sent and {} received", sent.len(), received.len());
    }

    #[tokio::test]
    async fn gathered_writer_waits_for_a_peer_that_does_not_read() {
        let (near, far) = pair().await;
        let mut io = near.clone();
        let mut written = 0_usize;
        let writer = near.run(async {
            loop {
                io.write_all(&[0; 1029]).await.unwrap();
                io.flush().await.unwrap();
                written += 1029;
            }
        });
        assert!(tokio::time::timeout(Duration::from_millis(300), writer).await.is_err());
        // What two sockets of the kernel hold, and not what a writer could go on to give in that time.
        assert!(written < 16 * 1024 * 1024, "{written} bytes were taken");
        drop(far);
    }

    #[tokio::test]
    async fn gathered_writer_hears_that_its_connection_broke() {
        let (near, far) = pair().await;
        socket2::SockRef::from(&far).set_linger(Some(Duration::ZERO)).unwrap();
        drop(far);
        let mut io = near.clone();
        let writer = near.run(async {
            loop {
                if let Err(error) = io.write_all(b"frame").await {
                    return error;
                }
                if let Err(error) = io.flush().await {
                    return error;
                }
                tokio::task::yield_now().await;
            }
        });
        let error = tokio::time::timeout(Duration::from_secs(5), writer).await.expect("it is told");
        assert!(
            matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe),
            "{error}"
        );
    }
}
