//! Where the built programs are: beside the running one, unless a folder is named.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;

const NAMES: [&str; 6] = ["weir", "mesh-operator", "mesh-node", "mesh-cni", "cert-authority", "bookinfo"];

#[derive(Debug)]
pub struct Binaries {
    pub folder: PathBuf,
}

impl Binaries {
    /// In this folder; without one, beside the running program.
    ///
    /// # Errors
    /// [`Error::NotBuilt`].
    pub fn find(folder: Option<&Path>) -> Result<Self, Error> {
        match folder {
            Some(folder) => Self::of(folder.to_owned()),
            None => Self::of(Self::beside_this()?),
        }
    }

    fn beside_this() -> Result<PathBuf, Error> {
        let own = std::env::current_exe().map_err(Error::io("finding the running program"))?;
        let folder = own.parent().unwrap_or(Path::new("."));
        // Cargo puts test programs one folder deeper.
        Ok(if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
    }

    fn of(folder: PathBuf) -> Result<Self, Error> {
        let missing: Vec<&str> = NAMES.iter().copied().filter(|name| !folder.join(name).is_file()).collect();
        if missing.is_empty() {
            return Ok(Self { folder });
        }
        Err(Error::NotBuilt { names: missing.join(", "), folder })
    }

    pub(super) fn weir(&self) -> PathBuf {
        self.folder.join("weir")
    }

    /// `weir lab`, with this folder first on the PATH: the containers' programs are here too.
    pub(super) fn weir_lab(&self) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.folder.clone()).chain(std::env::split_paths(&path));
        let mut command = Command::new(self.weir());
        command.arg("lab");
        if let Ok(path) = std::env::join_paths(folders) {
            command.env("PATH", path);
        }
        command
    }
}
