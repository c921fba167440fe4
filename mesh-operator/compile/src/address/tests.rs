use kube::core::ObjectMeta;

use super::*;
use crate::api::address_pool::AddressPoolSpec;
use crate::object::Object;
use crate::snapshot::Snapshot;

fn snapshot(pools: &[(&str, &[&str], &[&str])]) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    for (name, addresses, avoid) in pools {
        snapshot.insert(Object::from(AddressPool {
            metadata: ObjectMeta { name: Some((*name).into()), ..ObjectMeta::default() },
            spec: AddressPoolSpec { addresses: texts(addresses), avoid: texts(avoid) },
            status: None,
        }));
    }
    snapshot
}

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn v4(wanted: &[&str], present: &[&str]) -> Request {
    Request {
        wanted: ips(wanted),
        present: ips(present),
        families: Some(vec!["IPv4".into()]),
        ..Request::default()
    }
}

fn pools(snapshot: &Snapshot, requests: &BTreeMap<ObjectName, Request>) -> Pools {
    let (endpoints, sets, gateways, breakers, reads) = Default::default();
    allocate(&Lookup::new(snapshot, &endpoints, &sets, &gateways, &breakers, &reads), requests)
}

/// The addresses of each Gateway `shop/NAME`, and the part of the problem before the semicolon.
fn shown(snapshot: &Snapshot, requests: &[(&str, Request)]) -> Vec<(String, Vec<String>, String)> {
    let named = |name: &str| ObjectName::new("shop", name).unwrap();
    let requests = requests.iter().map(|(name, request)| (named(name), request.clone())).collect();
    let given = pools(snapshot, &requests).given;
    let one = |(name, given): (ObjectName, Given)| {
        let problem = given.problem.unwrap_or_default();
        let problem = problem.split(';').next().unwrap_or_default().to_owned();
        (name.name.to_string(), given.addresses.iter().map(ToString::to_string).collect(), problem)
    };
    given.into_iter().map(one).collect()
}

fn expected(list: &[(&str, &[&str], &str)]) -> Vec<(String, Vec<String>, String)> {
    let one = |(name, addresses, problem): &(&str, &[&str], &str)| {
        ((*name).into(), addresses.iter().map(|a| (*a).into()).collect(), (*problem).into())
    };
    list.iter().map(one).collect()
}

#[test]
fn allocation_gives_the_lowest_free_and_keeps_what_is_given() {
    let snapshot = snapshot(&[("lan", &["10.0.0.0/29"], &["10.0.0.0", "10.0.0.2-10.0.0.3"])]);
    let requests = [("a", v4(&[], &[])), ("b", v4(&[], &["10.0.0.1"])), ("c", v4(&[], &[]))];
    assert_eq!(
        shown(&snapshot, &requests),
        expected(&[("a", &["10.0.0.4"], ""), ("b", &["10.0.0.1"], ""), ("c", &["10.0.0.5"], "")])
    );
}

#[test]
fn allocation_gives_one_of_each_family_that_the_service_has() {
    let snapshot = snapshot(&[("four", &["10.0.0.1"], &[]), ("six", &["fd00::/64"], &["fd00::"])]);
    let both = Request { families: Some(vec!["IPv6".into(), "IPv4".into()]), ..Request::default() };
    let six = Request { families: Some(vec!["IPv6".into()]), ..Request::default() };
    assert_eq!(
        shown(&snapshot, &[("a", both.clone()), ("b", six), ("c", both)]),
        expected(&[("a", &["10.0.0.1", "fd00::1"], ""), ("b", &["fd00::2"], ""), ("c", &["fd00::3"], "")])
    );
}

#[test]
fn allocation_honours_what_is_asked_for_where_it_is_free() {
    let snapshot = snapshot(&[("lan", &["10.0.0.1-10.0.0.9"], &[])]);
    let mut older = v4(&["10.0.0.5"], &[]);
    older.created = 1;
    let mut younger = older.clone();
    younger.created = 2;
    let requests = [
        ("a", younger),
        ("b", older),
        ("c", v4(&["192.0.2.1"], &[])),
        // It has another than it asks for now.
        ("d", v4(&["10.0.0.2"], &["10.0.0.1"])),
        ("e", v4(&[], &[])),
    ];
    assert_eq!(
        shown(&snapshot, &requests),
        expected(&[
            ("a", &[], "10.0.0.5 of spec.addresses is Gateway shop/b's"),
            ("b", &["10.0.0.5"], ""),
            ("c", &[], "192.0.2.1 of spec.addresses is in no AddressPool"),
            ("d", &["10.0.0.2"], ""),
            ("e", &["10.0.0.1"], ""),
        ])
    );
}

#[test]
fn allocation_says_that_pools_are_exhausted() {
    let snapshot = snapshot(&[("lan", &["10.0.0.1"], &[])]);
    let full = "All addresses of the AddressPools that its Service could have are in use";
    let requests = [("a", v4(&[], &[])), ("b", v4(&[], &[]))];
    assert_eq!(shown(&snapshot, &requests), expected(&[("a", &["10.0.0.1"], ""), ("b", &[], full)]));
}

#[test]
fn allocation_leaves_alone_what_others_give_and_takes_back_its_own() {
    let pools = snapshot(&[("lan", &["10.0.0.1"], &[])]);
    assert_eq!(shown(&pools, &[("cloud", v4(&[], &["192.0.2.1"]))]), []);
    assert_eq!(shown(&Snapshot::default(), &[("a", v4(&[], &[]))]), []);
    let mut ours = v4(&[], &["10.0.0.9"]);
    ours.is_ours = true;
    assert_eq!(shown(&pools, &[("a", ours.clone())]), expected(&[("a", &["10.0.0.1"], "")]));
    let given = shown(&Snapshot::default(), &[("a", ours)]);
    assert_eq!((given.len(), given[0].1.len()), (1, 0), "{given:?}");
}

#[test]
fn allocation_counts_and_says_what_is_wrong_with_a_pool() {
    let snapshot = snapshot(&[
        ("bad", &["10.0.1.0/30", "10.0.2.0/33"], &[]),
        ("good", &["10.0.0.0/29", "10.0.0.4-10.0.0.11"], &["10.0.0.0/31"]),
        ("huge", &["fd00::/32"], &[]),
    ]);
    let requests = [(ObjectName::new("shop", "a").unwrap(), v4(&[], &["10.0.0.2"]))].into();
    let statuses = pools(&snapshot, &requests).statuses;
    let shown: Vec<(String, i64, i64, &str)> = statuses
        .iter()
        .map(|(id, status)| {
            let Status::AddressPool(status) = status else { panic!("{status:?}") };
            (id.to_string(), status.capacity, status.assigned, status.conditions[0].message.as_str())
        })
        .collect();
    let fine = "Gateways get addresses of it";
    let wrong = "spec.addresses[1]: 10.0.2.0/33 is neither an address, a CIDR nor FIRST-LAST";
    assert_eq!(
        shown,
        [
            ("AddressPool bad".into(), 4, 0, wrong),
            ("AddressPool good".into(), 10, 1, fine),
            ("AddressPool huge".into(), i64::MAX, 0, fine),
        ]
    );
}
