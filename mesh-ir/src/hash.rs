//! A map by texts that is asked often and changed seldom, one key at a time: looking up costs a hash and a few steps, and copies
//! share what they have in common, as those of a [`SharedMap`](crate::map::SharedMap) do.
//!
//! It is a trie by the bits of the hash, from the lowest: a leaf holds a few entries, a branch one child for each value
//! of its bits.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::FixedState;

/// Of the hash, for each level.
const BITS: u32 = 4;
const CHILDREN: usize = 1 << BITS;
/// A leaf with more is divided, where the hash has bits left to do it by.
const MOST: usize = 8;
/// A branch with fewer below it becomes a leaf.
const FEW: usize = MOST / 2;

#[derive(Clone, Debug)]
pub(crate) struct SharedHash<V> {
    root: Node<V>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<V> {
    Leaf(Arc<Vec<Entry<V>>>),
    Branch(Arc<[Self; CHILDREN]>),
}

#[derive(Clone, Debug)]
struct Entry<V> {
    hash: u64,
    key: Arc<str>,
    value: V,
}

impl<V> SharedHash<V> {
    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        let hash = hash(key);
        let mut node = &self.root;
        let mut rest = hash;
        while let Node::Branch(children) = node {
            node = &children[child_of(rest)];
            rest >>= BITS;
        }
        let Node::Leaf(entries) = node else { unreachable!("what is no branch is a leaf") };
        let found = entries.iter().find(|entry| entry.hash == hash && *entry.key == *key);
        found.map(|entry| &entry.value)
    }

    /// In no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &V)> {
        let mut stack = vec![&self.root];
        let mut entries = [].iter();
        std::iter::from_fn(move || {
            loop {
                if let Some(Entry { key, value, .. }) = entries.next() {
                    return Some((key, value));
                }
                match stack.pop()? {
                    Node::Leaf(leaf) => entries = leaf.iter(),
                    Node::Branch(children) => stack.extend(children.iter()),
                }
            }
        })
    }
}

impl<V: Clone> SharedHash<V> {
    pub(crate) fn insert(&mut self, key: Arc<str>, value: V) -> Option<V> {
        let entry = Entry { hash: hash(&key), key, value };
        let before = self.root.insert(entry, 0);
        self.len += usize::from(before.is_none());
        before
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<V> {
        // Nothing is copied for a key that is not there.
        self.get(key)?;
        let before = self.root.remove(hash(key), key, 0);
        self.len -= usize::from(before.is_some());
        before
    }
}

fn hash(key: &str) -> u64 {
    // Whoever writes the configuration chooses the keys; clients, who only ask, cannot make any of them alike.
    FixedState::default().hash_one(key)
}

fn child_of(hash: u64) -> usize {
    hash as usize % CHILDREN
}

impl<V: Clone> Node<V> {
    /// `depth` is the number of bits that have led here.
    fn insert(&mut self, entry: Entry<V>, depth: u32) -> Option<V> {
        match self {
            Self::Branch(children) => {
                let child = &mut Arc::make_mut(children)[child_of(entry.hash >> depth)];
                child.insert(entry, depth + BITS)
            }
            Self::Leaf(entries) => {
                let entries = Arc::make_mut(entries);
                if let Some(known) = entries.iter_mut().find(|known| known.is(entry.hash, &entry.key)) {
                    return Some(std::mem::replace(&mut known.value, entry.value));
                }
                entries.push(entry);
                if entries.len() > MOST && depth + BITS <= u64::BITS {
                    *self = Self::divided(std::mem::take(entries), depth);
                }
                None
            }
        }
    }

    fn divided(entries: Vec<Entry<V>>, depth: u32) -> Self {
        let mut children: [Vec<Entry<V>>; CHILDREN] = std::array::from_fn(|_| Vec::new());
        for entry in entries {
            children[child_of(entry.hash >> depth)].push(entry);
        }
        Self::Branch(Arc::new(children.map(|entries| {
            match entries.len() > MOST && depth + 2 * BITS <= u64::BITS {
                true => Self::divided(entries, depth + BITS),
                false => Self::Leaf(Arc::new(entries)),
            }
        })))
    }

    fn remove(&mut self, hash: u64, key: &str, depth: u32) -> Option<V> {
        match self {
            Self::Leaf(entries) => {
                let place = entries.iter().position(|known| known.is(hash, key))?;
                Some(Arc::make_mut(entries).swap_remove(place).value)
            }
            Self::Branch(children) => {
                let children = Arc::make_mut(children);
                let before = children[child_of(hash >> depth)].remove(hash, key, depth + BITS);
                let below = children.iter().map(|child| match child {
                    Self::Leaf(entries) => entries.len(),
                    Self::Branch(_) => MOST,
                });
                if below.sum::<usize>() < FEW {
                    let entries = children.iter().flat_map(|child| match child {
                        Self::Leaf(entries) => entries.iter().cloned(),
                        Self::Branch(_) => unreachable!("a branch has more below it"),
                    });
                    *self = Self::Leaf(Arc::new(entries.collect()));
                }
                before
            }
        }
    }
}

impl<V> Entry<V> {
    fn is(&self, hash: u64, key: &str) -> bool {
        self.hash == hash && *self.key == *key
    }
}

impl<V> Default for SharedHash<V> {
    fn default() -> Self {
        Self { root: Node::Leaf(Arc::default()), len: 0 }
    }
}

impl<V: PartialEq> PartialEq for SharedHash<V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hash_holds_what_a_map_holds_and_copies_keep_what_they_had(
            steps in proptest::collection::vec((0..200_u16, any::<bool>(), any::<bool>()), 0..600),
        ) {
            let (mut shared, mut expected) = (SharedHash::default(), BTreeMap::new());
            let mut copies = Vec::new();
            for (number, (key, inserts, keeps)) in steps.into_iter().enumerate() {
                let key: Arc<str> = key.to_string().into();
                let (before, known) = match inserts {
                    true => (shared.insert(key.clone(), number), expected.insert(key, number)),
                    false => (shared.remove(&key), expected.remove(&key)),
                };
                prop_assert_eq!(before, known);
                if keeps {
                    copies.push((shared.clone(), expected.clone()));
                }
            }
            copies.push((shared, expected));
            for (shared, expected) in copies {
                let found: BTreeMap<Arc<str>, usize> = shared.iter().map(|(k, v)| (k.clone(), *v)).collect();
                prop_assert_eq!(&found, &expected);
                for key in (0..200_u16).map(|key| key.to_string()) {
                    prop_assert_eq!(shared.get(&key), expected.get(&*key));
                }
                // However it came about.
                let mut again = SharedHash::default();
                for (key, value) in &expected {
                    again.insert(key.clone(), *value);
                }
                prop_assert_eq!(shared, again);
            }
        }
    }

    #[test]
    fn hash_of_keys_that_are_alike_in_every_bit_holds_them_all() {
        let mut node = Node::Leaf(Arc::default());
        for number in 0..100_usize {
            let entry = Entry { hash: 7, key: number.to_string().into(), value: number };
            assert_eq!(node.insert(entry, 0), None);
        }
        assert!((0..100).all(|number: usize| node.remove(7, &number.to_string(), 0) == Some(number)));
        assert!(matches!(node, Node::Leaf(entries) if entries.is_empty()));
    }
}
