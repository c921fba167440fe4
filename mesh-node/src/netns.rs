//! Network namespaces: being in one for the length of a call. A socket stays for life in the namespace that it was
//! made in, so this is all that it takes to have sockets in every pod from one process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};

/// An open network namespace. Holding it, or a clone, keeps the namespace alive. Two are equal when they are the same
/// namespace.
#[derive(Clone, Debug)]
pub struct Netns {
    file: Arc<File>,
    cookie: u64,
    inode: u64,
}

impl Netns {
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_file(File::open(path)?)
    }

    /// The namespace that the calling thread is in.
    pub fn current() -> io::Result<Self> {
        Self::from_file(File::open("/proc/thread-self/ns/net")?)
    }

    pub(crate) fn from_file(file: File) -> io::Result<Self> {
        let home = File::open("/proc/thread-self/ns/net")?;
        let cookie = within(file.as_fd(), home.as_fd(), || {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
            crate::sockets::options::netns_cookie(&socket)
        })??;
        let inode = file.metadata()?.ino();
        Ok(Self { file: Arc::new(file), cookie, inode })
    }

    /// The number of the namespace's file. No other namespace has it for as long as this one is held.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The kernel's number for the namespace, never used again for another one until the machine restarts.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    /// Runs `f` with the calling thread in this namespace. `f` must not wait: the whole thread is away.
    pub fn enter<R>(&self, f: impl FnOnce() -> R) -> io::Result<R> {
        thread_local! {
            static HOME: io::Result<File> = File::open("/proc/thread-self/ns/net");
        }
        HOME.with(|home| match home {
            Ok(home) => within(self.file.as_fd(), home.as_fd(), f),
            Err(error) => {
                Err(io::Error::new(error.kind(), "the thread's own network namespace cannot be opened"))
            }
        })
    }
}

impl PartialEq for Netns {
    fn eq(&self, other: &Self) -> bool {
        self.cookie == other.cookie
    }
}

impl Eq for Netns {}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn within<R>(there: BorrowedFd<'_>, home: BorrowedFd<'_>, f: impl FnOnce() -> R) -> io::Result<R> {
    setns(there, CloneFlags::CLONE_NEWNET)?;
    let result = f();
    if let Err(error) = setns(home, CloneFlags::CLONE_NEWNET) {
        // Going on in a pod's namespace would mix up the traffic of two pods: there is no safe next step.
        tracing::error!(%error, fd = home.as_raw_fd(), "cannot return from a pod's network namespace");
        std::process::abort();
    }
    Ok(result)
}
