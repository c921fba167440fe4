//! The whole configuration, and the difference between two of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::resource::{Resource, ResourceKey};

/// Every resource of the mesh, each under its key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MeshConfig {
    pub resources: BTreeMap<ResourceKey, Arc<Resource>>,
}

/// What makes one configuration into another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    pub upserts: Vec<Arc<Resource>>,
    pub removes: Vec<ResourceKey>,
}

impl Delta {
    pub fn is_empty(&self) -> bool {
        self.upserts.is_empty() && self.removes.is_empty()
    }
}

impl MeshConfig {
    pub fn apply(&mut self, delta: &Delta) {
        for resource in &delta.upserts {
            self.resources.insert(resource.key(), resource.clone());
        }
        for key in &delta.removes {
            self.resources.remove(key);
        }
    }
}

impl FromIterator<Resource> for MeshConfig {
    fn from_iter<I: IntoIterator<Item = Resource>>(resources: I) -> Self {
        Self { resources: resources.into_iter().map(|r| (r.key(), Arc::new(r))).collect() }
    }
}

/// What `old` needs to become `new`, in the order of the keys.
pub fn diff(old: &MeshConfig, new: &MeshConfig) -> Delta {
    let changed = |key: &ResourceKey, resource: &Arc<Resource>| {
        old.resources.get(key).is_none_or(|before| !Arc::ptr_eq(before, resource) && before != resource)
    };
    Delta {
        upserts: new.resources.iter().filter(|(k, r)| changed(k, r)).map(|(_, r)| r.clone()).collect(),
        removes: old.resources.keys().filter(|k| !new.resources.contains_key(*k)).cloned().collect(),
    }
}
