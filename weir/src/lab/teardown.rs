//! Taking a lab away, whoever made it and however far it got: from its state folder and from names that only labs bear.
//! Every step does nothing where nothing is left, so it can be done again.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};

use super::act::{cgroup, command, enter};
use super::layout::{LINK_ALIAS, LabName, Layout, NETNS_ROOT, STATE_ROOT, lab_of_netns};

/// How long killed processes may take to be gone.
const KILL_BOUND: Duration = Duration::from_secs(20);

/// Removes everything of the lab: its processes, links, namespaces, mounts, cgroups and files. Goes on after an error, and
/// reports the first.
pub(crate) async fn remove(layout: &Layout) -> io::Result<()> {
    let group = cgroup::mount_point()?.join(layout.cgroup());
    let state = layout.state();
    let results = [
        cgroup::kill(&group, KILL_BOUND).await,
        remove_links(layout.name()),
        remove_netns(layout.name()),
        unmount_below(&state),
        cgroup::remove(&group),
        remove_state(&state),
    ];
    results.into_iter().collect()
}

/// The labs that have something on this machine, by whatever is left of them.
pub(crate) fn present() -> io::Result<Vec<LabName>> {
    let mut names = Vec::new();
    let entries = |folder: &Path| -> Vec<String> {
        let read = fs::read_dir(folder).into_iter().flatten().flatten();
        read.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    };
    names.extend(entries(Path::new(STATE_ROOT)).into_iter().filter_map(|name| name.parse().ok()));
    names.extend(entries(Path::new(NETNS_ROOT)).iter().filter_map(|netns| lab_of_netns(netns)));
    let groups = entries(&cgroup::mount_point()?);
    names.extend(groups.iter().filter_map(|group| group.strip_prefix("weir-lab-")?.parse().ok()));
    names.extend(lab_links()?.into_iter().map(|(_, lab)| lab));
    names.sort();
    names.dedup();
    Ok(names)
}

/// Whether the lab's supervisor lives: it holds a lock on a file of the lab's.
pub(crate) fn is_alive(layout: &Layout) -> io::Result<bool> {
    let file = match fs::File::open(layout.lock()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    match file.try_lock() {
        Ok(()) => Ok(false),
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

fn remove_links(lab: &LabName) -> io::Result<()> {
    for (link, _) in lab_links()?.into_iter().filter(|(_, owner)| owner == lab) {
        tolerate(command::ip_here(&format!("link del {link}\n")), "Cannot find device")?;
    }
    Ok(())
}

/// The links of the machine that belong to labs, with the labs' names.
fn lab_links() -> io::Result<Vec<(String, LabName)>> {
    let links: Vec<serde_json::Value> = serde_json::from_slice(&command::ip_output(&["-j", "link"])?)?;
    let owned = links.iter().filter_map(|link| {
        let lab = link["ifalias"].as_str()?.strip_prefix(LINK_ALIAS)?.parse().ok()?;
        Some((link["ifname"].as_str()?.to_owned(), lab))
    });
    Ok(owned.collect())
}

fn remove_netns(lab: &LabName) -> io::Result<()> {
    let entries = match fs::read_dir(NETNS_ROOT) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if lab_of_netns(&name).as_ref() == Some(lab) {
            tolerate(command::ip_here(&format!("netns del {name}\n")), "No such file")?;
        }
    }
    Ok(())
}

fn unmount_below(folder: &Path) -> io::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    // Later mounts may lie on earlier ones, so they go first.
    for point in table.lines().rev().filter_map(enter::mount_point) {
        let point = Path::new(&point);
        if point.starts_with(folder) {
            umount2(point, MntFlags::MNT_DETACH)?;
        }
    }
    Ok(())
}

fn remove_state(state: &Path) -> io::Result<()> {
    match fs::remove_dir_all(state) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Takes an error that says the thing is gone already for success.
fn tolerate(result: io::Result<()>, gone: &str) -> io::Result<()> {
    match result {
        Err(e) if e.to_string().contains(gone) => Ok(()),
        other => other,
    }
}
