//! The server behind the port. Whoever is on the network may connect, so that neither many connections nor slow ones may
//! keep a probe from its answer: a connection lives briefly, and the oldest makes room for a new one.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

const MAX_CONNECTIONS: usize = 128;
/// From accepting a connection to the end of its one answer.
const MAX_LIFE: Duration = Duration::from_secs(30);
/// For a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait when the system gives no more connections, for want of descriptors as a rule.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn serve(listener: TcpListener, router: Router) {
    let mut connections = Connections(VecDeque::new());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "cannot accept a connection for health and metrics");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // What goes wrong on one connection is its client's concern.
        connections.push(tokio::spawn(async { _ = tokio::time::timeout(MAX_LIFE, connection).await }));
    }
}

/// The connections under way, the oldest first; dropping them ends them.
struct Connections(VecDeque<AbortHandle>);

impl Connections {
    fn push(&mut self, connection: tokio::task::JoinHandle<()>) {
        self.0.retain(|connection| !connection.is_finished());
        if self.0.len() >= MAX_CONNECTIONS
            && let Some(oldest) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back(connection.abort_handle());
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}
