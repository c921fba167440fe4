//! Where a lab keeps its things: the state folder, the network namespaces and the cgroups that bear its name.
//!
//! Only names and paths; nothing here touches the machine.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The folder that holds one folder per lab.
pub(crate) const STATE_ROOT: &str = "/run/weir-lab";
/// Where `ip netns` keeps named network namespaces.
pub(crate) const NETNS_ROOT: &str = "/run/netns";
/// The alias that marks a link of the host as a lab's; the lab's name follows it.
pub(crate) const LINK_ALIAS: &str = "weir-lab:";

/// A lab's name: a DNS label of at most 32 characters, so that it fits every name that is built from it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LabName(String);

impl LabName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for LabName {
    fn default() -> Self {
        Self("lab".to_owned())
    }
}

impl FromStr for LabName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shaped = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let edges = !text.starts_with('-') && !text.ends_with('-');
        if text.is_empty() || text.len() > 32 || !shaped || !edges {
            return Err(format!(
                "a lab's name is 1 to 32 lower-case letters, digits and inner hyphens; {text:?} is not"
            ));
        }
        Ok(LabName(text.to_owned()))
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The paths of one lab.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    name: LabName,
}

impl Layout {
    pub(crate) fn new(name: LabName) -> Self {
        Layout { name }
    }

    pub(crate) fn name(&self) -> &LabName {
        &self.name
    }

    pub(crate) fn state(&self) -> PathBuf {
        Path::new(STATE_ROOT).join(self.name.as_str())
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.state().join("lock")
    }

    pub(crate) fn description(&self) -> PathBuf {
        self.state().join("lab.json")
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.state().join("control.sock")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.state().join("objects")
    }

    /// Files are written here and then renamed into `objects`, so that a watcher never sees half of one.
    pub(crate) fn staging(&self) -> PathBuf {
        self.state().join("staging")
    }

    pub(crate) fn published(&self) -> PathBuf {
        self.state().join("published")
    }

    pub(crate) fn published_objects(&self) -> PathBuf {
        self.published().join("objects")
    }

    pub(crate) fn tokens(&self) -> PathBuf {
        self.state().join("tokens")
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.state().join("ca")
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.authority().join("bundle.pem")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.state().join("logs")
    }

    pub(crate) fn program_log(&self, program: &str) -> PathBuf {
        self.logs().join(format!("{program}.log"))
    }

    pub(crate) fn pod_logs(&self) -> PathBuf {
        self.logs().join("pods")
    }

    pub(crate) fn container_log(&self, namespace: &str, pod: &str, container: &str) -> PathBuf {
        self.pod_logs().join(format!("{namespace}_{pod}_{container}.log"))
    }

    pub(crate) fn node(&self, node: u8) -> PathBuf {
        self.state().join(node_name(node))
    }

    pub(crate) fn node_bpf(&self, node: u8) -> PathBuf {
        self.node(node).join("bpf")
    }

    pub(crate) fn node_admin(&self, node: u8) -> PathBuf {
        self.node(node).join("admin.sock")
    }

    pub(crate) fn node_pods(&self, node: u8) -> PathBuf {
        self.node(node).join("pods")
    }

    /// The file that a pod's network namespace is bound to.
    pub(crate) fn pod_netns(&self, node: u8, uid: &str) -> PathBuf {
        self.node_pods(node).join(uid)
    }

    /// The folder of the files that a pod sees in place of the machine's under `/etc`.
    pub(crate) fn pod_etc(&self, node: u8, uid: &str) -> PathBuf {
        self.node(node).join("etc").join(uid)
    }

    pub(crate) fn operator_admin(&self) -> PathBuf {
        self.state().join("operator.sock")
    }

    pub(crate) fn lan_netns(&self) -> String {
        format!("weir-{}-lan", self.name)
    }

    pub(crate) fn node_netns(&self, node: u8) -> String {
        format!("weir-{}-{}", self.name, node_name(node))
    }

    pub(crate) fn node_netns_path(&self, node: u8) -> PathBuf {
        Path::new(NETNS_ROOT).join(self.node_netns(node))
    }

    /// The lab's cgroup, relative to the cgroup v2 mount.
    pub(crate) fn cgroup(&self) -> String {
        format!("weir-lab-{}", self.name)
    }
}

pub(crate) fn node_name(node: u8) -> String {
    format!("node-{node}")
}

/// The lab that a named network namespace belongs to, if it is one that a lab makes.
///
/// Read from the end, because a lab's name may itself end in `-lan` or `-node-1`.
pub(crate) fn lab_of_netns(netns: &str) -> Option<LabName> {
    let rest = netns.strip_prefix("weir-")?;
    let name = rest.strip_suffix("-lan").or_else(|| {
        let (name, number) = rest.rsplit_once("-node-")?;
        number.parse::<u8>().ok().map(|_| name)
    })?;
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netns_names_tell_labs_with_similar_names_apart() {
        let lab = |netns| lab_of_netns(netns).map(|name| name.to_string());
        assert_eq!(lab("weir-lab-node-1").as_deref(), Some("lab"));
        assert_eq!(lab("weir-lab-node-node-2").as_deref(), Some("lab-node"));
        assert_eq!(lab("weir-a-lan-lan").as_deref(), Some("a-lan"));
        assert_eq!(lab("weir-lab-node-x"), None);
        assert_eq!(lab("other-lan"), None);
    }

    #[test]
    fn lab_names_that_do_not_fit_are_refused() {
        for bad in ["", "-a", "a-", "A", "a_b", "a/b", "..", &"x".repeat(33)] {
            assert!(bad.parse::<LabName>().is_err(), "{bad:?} was accepted");
        }
        assert!("lab-2".parse::<LabName>().is_ok());
    }
}
