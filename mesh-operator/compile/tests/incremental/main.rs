//! A `Compiler` that is given one change after another says what compiling everything says, after each of them.
#![allow(clippy::unwrap_used, reason = "clippy spares only the test functions themselves")]

use mesh_compile::{Compiled, Compiler, Object, ObjectId, Settings, Snapshot, compile};
use mesh_ir::resource::Mode;
use proptest::prelude::*;

mod objects;

use objects::object;

#[derive(Clone, Debug)]
enum Edit {
    Insert(Object),
    Remove(ObjectId),
}

fn edit() -> impl Strategy<Value = Edit> {
    (object(), 0..4_u8).prop_map(|(object, chance)| match chance {
        0 => Edit::Remove(object.id()),
        _ => Edit::Insert(object),
    })
}

fn settings() -> Settings {
    Settings {
        trust_domain: "cluster.local".parse().unwrap(),
        default_mode: Mode::Permissive,
        same_node: Default::default(),
    }
}

fn difference(incremental: &Compiled, whole: &Compiled) -> Option<String> {
    let list = |compiled: &Compiled| {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(compiled.config.resources.iter().map(|(key, resource)| format!("{key}: {resource:?}")));
        lines.extend(compiled.statuses.iter().map(|(id, status)| format!("{id}: {status:?}")));
        lines.extend(compiled.owned.iter().map(|(id, object)| format!("{id}: {object:?}")));
        lines.extend(compiled.addresses.iter().map(|(id, addresses)| format!("{id}: {addresses:?}")));
        lines
    };
    let (one, other) = (list(incremental), list(whole));
    let only = |a: &[String], b: &[String], what: &str| {
        let lines = a.iter().filter(|line| !b.contains(line)).map(|line| format!("{what} {line}\n"));
        lines.collect::<String>()
    };
    (incremental != whole)
        .then(|| only(&one, &other, "changed step by step:") + &only(&other, &one, "whole:"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn compiler_says_after_each_change_what_compiling_everything_says(
        start in proptest::collection::vec(edit(), 0..60),
        steps in proptest::collection::vec(proptest::collection::vec(edit(), 1..3), 1..25),
    ) {
        let mut snapshot = Snapshot::default();
        let mut compiler = Compiler::new(settings());
        for edits in std::iter::once(&start).chain(&steps) {
            for edit in edits {
                match edit {
                    Edit::Insert(object) => _ = snapshot.insert(object.clone()),
                    Edit::Remove(id) => _ = snapshot.remove(id),
                }
            }
            compiler.update(&snapshot);
            let difference = difference(compiler.compiled(), &compile(&snapshot, &settings()));
            prop_assert!(difference.is_none(), "after {edits:?}:\n{}", difference.unwrap_or_default());
        }
    }
}
