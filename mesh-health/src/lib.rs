//! What each of the mesh's programs answers in clear about itself: `/healthz` (it runs), `/readyz` (503 and why, while it
//! cannot do its work) and `/metrics`. It knows nothing of what the programs do, and nothing that is answered here is
//! secret: everybody who reaches the port may ask.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;

mod serve;

/// What a program says of itself.
pub trait Health: Send + Sync + 'static {
    /// Whether it does its work; if not, what it waits for and what would help, as a sentence without an end.
    fn ready(&self) -> Result<(), String>;

    /// All metrics in the OpenMetrics text format.
    fn metrics(&self) -> String;
}

/// The three paths.
pub fn router(health: Arc<dyn Health>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health)
}

/// A port that listens; its connections are taken up once it is [served](Self::serve).
#[derive(Debug)]
pub struct Port(tokio::net::TcpListener);

/// The port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve health and metrics on {address}: {source}")]
pub struct PortError {
    address: SocketAddr,
    source: io::Error,
}

impl Port {
    /// Must be called within a tokio runtime.
    pub fn listen(address: SocketAddr) -> Result<Self, PortError> {
        let listen = || {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        };
        listen().map(Self).map_err(|source| PortError { address, source })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Answers until dropped.
    pub async fn serve(self, health: Arc<dyn Health>) {
        serve::serve(self.0, router(health)).await;
    }
}

async fn ready(State(health): State<Arc<dyn Health>>) -> (StatusCode, String) {
    match health.ready() {
        Ok(()) => (StatusCode::OK, "ok\n".into()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(health): State<Arc<dyn Health>>) -> impl IntoResponse {
    let kind = [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (kind, health.metrics())
}
