//! What the lab does to the machine: commands, namespaces, cgroups, processes. Each piece performs one thing that has
//! been decided elsewhere, and decides nothing.

pub(crate) mod cgroup;
pub(crate) mod command;
pub(crate) mod enter;
pub(crate) mod netns;
pub(crate) mod network;
pub(crate) mod probe;
pub(crate) mod process;
