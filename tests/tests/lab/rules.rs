//! What a rule does beside choosing a backend, for requests inside the mesh: retries and CORS.

use std::net::IpAddr;

use weir_tests::lab::client::Response;
use weir_tests::lab::{Lab, Plan, can_run};
use weir_tests::wait;

use crate::{SOON, run};

const CLIENT: &str = "rules/client";

#[test]
fn lab_carries_out_what_rules_ask_for() {
    if !can_run() {
        return;
    }
    let plan = Plan::new("rules").sample("lab.yaml");
    let lab = plan.manifest("rules.yaml", include_str!("manifests/rules.yaml")).up().unwrap();
    run(
        lab,
        &[
            ("a code of the rule is tried again, as often as it says", &codes_are_tried_again),
            ("a body is sent again", &a_body_is_sent_again),
            ("an endpoint that refuses is gone around", &connections_are_tried_again),
            ("retries are a share of the requests at most", &retries_are_a_share),
            ("some retries are made whatever their share", &some_retries_are_made),
            ("a Gateway's retries have a budget", &a_gateway_has_a_budget),
            ("a Gateway for the cluster alone has ClusterIPs", &a_gateway_has_cluster_ips),
            ("a preflight is answered", &a_preflight_is_answered),
            ("a response says who may read it", &responses_name_their_origin),
        ],
    );
}

fn get(lab: &Lab, arguments: &[&str], path: &str) -> Response {
    let url = format!("http://server.rules{path}");
    let arguments: Vec<&str> = arguments.iter().copied().chain([url.as_str()]).collect();
    lab.get(CLIENT, &arguments).unwrap().response().unwrap()
}

fn codes_are_tried_again(lab: &Lab) {
    assert_eq!(get(lab, &["-H", "fail-first:2"], "/retried/2").status, 200);
    assert_eq!(get(lab, &["-H", "fail-first:3"], "/retried/3").status, 503);
    assert_eq!(get(lab, &["-H", "fail-first:1"], "/not-retried/1").status, 503);
    // The second one finds what the first one, and not a retry of it, has failed.
    assert_eq!(get(lab, &["-H", "fail-first:1"], "/not-retried/1").status, 200);
}

fn a_body_is_sent_again(lab: &Lab) {
    let response = get(lab, &["-X", "POST", "-d", "all of it", "-H", "fail-first:2"], "/retried/body");
    let echoed: serde_json::Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!((response.status, echoed["body"].as_str()), (200, Some("all of it")));
}

/// One of the Service's two pods listens on another port than the Service's.
fn connections_are_tried_again(lab: &Lab) {
    let load =
        lab.load(CLIENT, &["--requests", "50", "-H", "connection:close", "http://half.rules/"]).unwrap();
    assert!(load.is_all_200(), "{load:?}");
}

/// Of so many requests that fail, each of which would be sent once more.
const FAILING: u64 = 40;
/// A fifth of all that reaches the backend.
const RETRIES: u64 = 10;

fn retries_are_a_share(lab: &Lab) {
    let count = FAILING.to_string();
    let load = ["--requests", &count, "-H", "fail-first:1000000", "http://shared.rules/x"];
    let load = lab.load(CLIENT, &load).unwrap();
    assert_eq!(load.with_status(503), FAILING, "{load:?}");
    let client = lab.view().unwrap().pods.into_iter().find(|pod| pod.full_name() == CLIENT);
    let node = client.unwrap().node;
    let refused = lab.metrics(&node).unwrap();
    let refused = refused.sum("weir_retries_over_budget_total", &[("service", "rules/shared")]);
    assert_eq!(refused, (FAILING - RETRIES) as f64);
    // What the backend has counted itself: the next one is the last that fails.
    let next = format!("fail-first:{}", FAILING + RETRIES + 1);
    assert_eq!(get(lab, &["-H", &next], "/x").status, 503);
    assert_eq!(get(lab, &["-H", &next], "/x").status, 200);
}

fn some_retries_are_made(lab: &Lab) {
    let answers = (0..6).map(|i| {
        let url = format!("http://least.rules/least/{i}");
        lab.get(CLIENT, &["-H", "fail-first:1", &url]).unwrap().status()
    });
    // Who gets none has the backend's own answer.
    assert_eq!(answers.collect::<Vec<_>>(), [200, 200, 200, 503, 503, 503]);
}

fn a_gateway_has_a_budget(lab: &Lab) {
    let address = gateway(lab, "front");
    let answers = (0..4).map(|i| {
        let url = format!("http://{address}/outer/{i}");
        lab.get_from_host(&["-H", "fail-first:1", &url]).unwrap().status()
    });
    assert_eq!(answers.collect::<Vec<_>>(), [200, 200, 503, 503]);
}

fn a_gateway_has_cluster_ips(lab: &Lab) {
    let address = gateway(lab, "inside");
    assert_eq!(address, lab.service("rules", "inside-weir").unwrap().address(false));
    let response = lab.get(CLIENT, &[&format!("http://{address}/inside")]).unwrap().response().unwrap();
    assert_eq!(response.status, 200, "{response:?}");
    assert!(response.body.contains("x-forwarded-for"), "it came by the Gateway: {}", response.body);
}

/// Its IPv4 address, once it has one.
fn gateway(lab: &Lab, name: &str) -> IpAddr {
    let addresses =
        wait::until("the Gateway's address", SOON, || Ok(lab.gateway("rules", name).ok())).unwrap();
    addresses.into_iter().find(IpAddr::is_ipv4).unwrap()
}

fn a_preflight_is_answered(lab: &Lab) {
    let ask = |origin: &str| {
        let origin = format!("origin:{origin}");
        get(lab, &["-X", "OPTIONS", "-H", &origin, "-H", "access-control-request-method:PUT"], "/shared")
    };
    let allowed = ask("https://www.shop.example");
    assert_eq!((allowed.status, allowed.body.trim()), (204, ""));
    assert_eq!(allowed.header("access-control-allow-origin"), "https://www.shop.example");
    assert_eq!(allowed.header("access-control-allow-methods"), "PUT, DELETE");
    assert_eq!(ask("https://evil.example").header("access-control-allow-origin"), "");
}

fn responses_name_their_origin(lab: &Lab) {
    let response = get(lab, &["-H", "origin:https://www.shop.example"], "/shared");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("access-control-allow-origin"), "https://www.shop.example");
    assert_eq!(
        get(lab, &["-H", "origin:https://evil.example"], "/shared").header("access-control-allow-origin"),
        ""
    );
}
