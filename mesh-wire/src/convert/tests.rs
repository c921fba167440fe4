use mesh_ir::resource::{Resource, ResourceKey};
use proptest::prelude::*;
use prost::Message;

use super::{decode, encode};
use crate::proto;

mod arbitrary;

fn round_trip(resource: &Resource) -> Result<(), TestCaseError> {
    let key = resource.key();
    prop_assert_eq!(&key.to_string().parse::<ResourceKey>().unwrap(), &key);
    let bytes = encode(resource);
    prop_assert_eq!(&bytes, &encode(&resource.clone()));
    let read = decode(&key, &bytes).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert_eq!(&read, resource);
    // PrivateKey compares equal by its text, which only `expose` shows.
    if let (Resource::Certificate(read), Resource::Certificate(sent)) = (&read, resource) {
        prop_assert_eq!(read.key.expose(), sent.key.expose());
    }
    Ok(())
}

proptest! {
    #[test]
    fn convert_node_reads_what_it_writes(node in arbitrary::node()) { round_trip(&Resource::Node(node))? }

    #[test]
    fn convert_service_reads_what_it_writes(s in arbitrary::service()) { round_trip(&Resource::Service(s))? }

    #[test]
    fn convert_workload_reads_what_it_writes(w in arbitrary::workload()) { round_trip(&Resource::Workload(w))? }

    #[test]
    fn convert_certificate_reads_what_it_writes(c in arbitrary::certificate()) {
        round_trip(&Resource::Certificate(c))?
    }

    #[test]
    fn convert_gateway_reads_what_it_writes(g in arbitrary::gateway()) { round_trip(&Resource::Gateway(g))? }

    #[test]
    fn convert_route_reads_what_it_writes(r in arbitrary::route()) { round_trip(&Resource::Route(r))? }

    #[test]
    fn convert_arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let key = "Node a".parse().unwrap();
        _ = decode(&key, &bytes);
        _ = proto::OperatorMessage::decode(&bytes[..]);
        _ = proto::NodeMessage::decode(&bytes[..]);
    }

    /// Arbitrary bytes seldom get past the first field, damaged ones do.
    #[test]
    fn convert_damaged_bytes_never_panic(
        resource in arbitrary::resource(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(&resource).to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        _ = decode(&resource.key(), &bytes);
        _ = decode(&resource.key(), &bytes[..cut.index(bytes.len())]);
    }
}

fn service() -> proto::Service {
    proto::Service {
        name: "shop/cart".into(),
        addresses: vec![vec![10, 0, 0, 1].into()],
        ports: vec![proto::ServicePort { port: 80, name: "http".into(), protocol: 2, tls: None }],
        circuit_breaker: None,
        retry_budget: None,
        session_affinity: None,
        internal_traffic_policy: 0,
        udp_ports: vec![53],
    }
}

fn check_refused(key: &str, resource: proto::resource::Resource, field: &str, problem: &str) {
    let body = proto::Resource { resource: Some(resource) }.encode_to_vec();
    let error = decode(&key.parse().unwrap(), &body).unwrap_err();
    assert_eq!(error.field, field, "{error}");
    assert!(error.problem.contains(problem), "{error}");
}

#[test]
fn convert_names_the_field_that_is_malformed() {
    use proto::resource::Resource as P;
    let check = |edit: fn(&mut proto::Service), field, problem| {
        let mut service = service();
        edit(&mut service);
        check_refused("Service shop/cart", P::Service(service), field, problem);
    };
    check(|s| s.name = "cart".into(), "name", "no `/`");
    check(|s| s.addresses.push(vec![1, 2, 3].into()), "addresses[1]", "4 or 16 bytes, not 3");
    check(|s| s.ports[0].port = 65_536, "ports[0].port", "65536 is not a port");
    check(|s| s.ports[0].protocol = 77, "ports[0].protocol", "does not know");
    check(|s| s.name = "shop/till".into(), "", "but is Service shop/till");
    let budget = |percent, interval| proto::RetryBudget {
        percent,
        interval,
        min_retries: 1,
        min_interval: Some(proto::Duration::default()),
    };
    let with = |budget, field, problem| {
        let service = proto::Service { retry_budget: Some(budget), ..service() };
        check_refused("Service shop/cart", P::Service(service), field, problem);
    };
    with(budget(101, Some(proto::Duration::default())), "retry_budget.percent", "101 is not a percentage");
    with(budget(20, None), "retry_budget.interval", "missing");

    let rule = |rule: proto::Rule, field, problem| {
        let route =
            proto::Route { kind: 1, name: "shop/cart".into(), rules: vec![rule], ..Default::default() };
        check_refused("HTTPRoute shop/cart", P::Route(route), field, problem);
    };
    let matches = vec![proto::HttpMatch {
        path: Some(proto::http_match::Path::Prefix("/".into())),
        ..Default::default()
    }];
    rule(proto::Rule::default(), "rules[0].matches", "at least one match");
    // A filter of a newer operator arrives as an empty one.
    let filters = vec![proto::Filter { filter: None }];
    rule(
        proto::Rule { matches: matches.clone(), filters, ..Default::default() },
        "rules[0].filters[0]",
        "know",
    );
    let backends = vec![proto::Backend { weight: 1, target: None, filters: vec![], session: None }];
    rule(
        proto::Rule { matches: matches.clone(), backends, ..Default::default() },
        "rules[0].backends[0].target",
        "missing",
    );
    let timeout = Some(proto::Duration { seconds: u64::MAX, nanos: u32::MAX });
    rule(
        proto::Rule { matches, request_timeout: timeout, ..Default::default() },
        "rules[0].request_timeout.nanos",
        "second",
    );
}

#[test]
fn convert_refuses_an_empty_resource_and_bytes_that_are_none() {
    let key = "Node a".parse().unwrap();
    assert!(decode(&key, &[]).unwrap_err().to_string().contains("does not know"));
    assert!(decode(&key, &[0xff; 3]).unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn convert_shows_no_private_key() {
    let certificate =
        proto::Certificate { name: "a/b".into(), chain_pem: "chain".into(), key_pem: "secret-key".into() };
    let body =
        proto::Resource { resource: Some(proto::resource::Resource::Certificate(certificate.clone())) };
    let upsert =
        proto::Upsert { key: "Certificate a/b".into(), version: 1, body: body.encode_to_vec().into() };
    for shown in [format!("{certificate:?}"), format!("{body:?}"), format!("{upsert:?}")] {
        assert!(!shown.contains("secret"), "{shown}");
    }
}
