//! The whole configuration, and the difference between two of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::map::SharedMap;
use crate::resource::{Resource, ResourceKey};

/// Every resource of the mesh, each under its key. A clone costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MeshConfig {
    pub resources: SharedMap<ResourceKey, Arc<Resource>>,
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

/// What `old` needs to become `new`, in the order of the keys. What both share is not looked at.
pub fn diff(old: &MeshConfig, new: &MeshConfig) -> Delta {
    let same = |a: &Arc<Resource>, b: &Arc<Resource>| Arc::ptr_eq(a, b) || a == b;
    let mut delta = Delta::default();
    for change in old.resources.changes_to(&new.resources, same) {
        match change.after {
            Some(resource) => delta.upserts.push(resource.clone()),
            None => delta.removes.push(change.key.clone()),
        }
    }
    delta
}
