//! The lab's cgroups: made, killed, waited for and removed. Killing by cgroup reaches every process of a lab and no
//! other, whatever has become of their parents.

use std::fs;
use std::io::{self, Read, Seek};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Where cgroup v2 is mounted; a machine with both versions has it in a folder of its own.
pub(crate) fn mount_point() -> io::Result<PathBuf> {
    fs::read_to_string("/proc/mounts")?
        .lines()
        .find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let point = fields.next()?;
            (fields.next()? == "cgroup2").then(|| PathBuf::from(point))
        })
        .ok_or_else(|| io::Error::other("cgroup v2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup"))
}

/// Kills every process in the cgroup and below, and waits until none is left. A cgroup that is gone is fine.
pub(crate) async fn kill(cgroup: &Path, bound: Duration) -> io::Result<()> {
    match fs::write(cgroup.join("cgroup.kill"), "1") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    }
    wait_empty(cgroup, bound).await
}

/// Waits until no process is left in the cgroup and below.
pub(crate) async fn wait_empty(cgroup: &Path, bound: Duration) -> io::Result<()> {
    let cgroup = cgroup.to_owned();
    tokio::task::spawn_blocking(move || wait_empty_here(&cgroup, bound))
        .await
        .unwrap_or_else(|_| Err(io::Error::other("waiting for a cgroup: the thread panicked")))
}

fn wait_empty_here(cgroup: &Path, bound: Duration) -> io::Result<()> {
    let deadline = Instant::now() + bound;
    let mut events = match fs::File::open(cgroup.join("cgroup.events")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    loop {
        // Reading through the descriptor that is polled is what rearms the kernel's notification.
        let mut text = String::new();
        events.rewind()?;
        match events.read_to_string(&mut text) {
            Err(e) if e.raw_os_error() == Some(nix::libc::ENODEV) => return Ok(()),
            other => other?,
        };
        if !text.lines().any(|line| line == "populated 1") {
            return Ok(());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::other(format!(
                "processes still live in {} after {bound:?}",
                cgroup.display()
            )));
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)], timeout)?;
    }
}

/// Removes the cgroup and everything below it, which must be empty of processes. One that is gone is fine.
pub(crate) fn remove(cgroup: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(cgroup) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    match fs::remove_dir(cgroup) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(io::Error::other(format!("removing the cgroup {}: {e}", cgroup.display())))
        }
        _ => Ok(()),
    }
}
