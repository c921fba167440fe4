//! Routes inside the mesh: weights, headers, producers' and consumers' routes, both families, policies.

use weir_tests::lab::client::Answer;
use weir_tests::lab::{Lab, can_run, sample};
use weir_tests::link::capture::Capture;
use weir_tests::link::verdict::Verdict;

use crate::{PRODUCTPAGE, plan, run};

const REVIEWS: &str = "http://reviews.bookinfo:9080/reviews/0";

#[test]
fn lab_routes_requests_in_the_mesh() {
    if !can_run() {
        return;
    }
    let lab = plan("routing").sample("canary.yaml").up().unwrap();
    run(
        lab,
        &[
            ("weights split requests", &weights_split_requests),
            ("a header picks a version", &a_header_picks_a_version),
            ("services answer on both families", &services_answer_on_both_families),
            ("HTTP/2 is routed as HTTP/1 is", &http2_is_routed),
            ("a consumer's route applies to its namespace alone", &consumer_route),
            ("a file that breaks leaves its route in force", &a_broken_file_changes_nothing),
            ("the breaker refuses at once", &breaker),
            ("strict refuses who is not in the mesh", &strict),
            ("the link holds TLS 1.3 alone", &the_link_holds_tls),
        ],
    );
}

fn weights_split_requests(lab: &Lab) {
    let load = lab.load(PRODUCTPAGE, &["--requests", "2000", "--concurrency", "8", REVIEWS]).unwrap();
    assert!(load.is_all_200(), "{load:?}");
    assert_eq!(load.from_version("reviews-v1") + load.from_version("reviews-v2"), 2000);
    // Five standard deviations are 67 requests.
    assert!((1733..=1867).contains(&load.from_version("reviews-v1")), "{load:?}");
}

fn a_header_picks_a_version(lab: &Lab) {
    let load = lab.load(PRODUCTPAGE, &["--requests", "100", "-H", "end-user:jason", REVIEWS]).unwrap();
    assert_eq!((load.with_status(200), load.from_version("reviews-v3")), (100, 100));
    let load = lab.load(PRODUCTPAGE, &["--requests", "100", "-H", "end-user:jason2", REVIEWS]).unwrap();
    assert_eq!((load.with_status(200), load.from_version("reviews-v3")), (100, 0));
}

fn services_answer_on_both_families(lab: &Lab) {
    let service = lab.service("bookinfo", "reviews").unwrap();
    let (v4, v6) = (service.address(false), service.address(true));
    for host in [v4.to_string(), format!("[{v6}]")] {
        let url = format!("http://{host}:9080/reviews/0");
        let load = lab.load(PRODUCTPAGE, &["--requests", "50", "-H", "end-user:jason", &url]).unwrap();
        // The route applies by the Service's address, whatever the request calls its host.
        assert_eq!((load.with_status(200), load.from_version("reviews-v3")), (50, 50), "{host}: {load:?}");
    }
}

fn http2_is_routed(lab: &Lab) {
    let arguments = ["--http2", "--requests", "100", "--concurrency", "4", "-H", "end-user:jason", REVIEWS];
    let load = lab.load(PRODUCTPAGE, &arguments).unwrap();
    assert_eq!((load.with_status(200), load.from_version("reviews-v3")), (100, 100), "{load:?}");
}

fn consumer_route(lab: &Lab) {
    let arguments = ["--requests", "200", "--concurrency", "4", REVIEWS];
    let before = lab.load("guests/deploy/visitor", &arguments).unwrap();
    assert_eq!((before.with_status(200), before.from_version("reviews-v3")), (200, 0), "{before:?}");
    let route = include_str!("manifests/consumer-route.yaml");
    lab.apply(route).unwrap();
    let guests = lab.load("guests/deploy/visitor", &arguments).unwrap();
    assert_eq!((guests.with_status(200), guests.from_version("reviews-v3")), (200, 200), "{guests:?}");
    let others = lab.load(PRODUCTPAGE, &arguments).unwrap();
    assert_eq!((others.with_status(200), others.from_version("reviews-v3")), (200, 0), "{others:?}");
    lab.delete(route).unwrap();
    let after = lab.load("guests/deploy/visitor", &arguments).unwrap();
    assert_eq!((after.with_status(200), after.from_version("reviews-v3")), (200, 0), "{after:?}");
}

