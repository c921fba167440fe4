//! A `SharedMap` is what a `BTreeMap` is, and its copies stay what they were.
#![allow(clippy::unwrap_used, reason = "clippy spares only the test functions themselves")]

use std::collections::BTreeMap;

use mesh_ir::map::{Change, SharedMap};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Edit {
    Insert(u16, u8),
    Remove(u16),
    /// Removes a stretch of keys, so that nodes become empty and are joined.
    RemoveFrom(u16, u16),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let key = || 0..2000_u16;
    let edit = prop_oneof![
        6 => (key(), any::<u8>()).prop_map(|(key, value)| Edit::Insert(key, value)),
        2 => key().prop_map(Edit::Remove),
        1 => (key(), 0..300_u16).prop_map(|(key, count)| Edit::RemoveFrom(key, count)),
    ];
    proptest::collection::vec(edit, 0..300)
}

fn apply(map: &mut SharedMap<u16, u8>, model: &mut BTreeMap<u16, u8>, edit: Edit) {
    match edit {
        Edit::Insert(key, value) => assert_eq!(map.insert(key, value), model.insert(key, value)),
        Edit::Remove(key) => assert_eq!(map.remove(&key), model.remove(&key)),
        Edit::RemoveFrom(first, count) => {
            for key in first..first + count {
                assert_eq!(map.remove(&key), model.remove(&key));
            }
        }
    }
}

fn filled(every: usize) -> (SharedMap<u16, u8>, BTreeMap<u16, u8>) {
    let model: BTreeMap<u16, u8> = (0..2000).step_by(every).map(|key| (key, 0)).collect();
    (model.clone().into_iter().collect(), model)
}

fn check(map: &SharedMap<u16, u8>, model: &BTreeMap<u16, u8>) {
    assert!(map.iter().eq(model.iter()));
    assert_eq!(map.len(), model.len());
    assert_eq!(map.is_empty(), model.is_empty());
}

proptest! {
    #[test]
    fn map_is_what_a_btreemap_is(every in 1..500_usize, edits in edits(), from in 0..2000_u16) {
        let (mut map, mut model) = filled(every);
        let (copy, copied) = (map.clone(), model.clone());
        for edit in edits {
            apply(&mut map, &mut model, edit);
        }
        check(&map, &model);
        check(&copy, &copied);
        prop_assert!(map.from(&from).eq(model.range(from..)));
        for key in 0..2000 {
            prop_assert_eq!(map.get(&key), model.get(&key));
        }
    }

    #[test]
    fn map_changes_are_those_of_its_entries(every in 1..500_usize, first in edits(), second in edits()) {
        let (mut one, mut model) = filled(every);
        for edit in first {
            apply(&mut one, &mut model, edit);
        }
        let (before, mut other) = (model.clone(), one.clone());
        for edit in second {
            apply(&mut other, &mut model, edit);
        }
        let keys: std::collections::BTreeSet<u16> = before.keys().chain(model.keys()).copied().collect();
        let differs = |key: &&u16| before.get(*key) != model.get(*key);
        let expected: Vec<_> = keys
            .iter()
            .filter(differs)
            .map(|key| Change { key, before: before.get(key), after: model.get(key) })
            .collect();
        prop_assert_eq!(one.changes_to(&other, |a, b| a == b), expected);
    }
}

#[test]
fn map_changes_look_at_nothing_that_is_shared() {
    let one: SharedMap<u32, u32> = (0..100_000).map(|key| (key, 0)).collect();
    let mut other = one.clone();
    other.insert(50_000, 1);
    other.remove(&70_000);
    other.insert(100_000, 1);
    let compared = std::cell::Cell::new(0);
    let same = |a: &u32, b: &u32| {
        compared.set(compared.get() + 1);
        a == b
    };
    assert_eq!(one.changes_to(&other, same).len(), 3);
    assert!(compared.get() < 200, "{} values were compared", compared.get());
}
