//! Where the mesh's objects come from. A source gives whole snapshots, the newest only, over a watch channel; what
//! follows does not know which source it is.

use std::sync::Arc;

use mesh_compile::Snapshot;
use mesh_compile::manifest::Problem;
use serde::Serialize;

mod changes;
mod folder;
mod folders;

pub use folder::WatchError;
pub(crate) use folder::watch_folders;

/// What a source sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Observed {
    pub(crate) snapshot: Arc<Snapshot>,
    /// What it could not read, in the order of the files.
    pub(crate) problems: Vec<FileProblem>,
}

/// What is wrong with a manifest file, or with one object in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct FileProblem {
    pub(crate) file: String,
    /// `HTTPRoute bookinfo/reviews`, as far as it is known.
    pub(crate) object: Option<String>,
    pub(crate) field: Option<String>,
    pub(crate) message: String,
}

impl FileProblem {
    fn of_file(file: &std::path::Path, message: impl Into<String>) -> Self {
        Self { file: file.display().to_string(), object: None, field: None, message: message.into() }
    }

    fn of_object(file: &std::path::Path, problem: &Problem) -> Self {
        let Problem { object, field, message, .. } = problem.clone();
        Self { file: file.display().to_string(), object, field, message }
    }
}
