//! The mesh's certificate authority: it attests callers and signs short-lived X.509 SVIDs for the workloads that they
//! are entitled to, and for the mesh's own programs. It decides who *is* someone, never who may talk to whom, and it
//! knows nothing of the mesh's configuration.
//!
//! - [`issue`] is pure: keys and times in, certificates out;
//! - [`keys`] keeps root and intermediate, in a directory or a Secret, and publishes the bundle;
//! - [`attest`] answers who calls and what runs where;
//! - [`serve`] is the gRPC service over them.

pub mod attest;
pub mod issue;
pub mod keys;
pub mod kubernetes;
pub mod serve;
mod watch;
