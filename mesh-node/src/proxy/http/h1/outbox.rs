//! What waits to be written to a connection: heads and small pieces together, then one large piece that is not copied,
//! all in one write where the kernel takes it.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::proxy::buffers;
use crate::proxy::conn::Conn;

/// A piece of at most so many bytes is copied behind the head: cheaper than a slice more to write.
const COPIED: usize = 2048;
/// Beyond this, more waits until what there is has gone.
const FULL: usize = 12 * 1024;

#[derive(Debug, Default)]
pub(super) struct Outbox {
    gathered: BytesMut,
    piece: Bytes,
    /// What belongs behind the piece.
    tail: &'static [u8],
}

impl Outbox {
    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.piece.is_empty() && self.tail.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.piece.is_empty() && self.tail.is_empty() && self.gathered.len() < FULL
    }

    /// For heads and other small things. Only while there is room.
    pub(super) fn gathered(&mut self) -> &mut BytesMut {
        if self.gathered.capacity() == 0 {
            self.gathered = buffers::lend(false);
        }
        &mut self.gathered
    }

    /// Only while there is room.
    pub(super) fn push(&mut self, piece: Bytes, tail: &'static [u8]) {
        if piece.len() <= COPIED {
            let gathered = self.gathered();
            gathered.extend_from_slice(&piece);
            gathered.extend_from_slice(tail);
        } else {
            self.piece = piece;
            self.tail = tail;
        }
    }

    /// Ready when all has gone.
    pub(super) fn poll_write(&mut self, conn: &mut Conn, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let slices = [IoSlice::new(&self.gathered), IoSlice::new(&self.piece), IoSlice::new(self.tail)];
            let conn = Pin::new(&mut *conn);
            let written = if self.piece.is_empty() && self.tail.is_empty() {
                ready!(conn.poll_write(cx, &self.gathered))?
            } else {
                ready!(conn.poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        if self.gathered.capacity() > 0 {
            buffers::give_back(mem::take(&mut self.gathered));
        }
        Pin::new(conn).poll_flush(cx)
    }

    fn advance(&mut self, written: usize) {
        let gathered = written.min(self.gathered.len());
        self.gathered.advance(gathered);
        let piece = (written - gathered).min(self.piece.len());
        self.piece.advance(piece);
        self.tail = &self.tail[written - gathered - piece..];
    }
}
