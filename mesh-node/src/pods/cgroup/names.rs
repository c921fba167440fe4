//! What the kubelet names its cgroups, for both of its drivers.

use mesh_ir::name::Uid;

/// What a cgroup is, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Holds pods, or folders of pods: of a QoS class, or all of them.
    Folder,
    Pod(Uid),
}

pub(super) fn place(name: &str) -> Option<Place> {
    let uid = match name.strip_suffix(".slice") {
        // systemd reads a dash in a slice's name as a step down, so the kubelet writes the UID's as underscores.
        Some(slice) if slice.contains("kubepods") => match slice.rsplit_once("-pod") {
            Some((_, uid)) => uid.replace('_', "-"),
            None => return Some(Place::Folder),
        },
        Some(_) => return None,
        None if matches!(name, "kubepods" | "burstable" | "besteffort") => return Some(Place::Folder),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    let is_uid = !uid.is_empty() && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    Uid::new(&uid).ok().filter(|_| is_uid).map(Place::Pod)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_drivers_are_known() {
        let uid = "0f3e2d1c-89ab-4cde-8f01-23456789abcd";
        let pod = || Some(Place::Pod(Uid::new(uid).unwrap()));
        let check = |name: &str, expected: Option<Place>| assert_eq!(place(name), expected, "{name}");
        check(&format!("pod{uid}"), pod());
        let slice = uid.replace('-', "_");
        check(&format!("kubepods-pod{slice}.slice"), pod());
        check(&format!("kubepods-burstable-pod{slice}.slice"), pod());
        check(&format!("kubelet-kubepods-besteffort-pod{slice}.slice"), pod());
        for folder in ["kubepods", "burstable", "besteffort", "kubepods.slice", "kubepods-burstable.slice"] {
            check(folder, Some(Place::Folder));
        }
        for other in ["pod", "podman", "system.slice", "user-pod1.slice", "cri-containerd-0f3e.scope", ""] {
            check(other, None);
        }
    }
}
