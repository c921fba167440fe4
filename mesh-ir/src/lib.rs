//! What the mesh is: its resources, how one configuration differs from another, the indexed view of it that a
//! node reads, and `eval`, the meaning of a connection or request in that view.
//!
//! This crate is pure. It holds no I/O, no clock, no Kubernetes type, no protobuf and nothing asynchronous, so
//! that the proxy, `weir explain` and the tests answer every question with the same code.

pub mod config;
pub mod eval;
pub mod grpc;
mod hash;
pub mod map;
pub mod name;
pub mod resource;
pub mod shared;
pub mod view;
