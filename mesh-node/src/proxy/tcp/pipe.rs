//! Pipes through which the kernel moves bytes from one socket to another without the proxy touching them (splice(2)).
//! They belong to the worker's thread; a connection borrows one only while it moves much.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

/// What one pipe holds: as much as an unprivileged process may ask for (fs.pipe-max-size).
const SIZE: usize = 1 << 20;
/// Pipes of one thread, lent or spare; connections beyond them copy.
const MAX: usize = 64;
const KEPT: usize = 8;

#[derive(Debug, Default)]
struct Pipes {
    spare: Vec<Ends>,
    made: usize,
}

#[derive(Debug)]
struct Ends {
    out: OwnedFd,
    into: OwnedFd,
}

thread_local! {
    static PIPES: RefCell<Pipes> = RefCell::default();
}

/// A pipe on loan; it goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Pipe {
    ends: Option<Ends>,
    held: usize,
}

impl Pipe {
    /// `None` where there are enough already, or the kernel gives none.
    pub(super) fn lend() -> Option<Self> {
        PIPES.with_borrow_mut(|pipes| {
            if let Some(ends) = pipes.spare.pop() {
                return Some(Self { ends: Some(ends), held: 0 });
            }
            if pipes.made == MAX {
                return None;
            }
            let (out, into) = pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).ok()?;
            // With the usual size it works too.
            let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(SIZE as i32));
            pipes.made += 1;
            Some(Self { ends: Some(Ends { out, into }), held: 0 })
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Takes what the socket has; 0 is its end. Only while the pipe is empty.
    pub(super) fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        self.held = splice(from, None, &ends.into, None, SIZE, flags())?;
        Ok(self.held)
    }

    /// Gives the socket what it takes.
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        let Some(ends) = &self.ends else { return Ok(0) };
        let count = splice(&ends.out, None, to, None, self.held, flags())?;
        self.held -= count;
        Ok(count)
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}

impl Drop for Pipe {
    fn drop(&mut self) {
        PIPES.with_borrow_mut(|pipes| {
            // One that still holds something of a broken connection is of no use to another.
            match self.ends.take() {
                Some(ends) if self.held == 0 && pipes.spare.len() < KEPT => pipes.spare.push(ends),
                _ => pipes.made -= 1,
            }
        });
    }
}
