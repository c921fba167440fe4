//! Work inside another network namespace, on a thread of its own that ends with the work.
//!
//! A namespace belongs to a thread, and a thread that has entered one is not fit for anything else; so each piece of
//! work gets a new thread, and nothing has to be restored.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Runs `work` in the network namespace bound at `netns` and gives its result.
pub(crate) async fn within<T, F>(netns: &Path, work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let netns = netns.to_owned();
    on_thread(move || {
        let file = std::fs::File::open(&netns).map_err(|e| {
            io::Error::other(format!("opening the network namespace {}: {e}", netns.display()))
        })?;
        setns(file.as_fd(), CloneFlags::CLONE_NEWNET)?;
        work()
    })
    .await
}

/// Makes a network namespace bound at `path`, and runs `work` inside it.
///
/// The file at `path` becomes a namespace only with the mount, a moment after it appears in its folder.
pub(crate) async fn create<F>(path: PathBuf, work: F) -> io::Result<()>
where
    F: FnOnce() -> io::Result<()> + Send + 'static,
{
    on_thread(move || {
        std::fs::File::create_new(&path)?;
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        work()
    })
    .await
}

/// Undoes [`create`]; what is already gone is fine.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

async fn on_thread<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("netns".to_owned()).spawn(move || {
        // The receiver is gone only when whoever asked has been cancelled, and then nobody wants the result.
        let _ = send.send(work());
    })?;
    receive.await.unwrap_or_else(|_| Err(io::Error::other("the network namespace thread panicked")))
}
