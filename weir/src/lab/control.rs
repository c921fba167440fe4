//! What the commands of `weir lab` and a lab's supervisor say to each other: one JSON line each way on a Unix socket that
//! only root can reach.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::act::enter::Enter;
use super::cluster::view::View;

/// No line is longer than this.
pub(crate) const MAX_LINE: u64 = 64 << 20;

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Request {
    Get,
    Apply {
        files: Vec<File>,
    },
    Delete {
        files: Vec<File>,
    },
    /// Where to run a command in the pod `NS/POD` or in a pod of `NS/deploy/NAME`.
    Exec {
        target: String,
        container: Option<String>,
    },
    Down,
}

/// A manifest file; its path is for messages.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    View(Box<View>),
    /// What was done, a line each.
    Done(Vec<String>),
    Place {
        enter: Enter,
        environment: BTreeMap<String, String>,
    },
    Refused(String),
}

/// What the supervisor tells `weir lab up` while it starts.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Progress {
    Step(String),
    Ready(Box<View>),
    Failed(String),
}
