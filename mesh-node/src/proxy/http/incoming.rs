//! The body of a message that a peer sends, in whatever version of HTTP it comes.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::h1;
use super::h2::Joined;
use super::upgrade::Side;

/// Why a peer's message could not be read or sent.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum PeerError {
    #[error(transparent)]
    Http1(#[from] h1::Error),
    #[error(transparent)]
    Http2(#[from] hyper::Error),
}

#[derive(Debug)]
pub(in crate::proxy) enum Incoming {
    Empty,
    /// All of it came with the head.
    Whole(Bytes),
    /// All of it has been read, for somebody who had to know it first.
    Kept(Box<Kept>),
    Request(h1::RequestBody),
    Response(Box<h1::ResponseBody>),
    Http2(Joined<hyper::body::Incoming>),
    /// What is behind a 101, which speaks HTTP no more.
    Switched(Box<Side>),
}

/// A body that is held while it is not sent.
#[derive(Debug)]
pub(in crate::proxy) struct Kept {
    data: Bytes,
    trailers: Option<HeaderMap>,
    _held: Held,
}

impl Kept {
    pub(super) fn new(data: Bytes, trailers: Option<HeaderMap>, held: Held) -> Self {
        Self { data, trailers, _held: held }
    }

    pub(super) fn data(&self) -> &Bytes {
        &self.data
    }

    /// Trailers keep their place only in a body whose length nobody tells.
    fn left(&self) -> Option<u64> {
        self.trailers.is_none().then_some(self.data.len() as u64)
    }

    fn frame(&mut self) -> Option<Frame<Bytes>> {
        match std::mem::take(&mut self.data) {
            data if data.is_empty() => self.trailers.take().map(Frame::trailers),
            data => Some(Frame::data(data)),
        }
    }
}

/// The bytes of bodies that one worker holds.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct HeldBodies(Rc<Cell<usize>>);

impl HeldBodies {
    pub(super) fn none(&self) -> Held {
        Held { of_all: self.clone(), bytes: 0 }
    }
}

/// A part of them, until it is dropped.
#[derive(Debug)]
pub(in crate::proxy) struct Held {
    of_all: HeldBodies,
    bytes: usize,
}

impl Held {
    /// Holds so many bytes more, if all together may be so many.
    pub(super) fn take(&mut self, bytes: usize, most: usize) -> bool {
        let all = self.of_all.0.get().saturating_add(bytes);
        if all > most {
            return false;
        }
        self.of_all.0.set(all);
        self.bytes += bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of_all.0.set(self.of_all.0.get() - self.bytes);
    }
}

impl Incoming {
    pub(super) fn whole(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Whole(bytes) }
    }

    pub(super) fn http2(body: hyper::body::Incoming) -> Self {
        Self::Http2(Joined::new(body))
    }

    /// Goes on with what belongs to the message that this one answers, while nobody reads this.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Self::Response(response) = self {
            response.poll_upload(cx);
        }
    }

    /// What is behind a 101.
    pub(super) fn switched(&mut self) -> Option<Side> {
        match std::mem::replace(self, Self::Empty) {
            Self::Switched(side) => Some(*side),
            other => {
                *self = other;
                None
            }
        }
    }

    fn left(&self) -> Option<u64> {
        match self {
            Self::Empty | Self::Switched(_) => Some(0),
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Kept(kept) => kept.left(),
            Self::Request(body) => body.left(),
            Self::Response(body) => body.left(),
            Self::Http2(body) => body.size_hint().exact(),
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = PeerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, PeerError>>> {
        match &mut *self {
            Self::Empty | Self::Switched(_) => Poll::Ready(None),
            Self::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Kept(kept) => Poll::Ready(kept.frame().map(Ok)),
            Self::Request(body) => body.poll_frame(cx).map_err(PeerError::from),
            Self::Response(body) => body.poll_frame(cx).map_err(PeerError::from),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(PeerError::from),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http2(body) => body.is_end_stream(),
            other => other.left() == Some(0),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http2(body) => body.size_hint(),
            other => other.left().map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn incoming_that_was_kept_comes_as_it_came() {
        let bodies = HeldBodies::default();
        let kept = |data: &'static [u8], trailers: Option<HeaderMap>| {
            let mut held = bodies.none();
            assert!(held.take(data.len(), 10));
            Incoming::Kept(Box::new(Kept::new(Bytes::from_static(data), trailers, held)))
        };
        let body = kept(b"hello", None);
        assert_eq!((body.size_hint().exact(), bodies.0.get()), (Some(5), 5));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
        let trailers = HeaderMap::from_iter([(http::header::DATE, http::HeaderValue::from_static("now"))]);
        let body = kept(b"hello", Some(trailers.clone()));
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (None, false));
        let collected = body.collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "hello");
        assert!(kept(b"", None).is_end_stream());
        let mut held = bodies.none();
        assert!(!held.take(11, 10) && held.take(10, 10));
        drop(held);
        assert_eq!(bodies.0.get(), 0);
    }
}
