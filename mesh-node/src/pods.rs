//! Which pods are on this node, each with its network namespace. Two sources say it: [`folder`], where the lab puts the
//! namespaces as files, and [`cgroup`], where the kubelet makes a cgroup for each pod. What is done with a pod is not
//! decided here; [`routing`] is what its namespace needs before it is, [`addresses`] which addresses it has.

use std::collections::BTreeMap;

use mesh_ir::name::Uid;

use crate::netns::Netns;

pub mod addresses;
pub mod cgroup;
pub mod folder;
pub mod root;
pub mod routing;

/// The pods that there are now: all of them, each time that something changed. A pod whose namespace is another one than
/// before was started anew under its old UID.
pub type Pods = BTreeMap<Uid, Netns>;
