//! Asking one of the mesh's programs about itself, over its admin socket: HTTP/1.1 on a Unix socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// An answer, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("{}: {source}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("{} broke off: {problem}", socket.display())]
    Exchange { socket: PathBuf, problem: String },
    #[error("{} did not answer within {} ms", socket.display(), bound.as_millis())]
    Timeout { socket: PathBuf, bound: Duration },
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Asks for `path`; the answer may take `bound` and have `max` bytes.
pub(crate) async fn get(socket: &Path, path: &str, bound: Duration, max: usize) -> Result<Answer, AskError> {
    let asking = tokio::time::timeout(bound, exchange(socket, path, max));
    asking.await.unwrap_or_else(|_| Err(AskError::Timeout { socket: socket.to_owned(), bound }))
}

async fn exchange(socket: &Path, path: &str, max: usize) -> Result<Answer, AskError> {
    let broken = |problem: String| AskError::Exchange { socket: socket.to_owned(), problem };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| AskError::Connect { socket: socket.to_owned(), source })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.to_string()))?;
    let request = hyper::Request::get(path)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(error.to_string()))?;
    let answering = async {
        let answer = sender.send_request(request).await.map_err(|error| broken(error.to_string()))?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), max).collect().await;
        let body = body.map_err(|error| broken(error.to_string()))?.to_bytes();
        Ok(Answer { status, body })
    };
    tokio::pin!(answering);
    tokio::select! {
        biased;
        answer = &mut answering => answer,
        // The connection's own end comes first where it closes with the answer's last byte.
        _ = connection => answering.await,
    }
}
