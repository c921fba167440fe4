//! The CNI plugin that holds a new pod back until mesh-node has captured it, so that no container of the pod starts
//! outside of the mesh: [`plugin`] is what a container runtime calls, [`wire`] how it asks mesh-node, [`conflist`] and
//! [`install`] bring it into a node's network configuration and take it out again.
//!
//! It decides nothing: which pods are in the mesh, and what capturing them means, is mesh-node's to say. It is started
//! for every pod, so it depends on little and starts fast.

pub mod conflist;
pub mod install;
pub mod plugin;
pub mod wire;

/// The plugin's `type` in a network configuration, which by the CNI is the name of its program's file.
pub const PLUGIN: &str = "mesh-cni";
