//! Bytes of two joined connections, both ways. A flow of little is copied through a lent buffer; one of much between
//! two plain sockets is left to the kernel. While nothing flows, neither buffer nor pipe is held.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::{AsyncWrite, Interest};

use super::pipe::Pipe;
use crate::proxy::conn::Conn;

/// What a direction moves without a pause before the kernel is asked to move it.
const MUCH: usize = 128 * 1024;
/// What it must have moved before a pause, so that the kernel moves what comes after it too: to copy less is cheaper than to have
/// it spliced.
const ENOUGH: usize = 32 * 1024;

/// One direction.
///
/// ```text
/// Moving ── the sender's end ──▶ Closing ── the receiver knows it ──▶ Closed
/// ```
#[derive(Debug, Default)]
struct Flow {
    state: State,
    moved: u64,
    /// Bytes since there was last nothing to move.
    without_pause: usize,
    /// The kernel moves what comes.
    spliced: bool,
    /// Held while there is something to move, or something in it.
    pipe: Option<Pipe>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Moving,
    Closing,
    Closed,
}

/// Moves bytes both ways until both sides have closed; a half-closed side stays half-closed. Gives the bytes that went
/// from `a` to `b`, and back.
pub(super) async fn join(a: &mut Conn, b: &mut Conn) -> io::Result<(u64, u64)> {
    let (mut there, mut back) = (Flow::default(), Flow::default());
    poll_fn(|cx| {
        let one = there.poll(cx, a, b)?;
        let other = back.poll(cx, b, a)?;
        if one.is_ready() && other.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
    .map(|()| (there.moved, back.moved))
}

impl Flow {
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Conn, to: &mut Conn) -> Poll<io::Result<()>> {
        loop {
            match self.state {
                State::Closed => return Poll::Ready(Ok(())),
                State::Closing => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.state = State::Closed;
                }
                State::Moving => {
                    let more = match self.spliced {
                        true => ready!(self.poll_splice(cx, from, to)),
                        false => ready!(self.poll_copy(cx, from, to)),
                    };
                    if !more? {
                        self.state = State::Closing;
                    }
                }
            }
        }
    }

    /// Whether the sender has not ended. Ready also when the other way of moving is due.
    fn poll_copy(&mut self, cx: &mut Context<'_>, from: &mut Conn, to: &mut Conn) -> Poll<io::Result<bool>> {
        while !from.ahead().is_empty() {
            let count = ready!(Pin::new(&mut *to).poll_write(cx, from.ahead()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            from.ahead_mut().advance(count);
            self.moved += count as u64;
            self.without_pause += count;
        }
        if self.without_pause >= MUCH && from.plain().is_some() && to.plain().is_some() {
            self.pipe = Pipe::lend();
            self.spliced = self.pipe.is_some();
            if self.spliced {
                return Poll::Ready(Ok(true));
            }
            self.without_pause = 0;
        }
        // Of what the receiver does not take, no more is held than TLS has taken already.
        if Pin::new(to).poll_flush(cx)?.is_pending() {
            from.rest();
            return Poll::Pending;
        }
        let read = from.poll_ahead(cx);
        if read.is_pending() {
            self.without_pause = 0;
        }
        read.map_ok(|count| count > 0)
    }

    /// As `poll_copy`.
    fn poll_splice(&mut self, cx: &mut Context<'_>, from: &Conn, to: &Conn) -> Poll<io::Result<bool>> {
        let (Some(from), Some(to)) = (from.plain(), to.plain()) else {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        };
        loop {
            let done = if let Some(pipe) = self.pipe.as_mut().filter(|pipe| !pipe.is_empty()) {
                ready!(to.poll_write_ready(cx))?;
                to.try_io(Interest::WRITABLE, || pipe.drain(to)).map(|count| {
                    self.moved += count as u64;
                    self.without_pause += count;
                    true
                })
            } else {
                if from.poll_read_ready(cx)?.is_pending() {
                    self.pipe = None;
                    self.spliced = self.without_pause >= ENOUGH;
                    self.without_pause = 0;
                    return Poll::Pending;
                }
                let Some(pipe) = self.pipe.take().or_else(Pipe::lend) else {
                    self.spliced = false;
                    return Poll::Ready(Ok(true));
                };
                let pipe = self.pipe.insert(pipe);
                from.try_io(Interest::READABLE, || pipe.fill(from)).map(|count| count > 0)
            };
            match done {
                Ok(true) => {}
                Ok(false) => {
                    self.pipe = None;
                    return Poll::Ready(Ok(false));
                }
                // Not ready after all, as is known now.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}
