//! What mesh-operator says of itself and of the mesh, over its admin socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use mesh_ir::config::MeshConfig;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::admin::{self, AskError};
use crate::lab::layout::{LabName, Layout};

/// The largest answer that is read.
const MAX_ANSWER: usize = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(10);

/// Which mesh is asked about.
#[derive(Args, Clone, Debug)]
pub(crate) struct Mesh {
    /// The lab's name; `lab` if not given.
    #[arg(long)]
    pub(crate) name: Option<LabName>,
    /// The admin socket of the mesh-operator, in place of the lab's.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) operator: Option<PathBuf>,
}

impl Mesh {
    /// Whether the command line says which one.
    pub(crate) fn is_named(&self) -> bool {
        self.name.is_some() || self.operator.is_some()
    }

    pub(crate) fn operator(&self) -> Operator {
        let layout = Layout::new(self.name.clone().unwrap_or_default());
        match &self.operator {
            Some(socket) => Operator { socket: socket.clone(), lab: None },
            None => Operator { socket: layout.operator_admin(), lab: Some(layout) },
        }
    }
}

#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) socket: PathBuf,
    /// The lab it belongs to, if it is one's.
    pub(crate) lab: Option<Layout>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OperatorError {
    #[error("cannot reach the mesh-operator at {}: {hint}", socket.display())]
    Unreachable { socket: PathBuf, hint: String },
    #[error("the mesh-operator at {} answered GET {path} with {status}: {text}", socket.display())]
    Refused { socket: PathBuf, path: &'static str, status: u16, text: String },
    #[error("the mesh-operator at {} is of another version than this weir: GET {path}: {source}", socket.display())]
    Unreadable { socket: PathBuf, path: &'static str, source: serde_json::Error },
}

/// `GET /status`.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct StatusDocument {
    #[serde(default)]
    pub(crate) objects: Vec<StatusEntry>,
    #[serde(default)]
    pub(crate) problems: Vec<ManifestProblem>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StatusEntry {
    pub(crate) kind: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    /// That of the object, where it is known apart from the status.
    #[serde(skip)]
    pub(crate) generation: Option<i64>,
    pub(crate) status: Value,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ManifestProblem {
    /// Empty where it is not about a file.
    #[serde(default)]
    pub(crate) file: String,
    pub(crate) object: Option<String>,
    pub(crate) field: Option<String>,
    pub(crate) message: String,
}

/// One entry of `GET /nodes`, or a node that a Lease names: a session.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Session {
    pub(crate) node: Option<String>,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) acknowledged_version: Option<String>,
    #[serde(default)]
    pub(crate) up_to_date: bool,
    #[serde(default)]
    pub(crate) rejected: Vec<Rejected>,
}

/// A resource that a node could not take.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Rejected {
    pub(crate) resource: String,
    pub(crate) message: String,
}

impl Operator {
    /// The mesh's whole configuration.
    pub(crate) async fn config(&self) -> Result<MeshConfig, OperatorError> {
        self.json("/config").await
    }

    pub(crate) async fn status(&self) -> Result<StatusDocument, OperatorError> {
        self.json("/status").await
    }

    pub(crate) async fn nodes(&self) -> Result<Vec<Session>, OperatorError> {
        self.json("/nodes").await
    }

    /// What keeps it from serving; `None` when it serves.
    pub(crate) async fn unready(&self) -> Result<Option<String>, OperatorError> {
        let answer = self.get("/readyz").await?;
        Ok((answer.status != 200).then(|| answer.text().trim().to_owned()))
    }

    async fn json<T: DeserializeOwned>(&self, path: &'static str) -> Result<T, OperatorError> {
        let answer = self.get(path).await?;
        let socket = self.socket.clone();
        if answer.status != 200 {
            let text = answer.text().trim().to_owned();
            return Err(OperatorError::Refused { socket, path, status: answer.status, text });
        }
        serde_json::from_slice(&answer.body).map_err(|source| OperatorError::Unreadable {
            socket,
            path,
            source,
        })
    }

    async fn get(&self, path: &'static str) -> Result<admin::Answer, OperatorError> {
        admin::get(&self.socket, path, PATIENCE, MAX_ANSWER).await.map_err(|error| {
            let hint = self.hint(&error);
            OperatorError::Unreachable { socket: self.socket.clone(), hint }
        })
    }

    /// What happened, and what to do about it.
    fn hint(&self, error: &AskError) -> String {
        let AskError::Connect { source, .. } = error else { return error.to_string() };
        if source.kind() == std::io::ErrorKind::PermissionDenied {
            return format!("{source}; only its owner may open it: run weir with sudo");
        }
        let socket = |path: &Path| path.display().to_string();
        match &self.lab {
            Some(lab) => format!(
                "{source}; lab {0} is not up, or has no mesh: weir lab up --name {0} -f PATH",
                lab.name()
            ),
            None => format!("{source}; does a mesh-operator run with --admin {}?", socket(&self.socket)),
        }
    }
}