fn a_broken_file_changes_nothing(lab: &Lab) {
    let mut good = String::new();
    lab.edit("canary.yaml", |text| {
        good = text.clone();
        text + "\n  not: [yaml"
    })
    .unwrap();
    weir_tests::wait::until("the problem to be told", crate::SOON, || {
        Ok(lab.view()?.problems.iter().any(|problem| problem.contains("canary.yaml")).then_some(()))
    })
    .unwrap();
    let load = lab.load(PRODUCTPAGE, &["--requests", "50", "-H", "end-user:jason", REVIEWS]).unwrap();
    assert_eq!((load.with_status(200), load.from_version("reviews-v3")), (50, 50), "{load:?}");
    lab.edit("canary.yaml", |_| good).unwrap();
    weir_tests::wait::until("the problem to be gone", crate::SOON, || {
        Ok(lab.view()?.problems.is_empty().then_some(()))
    })
    .unwrap();
}

fn breaker(lab: &Lab) {
    let policy = sample("circuit-breaker.yaml").unwrap();
    let load = ["--requests", "500", "--concurrency", "20", "http://details.bookinfo:9080/details/0"];
    lab.apply(&policy).unwrap();
    let with = lab.load(PRODUCTPAGE, &load).unwrap();
    lab.delete(&policy).unwrap();
    let (answered, refused) = (with.with_status(200), with.with_status(503));
    assert!(answered > 0 && refused > 0 && answered + refused == 500 && with.errors == 0, "{with:?}");
    let without = lab.load(PRODUCTPAGE, &load).unwrap();
    assert!(without.is_all_200(), "{without:?}");
}

fn strict(lab: &Lab) {
    let url = "http://details.bookinfo:9080/details/0";
    let client = "outside/deploy/client";
    assert_eq!(lab.get(client, &[url]).unwrap().status(), 200);
    let strict = sample("strict.yaml").unwrap();
    lab.apply(&strict).unwrap();
    let refused = lab.get(client, &["--timeout", "5", url]).unwrap();
    assert!(matches!(&refused, Answer::None(why) if !why.contains("timeout")), "{refused:?}");
    assert_eq!(lab.get(PRODUCTPAGE, &[url]).unwrap().status(), 200);
    assert_eq!(lab.get("guests/deploy/visitor", &[url]).unwrap().status(), 200);
    // The probes of the node itself go on.
    assert!(lab.view().unwrap().pods.iter().all(|pod| pod.ready));
    lab.apply(&strict.replace("    weir.dev/mode: strict\n", "")).unwrap();
    assert_eq!(lab.get(client, &[url]).unwrap().status(), 200);
}

fn the_link_holds_tls(lab: &Lab) {
    let view = lab.view().unwrap();
    let source = lab.pod("bookinfo", "productpage-v1").unwrap();
    let away = view
        .pods
        .iter()
        .find(|pod| {
            pod.node != source.node && pod.namespace == "bookinfo" && pod.name.starts_with("reviews-")
        })
        .expect("reviews has a pod on the other node");
    let netns = std::path::Path::new("/run/netns").join(&view.nodes[0].netns);
    let url = |pod: &weir_tests::lab::view::Pod| format!("http://{}:9080/reviews/0", pod.address(false));
    // Only connections that begin under the eyes of the capture can be judged whole: a pod's own address dials anew.
    let capture = Capture::start(&netns, "eth0").unwrap();
    let load = lab.load(PRODUCTPAGE, &["--requests", "50", "--concurrency", "10", &url(away)]).unwrap();
    let frames = capture.stop().unwrap();
    assert!(load.is_all_200(), "{load:?}");
    let both = source.addresses.iter().chain(&away.addresses).copied().collect();
    let verdict = Verdict::of(&frames, &both);
    let ours: Vec<_> = verdict.foreign.iter().filter(|foreign| !foreign.contains("not captured")).collect();
    assert!(verdict.tls13 > 0 && verdict.clear.is_empty() && ours.is_empty(), "{verdict:?}");
    assert_eq!(verdict.server_ports.into_iter().collect::<Vec<_>>(), [9080]);

    let capture = Capture::start(&netns, "eth0").unwrap();
    let client = lab.pod("outside", "client").unwrap();
    let clear = view
        .pods
        .iter()
        .find(|pod| {
            pod.node != client.node && pod.namespace == "bookinfo" && pod.name.starts_with("reviews-")
        })
        .expect("reviews has a pod on the other node");
    assert_eq!(lab.get("outside/deploy/client", &[&url(clear)]).unwrap().status(), 200);
    let verdict = Verdict::of(&capture.stop().unwrap(), &clear.addresses.iter().copied().collect());
    assert!(!verdict.clear.is_empty(), "a request in clear was not found: {verdict:?}");
}
