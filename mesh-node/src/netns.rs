//! Network namespaces: being in one for the length of a call. A socket stays for life in the namespace that it was
//! made in, so this is all that it takes to have sockets in every pod from one process.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;

use nix::sched::{CloneFlags, setns};

/// An open network namespace. Holding it keeps the namespace alive.
#[derive(Debug)]
pub struct Netns {
    file: File,
    cookie: u64,
}

impl Netns {
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::from_file(File::open(path)?)
    }

    /// The namespace that the calling thread is in.
    pub fn current() -> io::Result<Self> {
        Self::from_file(File::open("/proc/thread-self/ns/net")?)
    }

    fn from_file(file: File) -> io::Result<Self> {
        let home = File::open("/proc/thread-self/ns/net")?;
        let cookie = within(file.as_fd(), home.as_fd(), || {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
            crate::sockets::options::netns_cookie(&socket)
        })??;
        Ok(Self { file, cookie })
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
