//! The kernel's settings under /proc/sys, which container engines show read-only to a container that is not privileged. The
//! settings of a network namespace are written by whoever is in it, and the pods' are no concern of the engine's.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::{FsFlags, statvfs};

const SETTINGS: &str = "/proc/sys";

/// Makes them writable for this process, and for what shares its mounts: in a container, that container.
pub fn allow_writing() -> io::Result<()> {
    let path = Path::new(SETTINGS);
    if statvfs(path)?.flags().contains(FsFlags::ST_RDONLY) {
        mount(None::<&str>, path, None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_BIND, None::<&str>)?;
    }
    Ok(())
}
