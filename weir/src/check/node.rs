//! `weir check --node`: what the API server does not know of a node, looked at on the node itself.

use std::fs;
use std::path::Path;

use super::finding::{Area, Finding};
use super::nodes;

/// mesh-node sees the node's cgroups and eBPF pins below these.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const BPF_ROOT: &str = "/sys/fs/bpf";
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// Numbers as in linux/capability.h; the chart gives mesh-node these and says what each is for.
const CAPABILITIES: &[(u8, &str)] =
    &[(12, "CAP_NET_ADMIN"), (13, "CAP_NET_RAW"), (19, "CAP_SYS_PTRACE"), (21, "CAP_SYS_ADMIN")];
/// What the kernel must have been built with.
const OPTIONS: &[&str] = &["CONFIG_BPF_SYSCALL", "CONFIG_CGROUP_BPF"];

/// What was read on the node.
#[derive(Debug, Default)]
pub(super) struct Local {
    pub(super) release: String,
    pub(super) architecture: String,
    /// /proc/self/mounts.
    pub(super) mounts: String,
    /// /proc/self/status.
    pub(super) status: String,
    /// /sys/kernel/security/lockdown; empty where there is none.
    pub(super) lockdown: String,
    /// The kernel's build options, where they are beside it.
    pub(super) options: Option<String>,
    pub(super) has_btf: bool,
}

pub(super) fn look() -> anyhow::Result<Local> {
    let uname = nix::sys::utsname::uname()?;
    let release = uname.release().to_string_lossy().into_owned();
    Ok(Local {
        options: fs::read_to_string(format!("/boot/config-{release}")).ok(),
        release,
        architecture: uname.machine().to_string_lossy().into_owned(),
        mounts: fs::read_to_string("/proc/self/mounts")?,
        status: fs::read_to_string("/proc/self/status")?,
        lockdown: fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default(),
        has_btf: Path::new(BTF).exists(),
    })
}

pub(super) fn findings(local: &Local) -> Vec<Finding> {
    let mut findings = Vec::new();
    match nodes::kernel("", &local.release) {
        Some(finding) => findings.push(finding),
        None => findings.push(Finding::ok(Area::Nodes, format!("Linux {}", local.release))),
    }
    if local.architecture != "x86_64" {
        let message =
            format!("the architecture is {}, and Weir is built for x86_64 only", local.architecture);
        let advice =
            "keep mesh-node off it with the chart's value node.nodeSelector (kubernetes.io/arch: amd64)";
        findings.push(Finding::warning(Area::Nodes, "", message, advice));
    }
    findings.extend(options(local));
    findings.push(btf(local));
    findings.push(mount(
        local,
        "cgroup2",
        CGROUP_ROOT,
        "the eBPF programs are attached to the pods' cgroup of version 2",
        "boot with systemd.unified_cgroup_hierarchy=1, or mount it: mount -t cgroup2 none /sys/fs/cgroup/unified",
    ));
    findings.push(mount(
        local,
        "bpf",
        BPF_ROOT,
        "the programs are pinned there, so that traffic is refused and not sent in clear while mesh-node restarts",
        "mount it at each start of the node: mount -t bpf bpf /sys/fs/bpf",
    ));
    findings.push(capabilities(local));
    if local.lockdown.contains("[confidentiality]") {
        findings.push(Finding::error(
            Area::Nodes,
            "",
            "the kernel is locked down for confidentiality (/sys/kernel/security/lockdown), where eBPF programs may not read",
            "boot with lockdown=integrity, or none",
        ));
    }
    findings
}

fn options(local: &Local) -> Option<Finding> {
    let options = local.options.as_ref()?;
    let is_set = |option: &&&str| options.lines().any(|line| line == format!("{option}=y"));
    let missing: Vec<&str> = OPTIONS.iter().filter(|option| !is_set(option)).copied().collect();
    (!missing.is_empty()).then(|| {
        Finding::error(
            Area::Nodes,
            "",
            format!("the kernel is built without {}", missing.join(" and ")),
            "use a kernel that has it, as those of the distributions do",
        )
    })
}

fn btf(local: &Local) -> Finding {
    if local.has_btf {
        return Finding::ok(Area::Nodes, "the kernel tells its types (BTF)");
    }
    Finding::warning(
        Area::Nodes,
        "",
        format!("the kernel does not tell its types (there is no {BTF}); Weir is not tried on such kernels"),
        "prefer a kernel built with CONFIG_DEBUG_INFO_BTF=y, as those of the distributions are",
    )
}

/// Whether a filesystem of this kind is mounted at `root` or below it.
fn mount(local: &Local, kind: &str, root: &str, why: &str, advice: &str) -> Finding {
    let mut places = local.mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, found) = (fields.next()?, fields.next()?);
        (found == kind).then_some(place)
    });
    match places.find(|place| Path::new(place).starts_with(root)) {
        Some(place) => Finding::ok(Area::Nodes, format!("{kind} is mounted at {place}")),
        None => {
            Finding::error(Area::Nodes, "", format!("no {kind} is mounted at {root} or below: {why}"), advice)
        }
    }
}

/// The bounding set: what a container on the node can be given at most, as far as this process can see.
fn capabilities(local: &Local) -> Finding {
    let line = local.status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let Some(bounding) = line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()) else {
        let advice = "run weir check --node on the node itself, with /proc mounted";
        return Finding::warning(Area::Nodes, "", "/proc/self/status tells no capabilities", advice);
    };
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        .filter(|(number, _)| bounding & (1 << number) == 0)
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Finding::ok(Area::Nodes, "the capabilities that mesh-node is given can be had");
    }
    Finding::error(
        Area::Nodes,
        "",
        format!("{} cannot be had here, which mesh-node needs", missing.join(" and ")),
        "run weir check --node on the node itself, not in a container; if it was, lift what bounds the node's capabilities",
    )
}
