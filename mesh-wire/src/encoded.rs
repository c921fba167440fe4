//! A configuration with every resource encoded once, however many nodes it is sent to.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use mesh_ir::config::MeshConfig;
use mesh_ir::resource::{Resource, ResourceKey};
use sha2::{Digest, Sha256};

use crate::convert::encode;
use crate::session::MAX_MESSAGE_BYTES;

/// The most that one encoded resource may have: more than Kubernetes stores of one object (1.5 MiB). With its key and the
/// message around it, it fits in `2 * MAX_MESSAGE_BYTES`, which is what a receiver is to allow.
pub const MAX_RESOURCE_BYTES: usize = 2 * MAX_MESSAGE_BYTES - 4096;

#[derive(Clone, Debug)]
pub struct Encoded {
    pub resource: Arc<Resource>,
    pub body: Bytes,
    /// A hash of the body: the same in every process of every replica.
    pub version: u64,
}

#[derive(Debug, Default)]
pub struct EncodedConfig {
    resources: BTreeMap<ResourceKey, Encoded>,
    version: u64,
    /// The version of the configuration this one was made from, and the keys that differ.
    changes: Option<(u64, Vec<ResourceKey>)>,
    oversized: Vec<Oversized>,
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
        let mut first = Self::default().next(config);
        first.changes = None;
        first
    }

    /// Encodes what follows `self`, and only what differs from it.
    pub fn next(&self, config: &MeshConfig) -> Self {
        let mut next = Self::default();
        let mut changed = Vec::new();
        for (key, resource) in &config.resources {
            let before = self.resources.get(key);
            let encoded = match before {
                Some(before) if Arc::ptr_eq(&before.resource, resource) || before.resource == *resource => {
                    Some(before.clone())
                }
                _ => match Encoded::new(resource) {
                    Ok(encoded) => {
                        changed.push(key.clone());
                        Some(encoded)
                    }
                    Err(bytes) => {
                        next.oversized.push(Oversized { key: key.clone(), bytes });
                        before.cloned()
                    }
                },
            };
            next.resources.extend(encoded.map(|encoded| (key.clone(), encoded)));
        }
        changed.extend(self.resources.keys().filter(|key| !next.resources.contains_key(*key)).cloned());
        next.version = version_of(&next.resources);
        next.changes = Some((self.version, changed));
        next
    }

    /// A hash of all keys and their versions.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How many resources differ from the configuration that this one was made from, those that are gone included.
    pub fn changed(&self) -> usize {
        self.changes.as_ref().map_or(self.resources.len(), |(_, keys)| keys.len())
    }

    pub fn oversized(&self) -> &[Oversized] {
        &self.oversized
    }

    pub fn get(&self, key: &ResourceKey) -> Option<&Encoded> {
        self.resources.get(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&ResourceKey, &Encoded)> {
        self.resources.iter()
    }

    /// The keys that differ from `before`, where that is what this configuration was made from.
    pub(crate) fn changes_since(&self, before: &Self) -> Option<&[ResourceKey]> {
        self.changes
            .as_ref()
            .filter(|(version, _)| *version == before.version)
            .map(|(_, keys)| keys.as_slice())
    }
}

impl Encoded {
    /// Fails with the number of bytes where that is too many.
    fn new(resource: &Arc<Resource>) -> Result<Self, usize> {
        let body = encode(resource);
        if body.len() > MAX_RESOURCE_BYTES {
            return Err(body.len());
        }
        Ok(Self { resource: resource.clone(), version: truncate(Sha256::digest(&body)), body })
    }
}

fn version_of(resources: &BTreeMap<ResourceKey, Encoded>) -> u64 {
    let mut hash = Sha256::new();
    for (key, encoded) in resources {
        // No key holds a zero byte, so that no two lists give the same bytes.
        hash.update(key.to_string());
        hash.update([0]);
        hash.update(encoded.version.to_le_bytes());
    }
    truncate(hash.finalize())
}

fn truncate(digest: impl AsRef<[u8]>) -> u64 {
    digest.as_ref().iter().take(8).fold(0, |value, byte| value << 8 | u64::from(*byte))
}
