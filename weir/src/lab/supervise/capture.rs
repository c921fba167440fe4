//! Asking a node's mesh-node about a pod and about itself, over its admin socket.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// The largest answer that is read.
const MAX_ANSWER: usize = 64 << 10;
/// How long mesh-node may take to learn of a pod, in seconds.
const CAPTURE_SECONDS: u64 = 10;

/// Waits until the node knows the pod and, where the pod is meshed, has captured it.
pub(crate) async fn wait(admin: &Path, uid: &str) -> Result<(), String> {
    let bound = Duration::from_secs(CAPTURE_SECONDS + 2);
    match get(admin, &format!("/pods/{uid}?wait={CAPTURE_SECONDS}"), bound).await? {
        (200, _) => Ok(()),
        (504, _) => Err(format!("mesh-node did not learn of the pod within {CAPTURE_SECONDS} s")),
        (status, body) => Err(format!("mesh-node answered {status}: {}", body.trim())),
    }
}

/// Whether the program behind this admin socket says that it is ready.
pub(crate) async fn is_ready(admin: &Path) -> bool {
    matches!(get(admin, "/readyz", Duration::from_secs(2)).await, Ok((200, _)))
}

async fn get(socket: &Path, path: &str, bound: Duration) -> Result<(u16, String), String> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await.map_err(|e| format!("{}: {e}", socket.display()))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        let driver = tokio::spawn(connection);
        let request = hyper::Request::get(path)
            .header("host", "localhost")
            .body(Empty::<Bytes>::new())
            .map_err(|e| e.to_string())?;
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|e| e.to_string())?;
        driver.abort();
        Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
    };
    tokio::time::timeout(bound, exchange).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}
