//! The body of a message that a peer sends, in whatever version of HTTP it comes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::h1;
use super::h2::Joined;
use crate::proxy::conn::Conn;

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
    Request(h1::RequestBody),
    Response(Box<h1::ResponseBody>),
    Http2(Joined<hyper::body::Incoming>),
    /// The connection behind a 101, which speaks HTTP no more.
    Switched(Box<Conn>),
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

    /// The connection behind a 101.
    pub(super) fn switched(&mut self) -> Option<Conn> {
        match std::mem::replace(self, Self::Empty) {
            Self::Switched(conn) => Some(*conn),
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
