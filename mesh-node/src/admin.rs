//! The node's answers about itself: health, metrics, and whether a pod is captured. In full on a Unix socket that
//! only root can dial; health and metrics also on a TCP port.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State as Shared};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use mesh_health::{Health, Port};
use mesh_ir::name::Uid;
use serde::{Deserialize, Serialize};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::capture::{PodState, PodStates, why_unknown};
use crate::state::State;

/// The longest that a question may wait for its answer.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// What the answers are made from.
#[derive(Clone, Debug)]
pub struct Shown {
    pub state: Arc<State>,
    pub pods: watch::Receiver<PodStates>,
    /// Why the CNI plugin is not in place, where it should be.
    pub cni: Option<watch::Receiver<Option<String>>>,
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
pub fn serve(shown: Shown) -> io::Result<impl Future<Output = ()>> {
    let settings = &shown.state.settings;
    match fs::remove_file(&settings.admin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(&settings.admin)?;
    fs::set_permissions(&settings.admin, fs::Permissions::from_mode(0o600))?;
    let port = Port::listen(settings.metrics).map_err(io::Error::other)?;
    let health: Arc<dyn Health> = Arc::new(shown.clone());
    let private = Router::new().route("/pods/{uid}", get(pod)).with_state(shown);
    let private = axum::serve(socket, private.merge(mesh_health::router(health.clone())));
    Ok(async move {
        let ended = tokio::select! {
            () = port.serve(health) => return,
            ended = private.into_future() => ended,
        };
        if let Err(error) = ended {
            tracing::error!(%error, "the admin interface ended");
        }
    })
}

impl Health for Shown {
    /// Ready once a configuration has been applied, while every pod can be seen and the CNI plugin is in place where it
    /// should be.
    fn ready(&self) -> Result<(), String> {
        if let Some(problem) = *self.state.pods_problem.borrow() {
            return Err(problem.into());
        }
        if *self.state.view_version.borrow() == 0 {
            return Err("no configuration has come from the mesh-operator yet".into());
        }
        match self.cni.as_ref().and_then(|cni| cni.borrow().clone()) {
            Some(problem) => Err(format!("the CNI plugin is not in place: {problem}")),
            None => Ok(()),
        }
    }

    fn metrics(&self) -> String {
        self.state.telemetry.scrape()
    }
}

async fn pod(
    Shared(shown): Shared<Shown>,
    Path(uid): Path<String>,
    Query(Wait { wait }): Query<Wait>,
) -> Result<Json<Captured>, (StatusCode, String)> {
    let uid = Uid::new(&uid).map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    let mut pods = shown.pods.clone();
    let wait = Duration::from_secs(wait).min(MAX_WAIT);
    let known = pods.wait_for(|states| states.contains_key(&uid));
    match tokio::time::timeout(wait, known).await {
        Ok(Ok(states)) => {
            let captured = states.get(&uid).is_some_and(|known| known.state == PodState::Captured);
            Ok(Json(Captured { captured }))
        }
        Ok(Err(_)) | Err(_) => {
            let why = why_unknown(&shown.state, &uid);
            Err((StatusCode::GATEWAY_TIMEOUT, format!("pod {uid}: {why}\n")))
        }
    }
}
