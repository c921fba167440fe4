//! Asking a node's mesh-node about a pod and about itself, over its admin socket.

use std::path::Path;
use std::time::Duration;

use crate::admin;

/// The largest answer that is read.
const MAX_ANSWER: usize = 64 << 10;
/// How long mesh-node may take to learn of a pod, in seconds.
const CAPTURE_SECONDS: u64 = 10;

/// Waits until the node knows the pod and, where the pod is meshed, has captured it.
pub(crate) async fn wait(admin: &Path, uid: &str) -> Result<(), String> {
    let bound = Duration::from_secs(CAPTURE_SECONDS + 2);
    match get(admin, &format!("/pods/{uid}?wait={CAPTURE_SECONDS}"), bound).await? {
        (200, _) => Ok(()),
        (504, body) => {
            Err(format!("mesh-node has not captured it after {CAPTURE_SECONDS} s: {}", body.trim()))
        }
        (status, body) => Err(format!("mesh-node answered {status}: {}", body.trim())),
    }
}

/// Whether the program behind this admin socket says that it is ready.
pub(crate) async fn is_ready(admin: &Path) -> bool {
    matches!(get(admin, "/readyz", Duration::from_secs(2)).await, Ok((200, _)))
}

async fn get(socket: &Path, path: &str, bound: Duration) -> Result<(u16, String), String> {
    let answer = admin::get(socket, path, bound, MAX_ANSWER).await.map_err(|error| error.to_string())?;
    Ok((answer.status, answer.text()))
}
