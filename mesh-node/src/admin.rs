//! The node's answers about itself: health, metrics, and whether a pod is captured. In full on a Unix socket that
//! only root can dial; health and metrics also on a TCP port.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use mesh_ir::name::Uid;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::capture::{PodState, PodStates};
use crate::state::State;

/// The longest that a question may wait for its answer.
const MAX_WAIT: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
pub struct Health {
    pub state: Arc<State>,
    pub pods: watch::Receiver<PodStates>,
}

#[derive(Debug, Deserialize)]
struct Wait {
    /// Seconds.
    #[serde(default)]
    wait: u64,
}

#[derive(Debug, Serialize)]
struct Captured {
    captured: bool,
}

/// Binds at once, and serves until an error ends it.
pub fn serve(health: Health) -> io::Result<impl Future<Output = ()>> {
    let settings = &health.state.settings;
    match fs::remove_file(&settings.admin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(&settings.admin)?;
    fs::set_permissions(&settings.admin, fs::Permissions::from_mode(0o600))?;
    let metrics = std::net::TcpListener::bind(settings.metrics)?;
    metrics.set_nonblocking(true)?;
    let metrics = TcpListener::from_std(metrics)?;
    let public = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape));
    let private = public.clone().route("/pods/{uid}", get(pod));
    let public = axum::serve(metrics, public.with_state(health.clone()));
    let private = axum::serve(socket, private.with_state(health));
    Ok(async move {
        let ended = tokio::select! {
            ended = public.into_future() => ended,
            ended = private.into_future() => ended,
        };
        if let Err(error) = ended {
            tracing::error!(%error, "the admin interface ended");
        }
    })
}

/// Ready once a configuration has been applied, while every pod can be seen.
async fn ready(Shared(health): Shared<Health>) -> (StatusCode, &'static str) {
    if let Some(problem) = *health.state.pods_problem.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, problem)
    } else if *health.state.view_version.borrow() > 0 {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no configuration has come from the mesh-operator yet\n")
    }
}

async fn scrape(Shared(health): Shared<Health>) -> impl IntoResponse {
    let kind = [(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    (kind, health.state.telemetry.scrape())
}

async fn pod(
    Shared(health): Shared<Health>,
    Path(uid): Path<String>,
    Query(Wait { wait }): Query<Wait>,
) -> Result<Json<Captured>, (StatusCode, String)> {
    let uid = Uid::new(&uid).map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    let mut pods = health.pods.clone();
    let wait = Duration::from_secs(wait).min(MAX_WAIT);
    let known = pods.wait_for(|states| states.contains_key(&uid));
    match tokio::time::timeout(wait, known).await {
        Ok(Ok(states)) => Ok(Json(Captured { captured: states.get(&uid) == Some(&PodState::Captured) })),
        Ok(Err(_)) | Err(_) => {
            let view = health.state.view.load();
            let why = match view.workload_by_uid(&uid) {
                None => "the mesh-operator has not told this node of it".to_owned(),
                Some(workload) => match workload.identity(&health.state.settings.trust_domain) {
                    Some(identity) => format!(
                        "{} waits to be captured, or for its certificate of {identity}",
                        workload.name
                    ),
                    None => format!("{} is not found on this node", workload.name),
                },
            };
            Err((StatusCode::GATEWAY_TIMEOUT, format!("pod {uid}: {why}\n")))
        }
    }
}
