//! Bodies on their way through: of a peer, or the proxy's own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

mod replay;

use super::grpc;
use super::incoming::{Incoming, PeerError};
use super::upgrade::Side;
use crate::telemetry::Exchange;

pub(super) use replay::Replay;

#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum BodyError {
    #[error(transparent)]
    Peer(#[from] PeerError),
    #[error("the time that the request may take is over")]
    Timeout,
    #[error("the request that this copies was broken off, or its body came faster than the mirror took it")]
    CopyCutOff,
    #[error("the request is sent again, by another try")]
    SentAgain,
}

/// Frames of a request's body that a mirror may lag behind.
const MAX_LAG: usize = 64;

#[derive(Debug)]
pub(in crate::proxy) struct Body {
    content: Content,
    /// What is held for as long as the body moves.
    held: Option<Box<Held>>,
}

#[derive(Debug)]
enum Content {
    Whole(Option<Bytes>),
    Peer(Incoming),
    /// A peer's, each frame of which also goes to its copies.
    Copied(Incoming, Vec<mpsc::Sender<Copied>>),
    /// With the length of the whole, where it is known.
    Copy(mpsc::Receiver<Copied>, Option<u64>),
    /// One that can be sent again, as one try reads it.
    Reading(replay::Reading),
}

#[derive(Clone, Debug)]
enum Copied {
    Data(Bytes),
    End,
}

#[derive(Debug, Default)]
pub(in crate::proxy) struct Held {
    pub(super) exchange: Option<Exchange>,
    pub(super) deadline: Option<Pin<Box<Sleep>>>,
    /// Whether it answers a call of gRPC, which is told in trailers why it broke off.
    pub(super) call: bool,
    /// Permits and counters that end with the body.
    pub(super) guards: Option<super::forward::Guards>,
}

impl Default for Body {
    fn default() -> Self {
        Self { content: Content::Whole(None), held: None }
    }
}

impl Body {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { content: Content::Whole((!bytes.is_empty()).then_some(bytes)), held: None }
    }

    pub(super) fn peer(incoming: Incoming) -> Self {
        Self { content: Content::Peer(incoming), held: None }
    }

    /// A body and copies of it.
    pub(super) fn copied(incoming: Incoming, count: usize) -> (Self, Vec<Self>) {
        if incoming.is_end_stream() {
            // Nobody will ever read it, and so nobody would tell the copies that it has ended.
            return (Self::peer(incoming), (0..count).map(|_| Self::whole("")).collect());
        }
        if count == 0 {
            return (Self::peer(incoming), Vec::new());
        }
        let length = incoming.size_hint().exact();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(MAX_LAG)).unzip();
        let copy = |receiver| Self { content: Content::Copy(receiver, length), held: None };
        (
            Self { content: Content::Copied(incoming, senders), held: None },
            receivers.into_iter().map(copy).collect(),
        )
    }

    /// Goes on with the request that a backend answers with this, while nobody takes more of it.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Content::Peer(incoming) = &mut self.content {
            incoming.poll_upload(cx);
        }
    }

    /// What is behind a 101.
    pub(super) fn switched(&mut self) -> Option<Side> {
        match &mut self.content {
            Content::Peer(incoming) => incoming.switched(),
            _ => None,
        }
    }

    pub(super) fn held(&mut self) -> &mut Held {
        self.held.get_or_insert_default()
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = self.held.as_mut().and_then(|held| held.deadline.as_mut());
        deadline.is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }

    /// How the end of what comes too late, or no further, is told to whoever reads it.
    fn broken_off(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut call = false;
        if let Some(held) = &mut self.held {
            call = held.call;
            held.deadline = None;
            if let Some(exchange) = &mut held.exchange {
                exchange.broken(&error);
            }
        }
        if !call {
            return Poll::Ready(Some(Err(error)));
        }
        self.content = Content::Whole(None);
        Poll::Ready(Some(Ok(Frame::trailers(grpc::broken_off(&error)))))
    }

    pub(super) fn until(mut self, deadline: Option<Instant>) -> Self {
        if let Some(deadline) = deadline {
            self.held().deadline = Some(Box::pin(tokio::time::sleep_until(deadline)));
        }
        self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // Asked first: of a body that never lets its reader wait nobody would ask behind it.
        if self.is_late(cx) {
            return self.broken_off(BodyError::Timeout);
        }
        let frame = match &mut self.content {
            Content::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Peer(incoming) => Pin::new(incoming).poll_frame(cx),
            Content::Copied(incoming, copies) => {
                let frame = Pin::new(&mut *incoming).poll_frame(cx);
                copy(&frame, copies);
                if incoming.is_end_stream() && matches!(frame, Poll::Ready(Some(Ok(_)))) {
                    // Whoever sends this on may know that it is all, and never ask for more.
                    copy(&Poll::Ready(None), copies);
                    copies.clear();
                }
                frame
            }
            Content::Reading(reading) => return reading.poll_frame(cx),
            Content::Copy(frames, _) => {
                return frames.poll_recv(cx).map(|copied| match copied {
                    Some(Copied::Data(bytes)) => Some(Ok(Frame::data(bytes))),
                    Some(Copied::End) => None,
                    None => Some(Err(BodyError::CopyCutOff)),
                });
            }
        };
        match frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(exchange) = self.held.as_mut().and_then(|held| held.exchange.as_mut()) {
                    exchange.body(frame.data_ref().map_or(0, Bytes::len));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.broken_off(error.into()),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Peer(incoming) => incoming.is_end_stream(),
            // Its copies must hear of the end.
            Content::Copied(..) | Content::Copy(..) => false,
            Content::Reading(reading) => reading.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Content::Peer(incoming) | Content::Copied(incoming, _) => incoming.size_hint(),
            Content::Reading(reading) => reading.size_hint(),
            Content::Copy(_, length) => length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// Gives a frame to the copies; one that does not keep up is dropped, and learns it by the missing end.
fn copy(frame: &Poll<Option<Result<Frame<Bytes>, PeerError>>>, copies: &mut Vec<mpsc::Sender<Copied>>) {
    let copied = match frame {
        Poll::Ready(Some(Ok(frame))) => frame.data_ref().cloned().map(Copied::Data),
        Poll::Ready(None) => Some(Copied::End),
        Poll::Ready(Some(Err(_))) | Poll::Pending => None,
    };
    if let Some(copied) = copied {
        copies.retain(|copy| copy.try_send(copied.clone()).is_ok());
    }
}

/// The moment when a timeout that begins now is over.
pub(super) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.filter(|timeout| !timeout.is_zero()).map(|timeout| Instant::now() + timeout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn body_copies_hear_all_of_it_though_nobody_asks_for_its_end() {
        let (mut body, copies) = Body::copied(Incoming::whole(Bytes::from_static(b"hello")), 2);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
        drop(body);
        for copy in copies {
            assert_eq!(copy.size_hint().exact(), Some(5));
            assert_eq!(copy.collect().await.unwrap().to_bytes(), "hello");
        }
        let (_, copies) = Body::copied(Incoming::Empty, 2);
        assert!(copies.iter().all(Body::is_end_stream) && copies.len() == 2);
    }

    #[tokio::test]
    async fn body_copy_that_is_cut_off_is_no_whole_one() {
        let (body, copies) = Body::copied(Incoming::whole(Bytes::from_static(b"hello")), 1);
        drop(body);
        for copy in copies {
            assert!(copy.collect().await.is_err());
        }
    }
}
