//! A body of many small frames, as a stream of small messages is, with those that have come already joined: each frame that is
//! passed on costs the library here, and both of its ends at every hop behind, what a large one does.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

/// The most that is joined: the largest frame that every peer takes (RFC 9113, SETTINGS_MAX_FRAME_SIZE).
const MOST: usize = 16 * 1024;

#[derive(Debug)]
pub(in crate::proxy::http) struct Joined<B, E = hyper::Error> {
    body: B,
    /// What came behind the data that was joined and does not belong to it: the end, too.
    next: Option<Box<Next<E>>>,
}

type Next<E> = Option<Result<Frame<Bytes>, E>>;

impl<B: Body<Data = Bytes> + Unpin> Joined<B, B::Error> {
    pub(in crate::proxy::http) fn new(body: B) -> Self {
        Self { body, next: None }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next<B::Error>> {
        match self.next.take() {
            Some(next) => Poll::Ready(*next),
            None => Pin::new(&mut self.body).poll_frame(cx),
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Joined<B, B::Error> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Next<B::Error>> {
        let first = match ready!(self.poll_next(cx)) {
            Some(Ok(frame)) if frame.is_data() => frame,
            other => return Poll::Ready(other),
        };
        let mut joined = BytesMut::new();
        let mut length = first.data_ref().map_or(0, Bytes::len);
        while length < MOST
            && let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx)
        {
            let data = match &frame {
                Some(Ok(frame)) => frame.data_ref().filter(|data| length + data.len() <= MOST),
                _ => None,
            };
            let Some(data) = data else {
                self.next = Some(Box::new(frame));
                break;
            };
            length += data.len();
            if joined.is_empty() {
                // Where two have come, more often follow.
                joined.reserve(MOST.min(4 * length));
                joined.extend_from_slice(first.data_ref().map_or(&[], |first| first));
            }
            joined.extend_from_slice(data);
        }
        let frame = if joined.is_empty() { first } else { Frame::data(joined.freeze()) };
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.next.as_ref().map_or_else(|| self.body.is_end_stream(), |next| next.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.body.size_hint();
        let kept = match self.next.as_deref() {
            Some(Some(Ok(frame))) => frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => 0,
        };
        let mut hint = SizeHint::new();
        hint.set_lower(left.lower() + kept);
        if let Some(upper) = left.upper() {
            hint.set_upper(upper + kept);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt, stream};
    use http::HeaderMap;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    fn data(length: usize) -> Result<Frame<Bytes>, &'static str> {
        Ok(Frame::data(Bytes::from(vec![7; length])))
    }

    /// The lengths of the frames of data that these become, and whether trailers and an error came behind them.
    async fn joined(
        frames: impl futures_util::Stream<Item = Result<Frame<Bytes>, &'static str>> + Unpin,
    ) -> (Vec<usize>, bool, bool) {
        let mut body = Joined::new(StreamBody::new(frames));
        let (mut lengths, mut trailers, mut failed) = (Vec::new(), false, false);
        while let Some(frame) = body.frame().await {
            assert!(!trailers && !failed, "nothing comes behind the end");
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => lengths.push(data.len()),
                Ok(Err(_)) => trailers = true,
                Err(_) => failed = true,
            }
        }
        (lengths, trailers, failed)
    }

    #[tokio::test]
    async fn joined_frames_are_those_that_have_come() {
        let trailers = Ok(Frame::trailers(HeaderMap::new()));
        let frames = [data(1000), data(1), data(0), trailers];
        assert_eq!(joined(stream::iter(frames)).await, (vec![1001], true, false));
        let late = stream::once(async {
            tokio::task::yield_now().await;
            data(3)
        });
        let frames = stream::iter([data(1), data(2)]).chain(late.boxed_local());
        assert_eq!(joined(Box::pin(frames)).await, (vec![3, 3], false, false));
        assert_eq!(joined(stream::iter([])).await, (vec![], false, false));
    }

    #[tokio::test]
    async fn joined_frames_are_no_larger_than_the_largest_that_a_peer_takes() {
        let many = (0..40).map(|_| data(1000));
        assert_eq!(joined(stream::iter(many)).await, (vec![16_000, 16_000, 8000], false, false));
        let large = [data(MOST), data(MOST + 1), data(1), data(MOST - 1), data(1)];
        assert_eq!(joined(stream::iter(large)).await, (vec![MOST, MOST + 1, MOST, 1], false, false));
    }

    #[tokio::test]
    async fn joined_frames_come_before_the_error_behind_them() {
        let frames = [data(5), data(6), Err("reset")];
        assert_eq!(joined(stream::iter(frames)).await, (vec![11], false, true));
    }

    #[test]
    fn joined_body_with_trailers_to_come_is_not_at_its_end() {
        let whole = Joined::new(http_body_util::Full::new(Bytes::from_static(b"x")));
        assert!(!whole.is_end_stream() && whole.size_hint().exact() == Some(1));
        let empty = http_body_util::Empty::<Bytes>::new();
        let trailers: Result<_, Infallible> = Ok(Frame::trailers(HeaderMap::new()));
        let waiting = Joined { body: empty, next: Some(Box::new(Some(trailers))) };
        assert!(!waiting.is_end_stream());
    }

    #[tokio::test]
    async fn joined_body_counts_what_it_keeps() {
        let mut body = Joined::new(StreamBody::new(stream::iter([data(MOST - 1), data(2)])));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), MOST - 1);
        assert_eq!(body.size_hint().lower(), 2);
    }
}
