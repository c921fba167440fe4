//! A configuration with every resource encoded once, however many nodes it is sent to.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mesh_ir::config::MeshConfig;
use mesh_ir::map::SharedMap;
use mesh_ir::resource::{Resource, ResourceKey};
use sha2::{Digest, Sha256};

use crate::convert::encode;
use crate::session::MAX_MESSAGE_BYTES;

/// The most that one encoded resource may have: more than Kubernetes stores of one object (1.5 MiB). With its key and the
/// message around it, it fits in `2 * MAX_MESSAGE_BYTES`, which is what a receiver is to allow.
pub const MAX_RESOURCE_BYTES: usize = 2 * MAX_MESSAGE_BYTES - 4096;

#[derive(Clone, Debug)]
pub struct Encoded {
    pub body: Bytes,
    /// A hash of the body: the same in every process of every replica.
    pub version: u64,
}

#[derive(Debug, Default)]
pub struct EncodedConfig {
    /// What this was made from.
    config: MeshConfig,
    resources: SharedMap<ResourceKey, Encoded>,
    /// Of all keys and their versions, so that a change of one is added and taken off without the others.
    sum: u128,
    changed: usize,
    oversized: BTreeMap<ResourceKey, Oversized>,
}

/// A resource that is too large to send; the nodes keep what they had under its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{key} takes {bytes} bytes encoded, and no more than {MAX_RESOURCE_BYTES} can be sent to a node: make it smaller"
)]
pub struct Oversized {
    pub key: ResourceKey,
    pub bytes: usize,
}

impl EncodedConfig {
    pub fn new(config: &MeshConfig) -> Self {
        Self::default().next(config)
    }

    /// Encodes what follows `self`, and only what differs from it.
    pub fn next(&self, config: &MeshConfig) -> Self {
        let mut next = Self {
            config: config.clone(),
            resources: self.resources.clone(),
            sum: self.sum,
            changed: 0,
            oversized: self.oversized.clone(),
        };
        let same = |a: &Arc<Resource>, b: &Arc<Resource>| Arc::ptr_eq(a, b) || a == b;
        for change in self.config.resources.changes_to(&config.resources, same) {
            next.oversized.remove(change.key);
            match change.after.map(|resource| Encoded::new(resource)) {
                None => next.set(change.key, None),
                Some(Ok(encoded)) => next.set(change.key, Some(encoded)),
                Some(Err(bytes)) => {
                    let oversized = Oversized { key: change.key.clone(), bytes };
                    next.oversized.insert(change.key.clone(), oversized);
                }
            }
        }
        next
    }

    fn set(&mut self, key: &ResourceKey, encoded: Option<Encoded>) {
        let version = encoded.as_ref().map(|encoded| encoded.version);
        let before = match encoded {
            Some(encoded) => self.resources.insert(key.clone(), encoded),
            None => self.resources.remove(key),
        };
        let before = before.map(|encoded| encoded.version);
        self.changed += usize::from(before != version);
        let term = |version: Option<u64>| version.map_or(0, |version| term(key, version));
        self.sum = self.sum.wrapping_sub(term(before)).wrapping_add(term(version));
    }

    /// A hash of all keys and their versions.
    pub fn version(&self) -> u64 {
        truncate(Sha256::digest(self.sum.to_le_bytes()))
    }

    /// How many resources differ from the configuration that this one was made from, those that are gone included.
    pub fn changed(&self) -> usize {
        self.changed
    }

    /// In the order of their keys.
    pub fn oversized(&self) -> impl Iterator<Item = &Oversized> {
        self.oversized.values()
    }

    pub fn get(&self, key: &ResourceKey) -> Option<&Encoded> {
        self.resources.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ResourceKey, &Encoded)> {
        self.resources.iter()
    }

    /// The keys that `target` has otherwise, in their order, and whether it has them at all. What both share is not
    /// looked at, however many configurations lie between them.
    pub(crate) fn changes_to<'a>(
        &'a self,
        target: &'a Self,
    ) -> impl Iterator<Item = (&'a ResourceKey, bool)> {
        let changes = self.resources.changes_to(&target.resources, |a, b| a.version == b.version);
        changes.into_iter().map(|change| (change.key, change.after.is_some()))
    }
}

impl Encoded {
    /// Fails with the number of bytes where that is too many.
    fn new(resource: &Resource) -> Result<Self, usize> {
        let body = encode(resource);
        if body.len() > MAX_RESOURCE_BYTES {
            return Err(body.len());
        }
        Ok(Self { version: truncate(Sha256::digest(&body)), body })
    }
}

/// What one key at one version adds to the sum. 128 bits of it are kept, so that two configurations with the same sum do
/// not happen.
fn term(key: &ResourceKey, version: u64) -> u128 {
    let mut hash = Sha256::new();
    hash.update(key.to_string());
    // No key holds a zero byte, so that no two entries give the same bytes.
    hash.update([0]);
    hash.update(version.to_le_bytes());
    hash.finalize().iter().take(16).fold(0, |value, byte| value << 8 | u128::from(*byte))
}

fn truncate(digest: impl AsRef<[u8]>) -> u64 {
    digest.as_ref().iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}
