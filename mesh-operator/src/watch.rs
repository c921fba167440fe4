//! Where the mesh's objects come from. A source gives whole snapshots, the newest only, over a watch channel; what
//! follows does not know which source it is.

use std::sync::Arc;

use mesh_compile::manifest::Problem;
use mesh_compile::read::ReadError;
use mesh_compile::{ObjectId, Snapshot};
use serde::Serialize;

mod changes;
mod folder;
mod folders;
pub(crate) mod kubernetes;

pub use folder::WatchError;
pub(crate) use folder::watch_folders;
pub(crate) use kubernetes::watch_cluster;

/// What a source sees.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) snapshot: Arc<Snapshot>,
    /// What it could not read, in the order of the files.
    pub(crate) problems: Vec<FileProblem>,
}

/// What is wrong with a manifest file, or with one object in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct FileProblem {
    /// Empty where the object is no file's.
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

    /// An object of the API server that cannot be read.
    fn of_read(id: &ObjectId, error: &ReadError) -> Self {
        let message = format!("cannot read the object: {}; what it was before still applies", error.message);
        let field = Some(error.field()).filter(|field| !field.is_empty());
        Self { file: String::new(), object: Some(id.to_string()), field, message }
    }

    fn of_object(file: &std::path::Path, problem: &Problem) -> Self {
        let Problem { object, field, message, .. } = problem.clone();
        Self { file: file.display().to_string(), object, field, message }
    }
}
