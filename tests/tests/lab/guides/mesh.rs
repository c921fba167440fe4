//! What the tutorials of other meshes do with routes of Services (GAMMA).

use std::time::{Duration, Instant};

use weir_tests::lab::Lab;

use super::Guides;
use crate::PRODUCTPAGE;

const REVIEWS: &str = "http://reviews.bookinfo:9080/reviews/0";
const HELLO: &str = "http://helloworld.hello:5000/hello";

/// A slow sibling of ratings, and two versions of one Service.
pub(super) fn servers() -> String {
    let mut text = String::from(
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: hello, labels: {weir.dev/mesh: enabled}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: slow-ratings, namespace: bookinfo, labels: {app: slow-ratings}}\n\
         spec: {containers: [{name: main, image: \"weir.dev/bookinfo:0.1.0\", args: [ratings, --delay-ms, \"2000\"]}]}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: slow-ratings, namespace: bookinfo}\n\
         spec: {selector: {app: slow-ratings}, ports: [{name: http, port: 9080}]}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: helloworld, namespace: hello}\n\
         spec: {selector: {app: helloworld}, ports: [{name: http, port: 5000, targetPort: 9080}]}\n---\n",
    );
    for version in ["v1", "v2"] {
        text += &format!(
            "apiVersion: v1\nkind: Pod\n\
             metadata: {{name: helloworld-{version}, namespace: hello, labels: {{app: helloworld, version: {version}}}}}\n\
             spec: {{containers: [{{name: main, image: \"weir.dev/bookinfo:0.1.0\", args: [echo, --version, {version}]}}]}}\n---\n\
             apiVersion: v1\nkind: Service\nmetadata: {{name: helloworld-{version}, namespace: hello}}\n\
             spec: {{selector: {{app: helloworld, version: {version}}}, ports: [{{name: http, port: 5000, targetPort: 9080}}]}}\n---\n"
        );
    }
    text
}

/// An HTTPRoute of this name whose parent is the Service of that name, at its port.
fn route(service: &str, namespace: &str, port: u16, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {service}, namespace: {namespace}}}\n\
         spec:\n  parentRefs: [{{group: \"\", kind: Service, name: {service}, port: {port}}}]\n  rules:\n{rules}"
    )
}

fn reviews(rules: &str) -> String {
    route("reviews", "bookinfo", 9080, rules)
}

fn asked(lab: &Lab, requests: &str, headers: &[&str]) -> [u64; 3] {
    let arguments: Vec<&str> =
        ["--requests", requests].iter().chain(headers).copied().chain([REVIEWS]).collect();
    let load = lab.load(PRODUCTPAGE, &arguments).unwrap();
    assert!(load.is_all_200(), "{load:?}");
    ["reviews-v1", "reviews-v2", "reviews-v3"].map(|version| load.from_version(version))
}

/// Everybody to v1, then one user to v2.
pub(super) fn request_routing(_: &Guides, lab: &Lab) {
    lab.apply(&reviews("  - backendRefs: [{name: reviews-v1, port: 9080}]\n")).unwrap();
    assert_eq!(asked(lab, "30", &[]), [30, 0, 0]);
    let by_user = reviews(
        "  - matches: [{headers: [{name: end-user, value: jason}]}]\n    \
         backendRefs: [{name: reviews-v2, port: 9080}]\n  - backendRefs: [{name: reviews-v1, port: 9080}]\n",
    );
    lab.apply(&by_user).unwrap();
    assert_eq!(asked(lab, "30", &["-H", "end-user:jason"]), [0, 30, 0]);
    assert_eq!(asked(lab, "30", &["-H", "end-user:somebody"]), [30, 0, 0]);
    lab.delete(&by_user).unwrap();
}

/// Half to v3, then all.
pub(super) fn traffic_shifting(_: &Guides, lab: &Lab) {
    let half = reviews(
        "  - backendRefs:\n    - {name: reviews-v1, port: 9080, weight: 50}\n    - {name: reviews-v3, port: 9080, weight: 50}\n",
    );
    lab.apply(&half).unwrap();
    let [v1, v2, v3] = asked(lab, "100", &[]);
    assert!(v2 == 0 && (40..=60).contains(&v1) && v1 + v3 == 100, "{v1} {v2} {v3}");
    let all = reviews("  - backendRefs: [{name: reviews-v3, port: 9080}]\n");
    lab.apply(&all).unwrap();
    assert_eq!(asked(lab, "30", &[]), [0, 0, 30]);
    lab.delete(&all).unwrap();
    // Without a route it is the Service's own balancing that chooses, to which v1 is the lightest: it asks nobody else.
    assert!(asked(lab, "60", &[])[0] > 0);
}

/// reviews waits for ratings, which are slow, and its callers do not wait for it.
pub(super) fn request_timeouts(_: &Guides, lab: &Lab) {
    let slow = route("ratings", "bookinfo", 9080, "  - backendRefs: [{name: slow-ratings, port: 9080}]\n");
    let impatient =
        reviews("  - backendRefs: [{name: reviews-v2, port: 9080}]\n    timeouts: {request: 500ms}\n");
    let both = format!("{slow}---\n{impatient}");
    lab.apply(&both).unwrap();
    let begun = Instant::now();
    let answer = lab.get(PRODUCTPAGE, &[REVIEWS]).unwrap();
    let took = begun.elapsed();
    assert!(answer.status() == 504 && took > Duration::from_millis(450), "{answer:?} after {took:?}");
    lab.delete(&both).unwrap();
}

/// Nine in ten to v1, and what fails with a 5xx is asked again.
pub(super) fn helloworld(_: &Guides, lab: &Lab) {
    let rules = "  - backendRefs:\n    - {name: helloworld-v1, port: 5000, weight: 90}\n    \
                 - {name: helloworld-v2, port: 5000, weight: 10}\n    \
                 retry: {codes: [500, 502, 503, 504], attempts: 3, backoff: 5ms}\n";
    let route = route("helloworld", "hello", 5000, rules);
    lab.apply(&route).unwrap();
    let load = lab.load("hello/client", &["--requests", "200", HELLO]).unwrap();
    assert!(load.is_all_200(), "{load:?}");
    assert_eq!(load.from_pod("helloworld-v1") + load.from_pod("helloworld-v2"), 200);
    assert!((15..=25).contains(&load.from_pod("helloworld-v2")), "{load:?}");
    // Each version fails the first two requests to a path; the third is answered within one request of the client's.
    for path in ["once", "twice"] {
        let url = format!("{HELLO}/{path}");
        let answer = lab.get("hello/client", &["-H", "fail-first:2", &url]).unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    lab.delete(&route).unwrap();
    let answer = lab.get("hello/client", &["-H", "fail-first:1", &format!("{HELLO}/unrouted")]).unwrap();
    assert_eq!(answer.status(), 503, "{answer:?}");
}
