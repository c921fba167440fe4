//! The network namespace of a pod, from the processes in its cgroups.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::netns::Netns;

/// Cgroups of one pod that are looked into; containers may make their own below theirs.
const MAX_CGROUPS: usize = 256;
/// Processes of one pod that are looked at.
const MAX_PROCESSES: usize = 4096;

#[derive(Debug)]
pub(super) enum Found {
    /// A process is in the namespace that is known already.
    Held,
    New(Netns),
    /// No process is in a namespace other than the node's own.
    None,
    /// As `None`, but the kernel does not show the namespaces of some.
    Denied,
}

/// Whether a process is in the cgroup or below it.
pub(super) fn is_populated(cgroup: &Path) -> io::Result<bool> {
    Ok(fs::read_to_string(cgroup.join("cgroup.events"))?.lines().any(|line| line == "populated 1"))
}

/// Looks through the processes of `cgroup`; `held` and `own` are inode numbers of namespaces.
///
/// Of several namespaces the oldest process's is the pod's: the sandbox is there before any container, which may make
/// namespaces of its own.
pub(super) fn find(cgroup: &Path, held: Option<u64>, own: u64) -> Found {
    let mut candidates = Vec::new();
    let mut denied = false;
    for (folder, pid) in processes(cgroup) {
        let proc = Path::new("/proc").join(pid.to_string());
        // It may be gone at any of these steps; the others are as good.
        let found = match fs::metadata(proc.join("ns/net")) {
            Ok(found) => found,
            Err(error) => {
                denied |= error.kind() == io::ErrorKind::PermissionDenied;
                continue;
            }
        };
        if Some(found.ino()) == held {
            return Found::Held;
        }
        if found.ino() != own
            && let Some(started) = start_time(&proc)
        {
            candidates.push((started, pid, folder));
        }
    }
    candidates.sort();
    candidates
        .into_iter()
        .find_map(|(_, pid, folder)| open(pid, &folder, own))
        .map_or(if denied { Found::Denied } else { Found::None }, Found::New)
}

fn open(pid: u32, folder: &Path, own: u64) -> Option<Netns> {
    let file = File::open(Path::new("/proc").join(pid.to_string()).join("ns/net")).ok()?;
    // The number may have passed to another process before the file was open; in the same cgroup it is the same pod's.
    if !pids(folder).contains(&pid) || file.metadata().ok()?.ino() == own {
        return None;
    }
    Netns::from_file(file)
        .inspect_err(|error| tracing::error!(pid, %error, "cannot use a pod's network namespace"))
        .ok()
}

fn processes(cgroup: &Path) -> Vec<(PathBuf, u32)> {
    let mut found = Vec::new();
    let mut folders = vec![cgroup.to_owned()];
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        next += 1;
        found.extend(pids(&folder).into_iter().map(|pid| (folder.clone(), pid)));
        if found.len() >= MAX_PROCESSES {
            break;
        }
        let below = fs::read_dir(&folder).into_iter().flatten().flatten();
        let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.extend(below.map(|entry| entry.path()).take(MAX_CGROUPS.saturating_sub(folders.len())));
    }
    found.truncate(MAX_PROCESSES);
    found
}

/// The processes of one cgroup, none where it is gone. One of another PID namespace shows as 0.
fn pids(folder: &Path) -> Vec<u32> {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect()
}

/// When it started, in ticks since boot: the 22nd field of proc_pid_stat(5). The second one is a name in parentheses
/// that may hold anything, spaces too.
fn start_time(proc: &Path) -> Option<u64> {
    let stat = fs::read_to_string(proc.join("stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_start_time_is_read_past_the_name() {
        let started = start_time(Path::new("/proc/self")).unwrap();
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let name_end = stat.rfind(')').unwrap();
        assert_eq!(stat[name_end + 2..].split(' ').nth(19).unwrap(), started.to_string());
        assert!(start_time(Path::new("/proc/0")).is_none());
    }
}
