use std::fmt::Write;

use mesh_ir::resource::{Mode, SameNode};
use proptest::prelude::*;

use super::*;
use crate::status::{Condition, ListenerStatus};
use crate::{Compiled, Kind, ObjectId, Settings, Snapshot, Status, compile, manifest};

/// A Gateway with one listener, and ListenerSets `s00`, `s01`… of 64 listeners each, made of their number among all.
fn compiled(sets: usize, listener: impl Fn(usize) -> String) -> Compiled {
    let mut text = String::from(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: g, namespace: shop}\nspec: \
         {gatewayClassName: weir, allowedListeners: {namespaces: {from: Same}}, listeners: [{name: http, port: 80, \
         protocol: HTTP, hostname: own.test}]}\n",
    );
    for set in 0..sets {
        let listeners: Vec<String> =
            (0..64).map(|i| format!("{{name: l{i}, {}}}", listener(set * 64 + i))).collect();
        write!(
            text,
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: ListenerSet\nmetadata: {{name: s{set:02}, namespace: \
             shop}}\nspec: {{parentRef: {{name: g}}, listeners: [{}]}}\n",
            listeners.join(", ")
        )
        .unwrap();
    }
    let mut snapshot = Snapshot::default();
    manifest::parse(&text).into_iter().for_each(|object| _ = snapshot.insert(object.unwrap().unwrap()));
    let settings = Settings {
        trust_domain: "cluster.local".parse().unwrap(),
        default_mode: Mode::Permissive,
        same_node: SameNode::Direct,
    };
    compile(&snapshot, &settings)
}

fn listeners(compiled: &Compiled, set: usize) -> &[ListenerStatus] {
    let name = format!("shop/s{set:02}").parse().unwrap();
    match &**compiled.statuses.get(&ObjectId::namespaced(Kind::ListenerSet, &name)).unwrap() {
        Status::ListenerSet(status) => &status.listeners,
        other => panic!("{other:?}"),
    }
}

fn accepted(listener: &ListenerStatus) -> &Condition {
    listener.conditions.iter().find(|condition| condition.r#type == "Accepted").unwrap()
}

fn reasons(compiled: &Compiled, set: usize) -> Vec<&'static str> {
    listeners(compiled, set).iter().map(|listener| accepted(listener).reason).collect()
}

#[test]
fn merge_gives_a_gateway_no_more_ports_than_an_endpoint_slice_holds() {
    let compiled = compiled(2, |number| format!("port: {}, protocol: HTTP", 1000 + number));
    assert_eq!(reasons(&compiled, 0), ["Accepted"; 64]);
    let second = reasons(&compiled, 1);
    assert_eq!(second[..35], ["Accepted"; 35]);
    assert_eq!(second[35..], ["PortUnavailable"; 29]);
}

#[test]
fn merge_ends_where_a_gateway_has_no_more_room() {
    let compiled = compiled(33, |number| format!("port: 80, protocol: HTTP, hostname: h{number}.test"));
    assert!((0..31).all(|set| reasons(&compiled, set) == ["Accepted"; 64]));
    // The Gateway's own takes one place.
    assert_eq!(reasons(&compiled, 31)[62..], ["Accepted", "TooManyListeners"]);
    assert_eq!(reasons(&compiled, 32), ["TooManyListeners"; 64]);
}

proptest! {
    #[test]
    fn overlaps_are_those_that_comparing_each_two_finds(
        names in proptest::collection::btree_set("(\\*\\.)?[ab](\\.[ab]){0,3}", 1..12),
        every: bool,
    ) {
        let mut all: Vec<Option<Hostname>> = names.iter().map(|name| Some(name.parse().unwrap())).collect();
        all.extend(every.then_some(None));
        let mut hostnames = Hostnames::default();
        all.iter().for_each(|hostname| hostnames.add(hostname.as_ref()));
        for (i, this) in all.iter().enumerate() {
            let overlaps = |other: &Option<Hostname>| match (this, other) {
                (Some(this), Some(other)) => this.intersect(other).is_some(),
                _ => true,
            };
            let found = all.iter().enumerate().any(|(j, other)| i != j && overlaps(other));
            prop_assert_eq!(hostnames.overlap(this.as_ref()), found, "{:?} among {:?}", this, all);
        }
    }
}
