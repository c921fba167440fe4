//! A sorted map whose copies share what they have in common: a copy costs nothing, a change copies the few nodes above
//! what changes, and the difference between two copies is found without looking at what they share.
//!
//! It is a B+ tree. All entries are in its leaves; a branch holds its children, each with a key that no key below it is
//! less than and all keys of the children before it are less than (the first child's is not looked at).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most entries of a leaf, and the most children of a branch.
const MOST: usize = 16;
/// A node with fewer is joined with its neighbour where both fit into one.
const FEW: usize = MOST / 4;

pub struct SharedMap<K, V> {
    root: Arc<Node<K, V>>,
    len: usize,
}

#[derive(Clone)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    Branch(Vec<Child<K, V>>),
}

type Child<K, V> = (K, Arc<Node<K, V>>);

/// What one key has in two maps that do not have the same there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a, K, V> {
    pub key: &'a K,
    pub before: Option<&'a V>,
    pub after: Option<&'a V>,
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (before, split) = Arc::make_mut(&mut self.root).insert(key, value);
        if let Some(right) = split {
            let left = std::mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
            // The first child's key is not looked at.
            self.root = Arc::new(Node::Branch(vec![(right.0.clone(), left), right]));
        }
        self.len += usize::from(before.is_none());
        before
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        // Nothing is copied for a key that is not there.
        self.get(key)?;
        let before = Arc::make_mut(&mut self.root).remove(key)?;
        if let Node::Branch(children) = &mut *Arc::make_mut(&mut self.root)
            && children.len() == 1
            && let Some((_, only)) = children.pop()
        {
            self.root = only;
        }
        self.len -= 1;
        Some(before)
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let place = entries.binary_search_by(|(known, _)| known.borrow().cmp(key)).ok()?;
                    return Some(&entries[place].1);
                }
                Node::Branch(children) => node = &children[child_of(children, key)].1,
            }
        }
    }

    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// The entries whose keys are not less than `first`, in their order.
    pub fn from<Q: Ord + ?Sized>(&self, first: &Q) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        self.after(|key| key.borrow() < first)
    }

    /// The entries whose keys do not come before; those that do are the first ones.
    pub fn after(&self, is_before: impl Fn(&K) -> bool) -> Iter<'_, K, V> {
        let mut rest = Rest { stack: Vec::new() };
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let place = entries.partition_point(|(known, _)| is_before(known));
                    rest.stack.push(Piece::Entries(&entries[place..]));
                    return Iter(rest);
                }
                Node::Branch(children) => {
                    let place = children[1..].partition_point(|(first, _)| is_before(first));
                    rest.stack.extend(children[place + 1..].iter().rev().map(|(_, node)| Piece::Node(node)));
                    node = &children[place].1;
                }
            }
        }
    }

    /// Where two maps differ, in the order of the keys. `same` is asked for the values that a key has in both.
    pub fn changes_to<'a>(&'a self, after: &'a Self, same: impl Fn(&V, &V) -> bool) -> Vec<Change<'a, K, V>> {
        let (mut old, mut new) = (Rest::of(&self.root), Rest::of(&after.root));
        let mut changes = Vec::new();
        loop {
            match (old.stack.last().copied(), new.stack.last().copied()) {
                (None, None) => return changes,
                (Some(Piece::Node(a)), Some(Piece::Node(b))) if Arc::ptr_eq(a, b) => {
                    old.stack.pop();
                    new.stack.pop();
                }
                (Some(Piece::Node(a)), Some(Piece::Node(b))) => {
                    // Nodes that both share stand at the same height; what comes first is looked into first.
                    let (before, after) = (a.order(), b.order());
                    if before <= after {
                        old.open();
                    }
                    if after <= before {
                        new.open();
                    }
                }
                (Some(Piece::Entries(a)), Some(Piece::Entries(b))) => {
                    let (Some((x, old_value)), Some((y, new_value))) = (a.first(), b.first()) else {
                        old.drop_empty();
                        new.drop_empty();
                        continue;
                    };
                    let order = x.cmp(y);
                    let before = order.is_le().then_some(old_value);
                    let after = order.is_ge().then_some(new_value);
                    if !before.zip(after).is_some_and(|(before, after)| same(before, after)) {
                        changes.push(Change { key: if order.is_le() { x } else { y }, before, after });
                    }
                    if order.is_le() {
                        old.advance();
                    }
                    if order.is_ge() {
                        new.advance();
                    }
                }
                // Entries that come before all of a node are the one map's alone.
                (Some(Piece::Entries(a)), b) => match a.first() {
                    None => old.drop_empty(),
                    Some((key, value)) if b.and_then(Piece::first).is_none_or(|first| key < first) => {
                        changes.push(Change { key, before: Some(value), after: None });
                        old.advance();
                    }
                    Some(_) => new.open(),
                },
                (a, Some(Piece::Entries(b))) => match b.first() {
                    None => new.drop_empty(),
                    Some((key, value)) if a.and_then(Piece::first).is_none_or(|first| key < first) => {
                        changes.push(Change { key, before: None, after: Some(value) });
                        new.advance();
                    }
                    Some(_) => old.open(),
                },
                (Some(Piece::Node(_)), None) => old.open(),
                (None, Some(Piece::Node(_))) => new.open(),
            }
        }
    }
}

