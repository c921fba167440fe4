//! gRPC without its libraries: the frames of messages on HTTP/2.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use http_body::{Body, Frame};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::load::h2load::STREAM_PATH;

pub(crate) const MESSAGE_BYTES: usize = 1024;

pub(super) fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let message = message(MESSAGE_BYTES);
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
        loop {
            let (stream, _) = listener.accept().await.context("accepting")?;
            stream.set_nodelay(true)?;
            let message = message.clone();
            tokio::task::spawn_local(async move {
                let service = service_fn(move |request| {
                    let message = message.clone();
                    async move { answer(request, message).await }
                });
                let connection = hyper::server::conn::http2::Builder::new(Local)
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(1000)
                    .serve_connection(TokioIo::new(stream), service);
                // A client that goes away is no concern of a backend.
                let _ = connection.await;
            });
        }
    })
}

/// A message in its frame: not compressed, its length, its bytes.
fn message(length: usize) -> Bytes {
    let mut frame = BytesMut::with_capacity(length + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.put_bytes(0x5a, length);
    frame.freeze()
}

async fn answer(request: Request<Incoming>, message: Bytes) -> Result<Response<Messages>, hyper::Error> {
    let path = request.uri().path();
    let count = path.strip_prefix(STREAM_PATH).map_or(1, |count| count.parse().unwrap_or(0));
    let mut incoming = request.into_body();
    while let Some(frame) = http_body_util::BodyExt::frame(&mut incoming).await {
        frame?;
    }
    let mut response = Response::new(Messages { message, left: count, ended: false });
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// The same message so many times, then the trailers of success.
struct Messages {
    message: Bytes,
    left: u32,
    ended: bool,
}

impl Body for Messages {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(self.message.clone()))));
        }
        if self.ended {
            return Poll::Ready(None);
        }
        self.ended = true;
        let status = (HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::from_iter([status])))))
    }
}

/// Runs what HTTP/2 spawns on the thread that everything runs on.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed() {
        assert_eq!(&message(258)[..6], &[0, 0, 0, 1, 2, 0x5a]);
        assert_eq!(message(258).len(), 263);
    }
}
