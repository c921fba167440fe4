//! What a cluster's API server adds to every object: a uid, a creation time, a generation and a resource version; and
//! which objects changed since the last look.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::lab::object::{ObjectId, child};

/// What has to be written or removed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Change {
    Write(ObjectId, Value),
    Remove(ObjectId),
}

#[derive(Debug, Default)]
pub(crate) struct Stamps {
    /// Identities are given on first sight, also through a shared reference, as an owner's uid is needed before the
    /// owner is written.
    identities: RefCell<BTreeMap<ObjectId, Identity>>,
    written: BTreeMap<ObjectId, Written>,
    version: u64,
}

#[derive(Clone, Debug)]
struct Identity {
    uid: String,
    created: String,
}

#[derive(Debug)]
struct Written {
    /// As it was given, without stamps.
    bare: Value,
    generation: u64,
}

impl Stamps {
    pub(crate) fn uid(&self, id: &ObjectId, now: &str) -> String {
        self.identity(id, now).uid
    }

    /// Compares all objects there are now with those of the last call.
    pub(crate) fn changes(&mut self, objects: BTreeMap<ObjectId, Value>, now: &str) -> Vec<Change> {
        let gone: Vec<ObjectId> =
            self.written.keys().filter(|id| !objects.contains_key(id)).cloned().collect();
        let mut changes = Vec::new();
        for id in gone {
            self.written.remove(&id);
            self.identities.borrow_mut().remove(&id);
            changes.push(Change::Remove(id));
        }
        for (id, bare) in objects {
            let before = self.written.get(&id);
            if before.is_some_and(|before| before.bare == bare) {
                continue;
            }
            let generation = match before {
                Some(before) if before.bare.get("spec") == bare.get("spec") => before.generation,
                Some(before) => before.generation + 1,
                None => 1,
            };
            self.version += 1;
            changes.push(Change::Write(id.clone(), self.stamped(&id, bare.clone(), generation, now)));
            self.written.insert(id, Written { bare, generation });
        }
        changes
    }

    fn stamped(&self, id: &ObjectId, mut value: Value, generation: u64, now: &str) -> Value {
        let identity = self.identity(id, now);
        let metadata = child(&mut value, "metadata");
        metadata.entry("uid").or_insert_with(|| json!(identity.uid));
        metadata.entry("creationTimestamp").or_insert_with(|| json!(identity.created));
        metadata.insert("generation".to_owned(), json!(generation));
        metadata.insert("resourceVersion".to_owned(), json!(self.version.to_string()));
        value
    }

    fn identity(&self, id: &ObjectId, now: &str) -> Identity {
        let new = || Identity { uid: new_uid(), created: now.to_owned() };
        self.identities.borrow_mut().entry(id.clone()).or_insert_with(new).clone()
    }
}

/// A random UUID (RFC 9562, version 4).
pub(crate) fn new_uid() -> String {
    let bits = fastrand::u128(..) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Five characters to tell pods of one Deployment apart, without vowels, as Kubernetes has them.
pub(crate) fn suffix() -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    (0..5).map(|_| char::from(LETTERS[fastrand::usize(..LETTERS.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_say_what_changed_and_keep_identities() {
        let id = ObjectId::namespaced("", "Service", "default", "web");
        let of =
            |spec: u32, status: u32| BTreeMap::from([(id.clone(), json!({"spec": spec, "status": status}))]);
        let mut stamps = Stamps::default();
        let uid = stamps.uid(&id, "t0");
        let seen = |changes: Vec<Change>| match changes.as_slice() {
            [] => "nothing".to_owned(),
            [Change::Remove(_)] => "removed".to_owned(),
            [Change::Write(_, value)] => {
                let metadata = &value["metadata"];
                assert_eq!(metadata["creationTimestamp"], "t0");
                assert_eq!(metadata["uid"], uid.as_str());
                format!("g{} v{}", metadata["generation"], metadata["resourceVersion"].as_str().unwrap())
            }
            more => panic!("{more:?}"),
        };
        assert_eq!(seen(stamps.changes(of(1, 1), "t1")), "g1 v1");
        assert_eq!(seen(stamps.changes(of(1, 1), "t2")), "nothing");
        assert_eq!(seen(stamps.changes(of(1, 2), "t3")), "g1 v2");
        assert_eq!(seen(stamps.changes(of(2, 2), "t4")), "g2 v3");
        assert_eq!(seen(stamps.changes(BTreeMap::new(), "t5")), "removed");
        assert_ne!(stamps.uid(&id, "t6"), uid);
    }

    #[test]
    fn uids_are_version_four() {
        let uid = new_uid();
        assert_eq!((uid.len(), &uid[14..15]), (36, "4"), "{uid}");
        assert!("89ab".contains(&uid[19..20]), "{uid}");
    }
}
