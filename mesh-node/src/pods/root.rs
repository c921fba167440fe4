//! Where cgroups (v2) are, and where the kubelet keeps its pods' among them, when nobody says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// By the kubelet's cgroup drivers: cgroupfs, and systemd.
const NAMES: [&str; 2] = ["kubepods", "kubepods.slice"];

/// Where the cgroup v2 hierarchy is mounted, maybe several times.
pub fn mounts() -> io::Result<Vec<PathBuf>> {
    Ok(mounts_in(&fs::read_to_string("/proc/mounts")?).map(PathBuf::from).collect())
}

/// The kubelet's that there is at the root of a mounted cgroup v2 hierarchy.
pub fn find() -> io::Result<PathBuf> {
    find_in(&fs::read_to_string("/proc/mounts")?)
}

fn mounts_in(mounts: &str) -> impl Iterator<Item = &Path> {
    mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (path, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| Path::new(path))
    })
}

fn find_in(mounts: &str) -> io::Result<PathBuf> {
    let roots = mounts_in(mounts);
    let candidates: Vec<PathBuf> = roots.flat_map(|root| NAMES.map(|name| root.join(name))).collect();
    candidates.iter().find(|folder| folder.is_dir()).cloned().ok_or_else(|| {
        let looked: Vec<String> = candidates.iter().map(|folder| folder.display().to_string()).collect();
        let looked = if looked.is_empty() { "no cgroup v2 is mounted".to_owned() } else { looked.join(", ") };
        let text = format!(
            "the kubelet's cgroup is not found ({looked}); say --cgroup, in the chart node.cgroupRoot"
        );
        io::Error::new(io::ErrorKind::NotFound, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_the_kubelets_folder_where_cgroup_v2_is_mounted() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display();
        let mounts = format!(
            "proc /proc proc rw 0 0\ncgroup {root}/v1 cgroup rw 0 0\ncgroup2 {root} cgroup2 rw 0 0\n"
        );
        let error = find_in(&mounts).unwrap_err().to_string();
        assert!(error.contains("kubepods.slice") && error.contains("node.cgroupRoot"), "{error}");
        fs::create_dir(folder.path().join("kubepods.slice")).unwrap();
        assert_eq!(find_in(&mounts).unwrap(), folder.path().join("kubepods.slice"));
        assert!(find_in("").unwrap_err().to_string().contains("no cgroup v2"));
    }
}
