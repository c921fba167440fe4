use http::{HeaderMap, Method};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn route(id: usize, created: i64, matches: Vec<serde_json::Value>) -> PreparedRoute {
    let rules: Vec<_> = matches.into_iter().map(|m| json!({ "matches": [m], "backends": [] })).collect();
    let value = json!({"kind": "Route", "key": {"kind": "Http", "name": format!("shop/r{id}")},
        "created": created, "parents": [], "rules": rules});
    let resource = Arc::new(serde_json::from_value(value).unwrap());
    let Resource::Route(route) = &*resource else { unreachable!() };
    PreparedRoute::new(&resource, route, &route.rules)
}

fn path() -> impl Strategy<Value = String> {
    "(/[ab]{1,2}){0,4}/?"
}

fn http_match() -> impl Strategy<Value = serde_json::Value> {
    let path = (0..5_u8, path()).prop_map(|(kind, path)| match kind {
        0 | 1 => json!({ "Exact": path }),
        2 => json!({ "Regex": format!("{}.*", path.trim_end_matches('/')) }),
        _ => json!({ "Prefix": path }),
    });
    (path, any::<bool>(), any::<bool>()).prop_map(|(path, method, header)| {
        let method = method.then_some("POST");
        let headers = header.then(|| json!({ "name": "v", "value": { "Exact": "1" } }));
        json!({ "path": path, "method": method, "headers": headers.into_iter().collect::<Vec<_>>() })
    })
}

proptest! {
    #[test]
    fn table_finds_what_trying_every_entry_finds(
        routes in proptest::collection::vec((0..3_i64, proptest::collection::vec(http_match(), 0..4)), 0..20),
        requests in proptest::collection::vec((path(), any::<bool>(), any::<bool>()), 1..20),
    ) {
        let routes: Vec<PreparedRoute> =
            routes.into_iter().enumerate().map(|(id, (created, matches))| route(id, created, matches)).collect();
        let table = Routes::new(routes.iter());
        let table = table.of_requests().unwrap();
        for (path, post, header) in requests {
            let mut headers = HeaderMap::new();
            if header {
                headers.insert("v", "1".parse().unwrap());
            }
            let method = if post { Method::POST } else { Method::GET };
            let request = RequestHead { method: &method, path: &path, query: None, host: "a", headers: &headers };
            let expected = table.others.in_order().into_iter().find(|entry| entry.matcher.matches(&request));
            let found = table.find(&request);
            prop_assert!(
                match (&found, expected) {
                    (None, None) => true,
                    (Some(found), Some(expected)) => std::ptr::eq(found.matcher, &expected.matcher),
                    _ => false,
                },
                "{path}: {found:?}, not {expected:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn table_changed_route_by_route_is_the_table_of_all(
        steps in proptest::collection::vec((0..12_usize, 0..3_i64, proptest::option::of(
            proptest::collection::vec(http_match(), 0..4))), 0..30),
    ) {
        let (mut attached, mut routes) = (Attached::default(), Routes::new(std::iter::empty()));
        for (id, created, matches) in steps {
            let before = attached.clone();
            let prepared = matches.map(|matches| Arc::new(route(id, created, matches)));
            let key: RouteKey = serde_json::from_value(json!({"kind": "Http", "name": format!("shop/r{id}")})).unwrap();
            match prepared {
                Some(prepared) => _ = attached.insert(key.clone(), prepared),
                None => _ = attached.remove(&key),
            }
            routes = routes.after(&before, &attached, &BTreeSet::from([key]));
            prop_assert_eq!(&routes, &Routes::new(attached.values().map(|prepared| &**prepared)));
            if let Some(table) = routes.of_requests() {
                let order: Vec<_> = table.others.in_order().into_iter().map(|entry| entry.order()).collect();
                prop_assert!(order.is_sorted());
            }
        }
    }
}

#[test]
fn table_of_many_routes_asks_few_of_their_matchers() {
    let prefix = |i: usize| json!({ "path": { "Prefix": format!("/service/{i}") } });
    let routes: Vec<PreparedRoute> = (0..5000).map(|i| route(i, 0, vec![prefix(i)])).collect();
    let table = Routes::new(routes.iter());
    let Some(RouteTable { others: Entries::Many(paths), .. }) = table.of_requests() else {
        panic!("{table:?}")
    };
    assert_eq!(paths.of("/service/4321/item/7").count(), 1);
    // Neither do the elements of a path make it long.
    assert_eq!(paths.of(&"/a".repeat(10_000)).count(), 0);
}
