//! The capabilities that the node needs, looked at before anything is done: the kernel's own refusals name none. A
//! capability that is there may still be withheld by a security profile; that shows where it is used.

use std::fs;
use std::io;

/// A capability, by its number in linux/capability.h, and what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    number: u8,
    name: &'static str,
    reason: &'static str,
}

const NET_ADMIN: Capability = Capability {
    number: 12,
    name: "CAP_NET_ADMIN",
    reason: "attaches the eBPF programs, and makes sockets and rules in the pods' network namespaces",
};
const NET_RAW: Capability =
    Capability { number: 13, name: "CAP_NET_RAW", reason: "tells neighbours where a Gateway's address is" };
const SYS_ADMIN: Capability = Capability {
    number: 21,
    name: "CAP_SYS_ADMIN",
    reason: "enters the pods' network namespaces, and includes CAP_BPF, which loads the eBPF programs",
};

/// What nothing can be done without. That pods can be seen is found out where they are looked at.
pub const ALWAYS: &[Capability] = &[NET_ADMIN, SYS_ADMIN];
/// What it takes to announce addresses.
pub const ANNOUNCE: &[Capability] = &[NET_RAW];

#[derive(Debug, thiserror::Error)]
pub enum CapabilityError {
    #[error("cannot read this process's capabilities from /proc/self/status: {0}")]
    Unreadable(io::Error),
    #[error(
        "mesh-node lacks {}: run it as root with these capabilities, as the chart does (securityContext.capabilities.add)",
        listed(.0)
    )]
    Missing(Vec<Capability>),
}

/// Whether this process has all of them.
pub fn check(needed: &[Capability]) -> Result<(), CapabilityError> {
    let status = fs::read_to_string("/proc/self/status").map_err(CapabilityError::Unreadable)?;
    let effective = effective(&status).ok_or_else(|| {
        CapabilityError::Unreadable(io::Error::new(io::ErrorKind::InvalidData, "it has no line CapEff"))
    })?;
    let missing: Vec<Capability> =
        needed.iter().filter(|capability| effective & (1 << capability.number) == 0).copied().collect();
    if missing.is_empty() { Ok(()) } else { Err(CapabilityError::Missing(missing)) }
}

fn effective(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn listed(missing: &[Capability]) -> String {
    let each: Vec<String> = missing.iter().map(|c| format!("{} ({})", c.name, c.reason)).collect();
    each.join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_that_are_missing_are_named() {
        assert_eq!(effective("Name:\tx\nCapPrm:\t00\nCapEff:\t0000000000203000\n"), Some(0x20_3000));
        assert_eq!(effective("Name:\tx\n"), None);
        let error = CapabilityError::Missing(vec![NET_ADMIN, SYS_ADMIN]).to_string();
        assert!(error.contains("CAP_NET_ADMIN (") && error.contains("CAP_SYS_ADMIN ("), "{error}");
        // A capability that no kernel has, and none.
        let unknown = Capability { number: 63, name: "CAP_UNKNOWN", reason: "is in no kernel" };
        assert!(check(&[unknown]).is_err());
        assert!(check(&[]).is_ok());
    }
}
