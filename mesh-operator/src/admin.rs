//! The admin socket: HTTP/1.1 over a Unix socket that only its owner may open. It answers and changes nothing. What it
//! says of health and metrics is said in clear on a TCP port too, where there is one.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use mesh_health::Health;
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::apply::Document;
use crate::compile::Revision;
use crate::metrics::Metrics;
use crate::publish::nodes::Nodes;
use crate::trust::Serving;
use crate::watch::kubernetes::Listing;

/// What the admin socket shows.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// None where the source is folders, which are read at once.
    pub(crate) listing: Option<Listing>,
    pub(crate) revisions: watch::Receiver<Option<Revision>>,
    pub(crate) documents: watch::Receiver<Arc<Document>>,
    pub(crate) serving: watch::Receiver<Serving>,
    pub(crate) nodes: Nodes,
    pub(crate) metrics: Arc<Metrics>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot make the admin socket {path}: {source}")]
pub struct AdminError {
    path: PathBuf,
    source: io::Error,
}

/// The socket's file, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct AdminSocket {
    listener: UnixListener,
    file: SocketFile,
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

/// Listens at `path`. The socket takes its place there when its permissions are set, in place of what an earlier
/// process may have left.
pub(crate) fn listen(path: &Path) -> Result<AdminSocket, AdminError> {
    let bind = || {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        _ = fs::remove_file(&unfinished);
        let listener = UnixListener::bind(&unfinished)?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(0o600))?;
        fs::rename(&unfinished, path)?;
        Ok(listener)
    };
    let listener = bind().map_err(|source| AdminError { path: path.to_owned(), source })?;
    Ok(AdminSocket { listener, file: SocketFile(path.to_owned()) })
}

/// Answers until dropped.
pub(crate) async fn serve(socket: AdminSocket, shown: Shown) -> io::Result<()> {
    let AdminSocket { listener, file: _file } = socket;
    let router = Router::new()
        .route("/config", get(config))
        .route("/status", get(status))
        .route("/nodes", get(nodes))
        .with_state(shown.clone())
        .merge(mesh_health::router(Arc::new(shown)));
    axum::serve(listener, router).await
}

impl Health for Shown {
    fn ready(&self) -> Result<(), String> {
        if let Serving::Waiting(problem) = &*self.serving.borrow() {
            return Err(format!("not serving nodes: {problem}"));
        }
        if self.revisions.borrow().is_some() {
            return Ok(());
        }
        match self.listing.as_ref().and_then(Listing::missing) {
            Some(missing) => Err(format!("not synced: {missing}")),
            None => Err("nothing is compiled yet".into()),
        }
    }

    fn metrics(&self) -> String {
        self.metrics.text()
    }
}

/// Private keys show themselves redacted.
async fn config(State(shown): State<Shown>) -> Response {
    let compiled = shown.revisions.borrow().as_ref().map(|revision| revision.compiled.clone());
    match compiled {
        Some(compiled) => Json(&compiled.config).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "nothing is compiled yet\n").into_response(),
    }
}

async fn status(State(shown): State<Shown>) -> Response {
    let document = shown.documents.borrow().clone();
    Json(&*document).into_response()
}

async fn nodes(State(shown): State<Shown>) -> Response {
    Json(shown.nodes.list()).into_response()
}
