//! The tests that need more than one program, and the demo: a harness around the real `weir lab`, the log lines and metrics
//! of its programs as types, and a look at the frames on the link between two nodes.
//!
//! It contains no part of the mesh and links none: it runs the built programs as a person would.

pub mod error;
pub mod lab;
pub mod link;
pub mod wait;
