//! The tests that need more than one program, and the demo: harnesses around the real `weir lab` and around the Kubernetes of
//! `make cluster`, the log lines and metrics of the programs as types, and a look at the frames on the link between two nodes.
//!
//! It contains no part of the mesh and links none: it runs the built programs as a person would.

pub mod cluster;
pub mod error;
pub mod lab;
pub mod link;
pub mod steps;
pub mod wait;
