//! The generated messages and gRPC service of `proto/config.proto`, and the Debug of those that hold secrets.

#![allow(missing_debug_implementations, unreachable_pub, clippy::all)]

use std::fmt;

tonic::include_proto!("weir.config.v1alpha1");

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for CollectorHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorHeader").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Upsert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Upsert");
        shown.field("key", &self.key).field("version", &self.version).field("bytes", &self.body.len());
        shown.finish_non_exhaustive()
    }
}
