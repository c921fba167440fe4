//! A body of many small frames, as a stream of small messages is, with those that have come already joined: each frame that is
//! passed on costs the library here, and both of its ends at every hop behind, what a large one does.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};

/// What is passed on as it is, and how much is joined before it is: the largest frame that a peer has to take.
const ENOUGH: usize = 16 * 1024;

#[derive(Debug)]
pub(in crate::proxy::http) struct Joined<B, E = hyper::Error> {
    body: B,
    /// What came behind the data that was joined, and is not data: the end too.
    next: Option<Box<Option<Result<Frame<Bytes>, E>>>>,
}

impl<B: Body<Data = Bytes> + Unpin> Joined<B, B::Error> {
    pub(in crate::proxy::http) fn new(body: B) -> Self {
        Self { body, next: None }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Joined<B, B::Error> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(next) = self.next.take() {
            return Poll::Ready(*next);
        }
        let first = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            },
            other => return other,
        };
        let mut joined = BytesMut::new();
        while first.len().max(joined.len()) < ENOUGH
            && let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx)
        {
            let data = match &frame {
                Some(Ok(frame)) => frame.data_ref(),
                _ => None,
            };
            let Some(data) = data else {
                self.next = Some(Box::new(frame));
                break;
            };
            if joined.is_empty() {
                joined.reserve((first.len() + data.len()).max(ENOUGH));
                joined.extend_from_slice(&first);
            }
            joined.extend_from_slice(data);
        }
        let data = if joined.is_empty() { first } else { joined.freeze() };
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.next.as_ref().map_or_else(|| self.body.is_end_stream(), |next| next.is_none())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
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
    async fn joined_frames_are_no_larger_than_enough_and_the_last_one() {
        let many = (0..40).map(|_| data(1000));
        assert_eq!(joined(stream::iter(many)).await, (vec![17_000, 17_000, 6000], false, false));
        let large = [data(ENOUGH), data(ENOUGH), data(1), data(ENOUGH)];
        assert_eq!(joined(stream::iter(large)).await, (vec![ENOUGH, ENOUGH, ENOUGH + 1], false, false));
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
}
