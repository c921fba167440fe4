//! A message on its way out: its head, then its body piece by piece, never more at once than the connection takes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{request, response};
use http_body::Body as _;

use super::Error;
use super::encode::{self, Asked, Encoder};
use super::head::{self, Length};
use super::outbox::Outbox;
use crate::proxy::http::body::{Body, BodyError};

#[derive(Debug)]
pub(super) struct Sending {
    body: Body,
    encoder: Encoder,
    outbox: Outbox,
    /// What the outbox held may still be with TLS, which takes more than its socket does.
    unflushed: bool,
    /// What the body ended with; what came before still goes out.
    failed: Option<SendError>,
    /// The head goes alone, until it is known that the body is wanted.
    holds_body: bool,
}

/// What kept a message from going out whole.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum SendError {
    #[error(transparent)]
    Connection(#[from] Error),
    /// The body that was to be sent.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl Sending {
    /// One that expects `100 Continue` keeps its body back until [`Sending::go_on`].
    pub(super) fn request(head: &request::Parts, body: Body) -> Self {
        let mut outbox = Outbox::default();
        let encoder = encode::request(head, length(&body), outbox.gathered());
        let holds_body = !encoder.is_done() && head::expects_continue(&head.headers);
        Self { body, encoder, outbox, unflushed: false, failed: None, holds_body }
    }

    pub(super) fn holds_body(&self) -> bool {
        self.holds_body
    }

    pub(super) fn go_on(&mut self) {
        self.holds_body = false;
    }

    /// Says also whether the connection can go on behind it.
    pub(super) fn response(head: &response::Parts, body: Body, asked: &Asked) -> (Self, bool) {
        let mut outbox = Outbox::default();
        let (encoder, keep_alive) = encode::response(head, length(&body), asked, outbox.gathered());
        (Self { body, encoder, outbox, unflushed: false, failed: None, holds_body: false }, keep_alive)
    }

    /// Ready when all has been given to `write`, which is ready when what the outbox held has left.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut Outbox, &mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<Result<(), SendError>> {
        loop {
            let done = self.gather(cx).unwrap_or_else(|error| {
                self.failed = Some(error);
                true
            });
            if self.outbox.is_empty() && !self.unflushed {
                return match self.failed.take() {
                    Some(error) => Poll::Ready(Err(error)),
                    None if done => Poll::Ready(Ok(())),
                    None => Poll::Pending,
                };
            }
            self.unflushed = true;
            if write(&mut self.outbox, cx).map_err(Error::from)?.is_pending() {
                // Else two that wait for each other's bytes to be taken would wait for ever.
                self.body.poll_upload(cx);
                return Poll::Pending;
            }
            self.unflushed = false;
        }
    }

    /// Takes what the body has ready, while there is room; says whether that was all.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, SendError> {
        while self.failed.is_none() && !self.encoder.is_done() {
            if self.holds_body || !self.outbox.has_room() {
                return Ok(false);
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(frame)) => self.encoder.frame(frame?, &mut self.outbox)?,
                Poll::Ready(None) => {
                    self.encoder.end(&mut self.outbox)?;
                    return Ok(true);
                }
                Poll::Pending => return Ok(false),
            }
        }
        Ok(true)
    }

    pub(super) fn into_body(self) -> Body {
        self.body
    }
}

/// How a body goes out.
fn length(body: &Body) -> Length {
    if body.is_end_stream() {
        return Length::Empty;
    }
    match body.size_hint().exact() {
        Some(0) => Length::Empty,
        Some(length) => Length::Sized(length),
        None => Length::Chunked,
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::Request;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::proxy::conn::Conn;

    #[tokio::test]
    async fn h1_message_is_sent_when_all_of_it_has_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut conn = Conn::from(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let (head, ()) = Request::post("/").body(()).unwrap().into_parts();
        let mut sending = Sending::request(&head, Body::whole("hello"));
        let cx = &mut Context::from_waker(Waker::noop());
        let mut calls = 0;
        // As TLS does: it takes everything at once, and what its socket does not take leaves later.
        let mut write = |outbox: &mut Outbox, cx: &mut Context<'_>| {
            calls += 1;
            let written = outbox.poll_write(&mut conn, cx);
            if calls < 3 { Poll::Pending } else { written }
        };
        assert!(sending.poll(cx, &mut write).is_pending());
        assert!(sending.outbox.is_empty());
        assert!(sending.poll(cx, &mut write).is_pending());
        assert!(matches!(sending.poll(cx, &mut write), Poll::Ready(Ok(()))));
        assert!(matches!(sending.poll(cx, &mut write), Poll::Ready(Ok(()))));
        assert_eq!(calls, 3);
    }
}