impl<K, V> SharedMap<K, V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter(Rest::of(&self.root))
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

/// Which child has a key, or would have it.
fn child_of<K: Borrow<Q>, V, Q: Ord + ?Sized>(children: &[Child<K, V>], key: &Q) -> usize {
    children[1..].partition_point(|(first, _)| first.borrow() <= key)
}

/// A node has room for what it may hold before it is divided, and for no more: a list that grows by itself doubles.
fn insert<T>(list: &mut Vec<T>, place: usize, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(MOST + 1 - list.len());
    }
    list.insert(place, item);
}

/// Divides what is too long for one node. What is filled from left to right is left full.
fn split<T>(list: &mut Vec<T>, inserted: usize) -> Option<Vec<T>> {
    let at = if inserted + 1 == list.len() { list.len() - 1 } else { list.len() / 2 };
    (list.len() > MOST).then(|| list.split_off(at))
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    /// Gives the value that was there, and what did not fit.
    fn insert(&mut self, key: K, value: V) -> (Option<V>, Option<Child<K, V>>) {
        match self {
            Self::Leaf(entries) => match entries.binary_search_by(|(known, _)| known.cmp(&key)) {
                Ok(place) => (Some(std::mem::replace(&mut entries[place].1, value)), None),
                Err(place) => {
                    insert(entries, place, (key, value));
                    let right = split(entries, place);
                    (None, right.map(|right| (right[0].0.clone(), Arc::new(Self::Leaf(right)))))
                }
            },
            Self::Branch(children) => {
                let place = child_of(children, &key);
                let (before, right) = Arc::make_mut(&mut children[place].1).insert(key, value);
                let Some(right) = right else { return (before, None) };
                insert(children, place + 1, right);
                let right = split(children, place + 1);
                (before, right.map(|right| (right[0].0.clone(), Arc::new(Self::Branch(right)))))
            }
        }
    }

    fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        match self {
            Self::Leaf(entries) => {
                let place = entries.binary_search_by(|(known, _)| known.borrow().cmp(key)).ok()?;
                Some(entries.remove(place).1)
            }
            Self::Branch(children) => {
                let place = child_of(children, key);
                let before = Arc::make_mut(&mut children[place].1).remove(key);
                if children[place].1.len() < FEW && children.len() > 1 {
                    join(children, place.min(children.len() - 2));
                }
                before
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Branch(children) => children.len(),
        }
    }
}

