//! Values by what a text begins or ends with, however many they are: what is looked up of a text is its beginning, or its
//! end, of each length that one of the keys has.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::hash::SharedHash;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Affixes<V> {
    values: SharedHash<V>,
    /// Of the keys, the longest first, and how many have each.
    lengths: Vec<(usize, usize)>,
}

impl<V: Clone> Affixes<V> {
    /// The values of the keys that `cut` makes of the lengths that there are, those of longer keys first.
    pub(super) fn of<'t>(&self, cut: impl Fn(usize) -> Option<&'t str>) -> impl Iterator<Item = &V> {
        self.lengths.iter().filter_map(move |(length, _)| self.values.get(cut(*length)?))
    }

    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.values.get(key)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.values.iter().map(|(_, value)| value)
    }

    /// Puts a value in the place of that of the key; `None` takes it away.
    pub(super) fn set(&mut self, key: &Arc<str>, value: Option<V>) {
        let place = self.lengths.binary_search_by_key(&Reverse(key.len()), |(length, _)| Reverse(*length));
        match (set(&mut self.values, key, value), place) {
            (Changed::Added, Ok(at)) => self.lengths[at].1 += 1,
            (Changed::Added, Err(at)) => self.lengths.insert(at, (key.len(), 1)),
            (Changed::Removed, Ok(at)) => {
                self.lengths[at].1 -= 1;
                if self.lengths[at].1 == 0 {
                    self.lengths.remove(at);
                }
            }
            (Changed::Removed, Err(_)) | (Changed::Neither, _) => {}
        }
    }
}

/// Which keys a map has since.
pub(super) enum Changed {
    Added,
    Removed,
    Neither,
}

/// Puts a value in the place of that of the key; `None` takes it away.
pub(super) fn set<V: Clone>(map: &mut SharedHash<V>, key: &Arc<str>, value: Option<V>) -> Changed {
    let is_there = value.is_some();
    let before = match value {
        Some(value) => map.insert(key.clone(), value),
        None => map.remove(key),
    };
    match (before.is_some(), is_there) {
        (false, true) => Changed::Added,
        (true, false) => Changed::Removed,
        _ => Changed::Neither,
    }
}

impl<V> Default for Affixes<V> {
    fn default() -> Self {
        Self { values: SharedHash::default(), lengths: Vec::new() }
    }
}
