//! What can go wrong around a lab.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "{names} not found in {folder}: the tests and the demo run the built programs and build none. Run \
         `cargo build --workspace --bins` first (with --release for a release build)"
    )]
    NotBuilt { names: String, folder: PathBuf },
    #[error("{command} {status}: {said}")]
    Command { command: String, status: String, said: String },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{what} cannot be read: {why}")]
    Unreadable { what: String, why: String },
    #[error("waited {} s in vain: {what}", within.as_secs_f64())]
    Timeout { what: String, within: Duration },
    #[error("the lab has no {0}")]
    Absent(String),
}

impl Error {
    /// Completes an I/O error with what was being done.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(crate) fn unreadable(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Unreadable { what: what.into(), why: why.to_string() }
    }
}