/// Makes the children at `left` and after it one, where they fit.
fn join<K: Ord + Clone, V: Clone>(children: &mut Vec<Child<K, V>>, left: usize) {
    if children[left].1.len() + children[left + 1].1.len() > MOST {
        return;
    }
    let (first, right) = children.remove(left + 1);
    match (Arc::make_mut(&mut children[left].1), Arc::unwrap_or_clone(right)) {
        (Node::Leaf(left), Node::Leaf(right)) => left.extend(right),
        (Node::Branch(left), Node::Branch(mut right)) => {
            // Its first child's key is looked at from now on.
            right[0].0 = first;
            left.append(&mut right);
        }
        _ => unreachable!("all leaves are at one height"),
    }
}

impl<K: Ord, V> Node<K, V> {
    /// Higher nodes come before lower ones, then those with lower keys.
    fn order(&self) -> (std::cmp::Reverse<usize>, Option<&K>) {
        let (mut node, mut height) = (self, 0);
        loop {
            match node {
                Self::Leaf(entries) => {
                    return (std::cmp::Reverse(height), entries.first().map(|(key, _)| key));
                }
                Self::Branch(children) => {
                    height += 1;
                    node = &children[0].1;
                }
            }
        }
    }
}

/// What is left of a walk over a map, the next on top.
struct Rest<'a, K, V> {
    stack: Vec<Piece<'a, K, V>>,
}

enum Piece<'a, K, V> {
    Node(&'a Arc<Node<K, V>>),
    Entries(&'a [(K, V)]),
}

impl<K, V> Clone for Piece<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Piece<'_, K, V> {}

impl<'a, K: Ord, V> Piece<'a, K, V> {
    fn first(self) -> Option<&'a K> {
        match self {
            Self::Node(node) => node.order().1,
            Self::Entries(entries) => entries.first().map(|(key, _)| key),
        }
    }
}

impl<'a, K, V> Rest<'a, K, V> {
    fn of(root: &'a Arc<Node<K, V>>) -> Self {
        Self { stack: vec![Piece::Node(root)] }
    }

    /// Puts what is in the next node in its place.
    fn open(&mut self) {
        if let Some(Piece::Node(node)) = self.stack.pop() {
            match &**node {
                Node::Leaf(entries) => self.stack.push(Piece::Entries(entries)),
                Node::Branch(children) => {
                    self.stack.extend(children.iter().rev().map(|(_, node)| Piece::Node(node)));
                }
            }
        }
    }

    fn advance(&mut self) {
        if let Some(Piece::Entries(entries)) = self.stack.last_mut() {
            *entries = &entries[1..];
        }
        self.drop_empty();
    }

    fn drop_empty(&mut self) {
        if matches!(self.stack.last(), Some(Piece::Entries([]))) {
            self.stack.pop();
        }
    }
}

pub struct Iter<'a, K, V>(Rest<'a, K, V>);

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.stack.last_mut()? {
                Piece::Node(_) => self.0.open(),
                Piece::Entries([(key, value), rest @ ..]) => {
                    let next = (key, value);
                    *self.0.stack.last_mut()? = Piece::Entries(rest);
                    return Some(next);
                }
                Piece::Entries([]) => _ = self.0.stack.pop(),
            }
        }
    }
}

impl<K, V> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}

impl<'a, K, V> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<K: Ord + Borrow<Q>, V, Q: Ord + ?Sized> std::ops::Index<&Q> for SharedMap<K, V> {
    type Output = V;

    /// As with other maps, the key must be there.
    fn index(&self, key: &Q) -> &V {
        self.get(key).expect("the caller knows that the key is in the map")
    }
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.root, &other.root) || (self.len == other.len && self.iter().eq(other.iter()))
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for SharedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for SharedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::default();
        map.extend(entries);
        map
    }
}

impl<K: Serialize, V: Serialize> Serialize for SharedMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, K, V> Deserialize<'de> for SharedMap<K, V>
where
    K: Ord + Clone + Deserialize<'de>,
    V: Clone + Deserialize<'de>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = std::collections::BTreeMap::<K, V>::deserialize(deserializer)?;
        Ok(map.into_iter().collect())
    }
}
