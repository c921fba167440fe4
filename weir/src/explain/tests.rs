//! Questions about a small mesh, and the texts that answer them: `tests/*.txt` beside this file. `UPDATE_GOLDEN=1` writes
//! them; every line that changes is read.

use std::path::Path;

use mesh_compile::{Settings, Snapshot, compile, manifest};
use mesh_ir::config::MeshConfig;
use mesh_ir::name::TrustDomain;
use mesh_ir::resource::{Mode, SameNode};
use mesh_ir::view::MeshView;

use super::answer::{Explanation, HandledAs, Reached};
use super::question::Question;
use super::{decide, show, view};

fn trust_domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

/// The mesh of these manifests, after its way through the JSON of the admin socket.
fn mesh(text: &str) -> MeshView {
    let mut snapshot = Snapshot::default();
    for object in manifest::parse(text) {
        if let Some(object) = object.unwrap() {
            snapshot.insert(object);
        }
    }
    let settings = Settings {
        trust_domain: trust_domain(),
        default_mode: Mode::Permissive,
        same_node: SameNode::Direct,
    };
    let json = serde_json::to_string(&compile(&snapshot, &settings).config).unwrap();
    let config: MeshConfig = serde_json::from_str(&json).unwrap();
    view(&config)
}

fn shop() -> MeshView {
    mesh(include_str!("tests/shop.yaml"))
}

fn ask(view: &MeshView, from: &str, url: &str, headers: &[&str]) -> anyhow::Result<Explanation> {
    let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
    decide::answer(view, &trust_domain(), &Question::parse(from, url, "GET", &headers)?)
}

fn check(name: &str, from: &str, url: &str, headers: &[&str]) -> Explanation {
    check_in(&shop(), name, from, url, headers)
}

fn check_in(view: &MeshView, name: &str, from: &str, url: &str, headers: &[&str]) -> Explanation {
    let answer = ask(view, from, url, headers).unwrap();
    let actual = show::text(&answer);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/explain/tests/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(actual, expected, "{name}: UPDATE_GOLDEN=1 writes it anew");
    answer
}

#[test]
fn explain_canary_by_weight_and_by_header() {
    let answer = check("canary-weights", "shop/web-1", "http://reviews:9080/reviews/0", &[]);
    assert_eq!(answer.backends.iter().map(|b| b.percent).collect::<Vec<_>>(), [90.0, 10.0]);
    let answer =
        check("canary-header", "shop/deploy/web", "http://reviews.shop:9080/x", &["End-User: jason"]);
    assert_eq!(answer.route.unwrap().rule.unwrap().index, 0);
}

#[test]
fn explain_consumer_route_goes_before_the_producers() {
    check("consumer-route", "client/app", "http://reviews.shop.svc.cluster.local:9080/consumer", &[]);
    let answer = check("consumer-no-rule", "client/app", "http://10.0.0.1:9080/other", &[]);
    assert_eq!(answer.answer.unwrap().status, 404);
}

#[test]
fn explain_filters_in_words() {
    check("filters", "shop/web-1", "http://filtered/old/page?q=1", &[]);
    let answer = check("redirect", "shop/web-1", "http://filtered/gone", &[]);
    assert_eq!(answer.answer.unwrap().location.as_deref(), Some("https://elsewhere.example/gone"));
}

#[test]
fn explain_service_without_a_route_with_a_breaker() {
    check("breaker", "shop/web-1", "http://details:9080/", &[]);
}

#[test]
fn explain_backends_that_cannot_answer() {
    let answer = check("broken", "shop/web-1", "http://broken/", &[]);
    assert_eq!(answer.warnings.len(), 2, "{:?}", answer.warnings);
}

#[test]
fn explain_strict_refuses_who_is_outside_the_mesh() {
    let answer = check("strict-plaintext", "plain/curl", "http://vault.safe/", &[]);
    assert_eq!(answer.handling.by, HandledAs::LeftAlone);
    assert!(answer.backends[0].endpoints[0].refusal.as_ref().unwrap().contains("mode strict"));
    let answer = ask(&shop(), "shop/web-1", "http://vault.safe/", &[]).unwrap();
    assert_eq!(answer.backends[0].endpoints[0].refusal, None);
}

#[test]
fn explain_who_is_asked_first() {
    let case = include_str!("../../../tests/golden/listener-filters/in.yaml");
    let (_, manifests) = case.split_once("---\n").unwrap();
    let view = mesh(manifests);
    let answer =
        check_in(&view, "gateway-authorized", "outside", "http://192.0.2.1/", &["Host: guarded.example"]);
    assert_eq!((answer.authorizers.len(), answer.filters.len()), (2, 1));
}

#[test]
fn explain_gateway_from_outside() {
    check("gateway", "outside", "http://192.0.2.1/productpage", &["Host: shop.example"]);
    check("gateway-not-found", "outside", "http://shop.example/admin", &[]);
    let answer = check("gateway-wrong-scheme", "outside", "https://192.0.2.1:80/", &[]);
    assert_eq!(answer.handling.by, HandledAs::Refused);
    let answer = ask(&shop(), "shop/web-1", "http://shop.example/productpage", &[]).unwrap();
    assert_eq!(answer.route.unwrap().rule.unwrap().route, "HTTPRoute shop/front");
    let Reached::MutualTlsOrWithinNode { node, .. } = &answer.backends[0].endpoints[0].reached else {
        panic!("{:?}", answer.backends)
    };
    assert_eq!(node.as_str(), "node-1");
}

#[test]
fn explain_connections_and_datagrams_of_one_port_number() {
    let view = mesh(include_str!("../../../tests/golden/udp-and-tcp-on-one-port/in.yaml"));
    let answer = check_in(&view, "gateway-udp", "outside", "udp://192.0.2.1:53", &[]);
    assert_eq!(answer.handling.by, HandledAs::Udp);
    assert_eq!(answer.route.unwrap().rule.unwrap().route, "UDPRoute shop/dns");
    assert_eq!(answer.backends[0].endpoints[0].address.unwrap().port(), 5353);
    let answer = check_in(&view, "gateway-tcp", "outside", "tcp://192.0.2.1:53", &[]);
    assert_eq!(answer.handling.by, HandledAs::Tcp);
    assert_eq!(answer.backends[0].endpoints[0].address.unwrap().port(), 5354);
    let by = |url: &str| ask(&view, "outside", url, &[]).unwrap().handling.by;
    assert_eq!(by("http://192.0.2.1:53/"), HandledAs::Tcp, "whatever is spoken there");
    assert_eq!(by("tls://192.0.2.1:53"), HandledAs::Refused);
    assert_eq!(by("tcp://192.0.2.1:443"), HandledAs::Refused, "it takes requests");
    assert_eq!(by("udp://192.0.2.1:443"), HandledAs::Refused, "it has no route");
    let wrong = ask(&view, "outside", "udp://192.0.2.1:80", &[]).unwrap_err().to_string();
    assert!(wrong.contains("dns on 53 of UDP"), "{wrong}");
}

#[test]
fn explain_what_is_not_http_inside() {
    let by = |url: &str| ask(&shop(), "shop/web-1", url, &[]).unwrap().handling.by;
    assert_eq!(by("tcp://reviews:5432"), HandledAs::Tcp);
    assert_eq!(by("tcp://undeclared:443"), HandledAs::Tcp);
    assert_eq!(by("tcp://reviews:9080"), HandledAs::Refused, "it is declared to speak HTTP");
    assert_eq!(by("tls://undeclared"), HandledAs::Tcp);
    assert_eq!(by("udp://10.1.1.9:53"), HandledAs::LeftAlone);
    let wrong = ask(&shop(), "shop/web-1", "udp://reviews:9080", &[]).unwrap_err().to_string();
    assert_eq!(wrong, "Service shop/reviews has no UDP port 9080; it has none");
}

#[test]
fn explain_pods_of_one_node_that_a_network_policy_selects() {
    let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                  metadata: {name: all, namespace: client}\nspec: {podSelector: {}}\n";
    let guarded = mesh(&format!("{}\n---\n{policy}", include_str!("tests/shop.yaml")));
    let way = |view: &MeshView, from: &str, url: &str| {
        ask(view, from, url, &[]).unwrap().backends.remove(0).endpoints.remove(0).reached
    };
    let (selected, reviews) = ("http://10.1.1.9:9080/", "http://10.1.1.3:9080/");
    assert!(matches!(way(&shop(), "shop/web-1", selected), Reached::WithinNode { .. }));
    assert!(matches!(way(&guarded, "shop/web-1", selected), Reached::PodNetwork { .. }));
    assert!(matches!(way(&guarded, "client/app", reviews), Reached::PodNetwork { .. }));
    assert!(matches!(way(&guarded, "shop/web-1", reviews), Reached::WithinNode { .. }));
    let answer = ask(&guarded, "shop/web-1", selected, &[]).unwrap();
    assert!(show::text(&answer).contains("over the node's pod network in clear, is spiffe://"));
}

#[test]
fn explain_what_is_not_http_and_what_is_not_the_meshs() {
    let by = |from: &str, url: &str| ask(&shop(), from, url, &[]).unwrap().handling.by;
    check("tcp-port", "shop/web-1", "http://reviews:5432/", &[]);
    check("pod-address", "shop/web-1", "http://10.1.2.1:9080/", &[]);
    check("headless", "shop/web-1", "http://peers:7000/", &[]);
    assert_eq!(by("shop/web-1", "https://reviews:9080/"), HandledAs::Refused);
    assert_eq!(by("shop/web-1", "https://details:9080/"), HandledAs::Refused);
    assert_eq!(by("shop/web-1", "https://undeclared/"), HandledAs::Tcp);
    assert_eq!(by("shop/web-1", "http://outsiders/"), HandledAs::LeftAlone);
    assert_eq!(by("shop/web-1", "http://www.example.com/"), HandledAs::LeftAlone);
    assert_eq!(by("shop/web-1", "http://198.51.100.1/"), HandledAs::LeftAlone);
    assert_eq!(by("plain/curl", "http://reviews.shop:9080/"), HandledAs::LeftAlone);
}

#[test]
fn explain_says_what_there_is_instead() {
    let view = shop();
    let problem = |from: &str, url: &str| ask(&view, from, url, &[]).unwrap_err().to_string();
    assert_eq!(
        problem("shop/wbe-1", "http://reviews:9080/"),
        "--from shop/wbe-1: there is no such pod among those that run; did you mean shop/web-1?"
    );
    assert_eq!(
        problem("shop/deploy/wob", "http://reviews:9080/"),
        "--from shop/deploy/wob: no pod of such a Deployment runs; did you mean web?"
    );
    assert_eq!(
        problem("shop/web-1", "http://reviws:9080/"),
        "reviws in http://reviws:9080/: there is no Service shop/reviws; did you mean shop/reviews?"
    );
    assert_eq!(
        problem("shop/web-1", "http://reviews/"),
        "Service shop/reviews has no TCP port 80; it has 9080 (http), 5432 (tcp-db)"
    );
    let wrong = problem("outside", "http://192.0.2.9/");
    assert!(wrong.ends_with("there is shop/front (192.0.2.1, listeners http on 80)"), "{wrong}");
    let wrong = problem("outside", "http://192.0.2.1:81/");
    assert_eq!(wrong, "Gateway shop/front has no valid listener on port 81; it has listeners http on 80");
}

#[test]
fn explain_json_holds_what_the_text_says() {
    let answer = ask(&shop(), "shop/web-1", "http://reviews:9080/", &["end-user: jason"]).unwrap();
    let json = serde_json::to_value(&answer).unwrap();
    assert_eq!(json["from"]["identity"], "spiffe://cluster.local/ns/shop/sa/web");
    assert_eq!(json["to"]["kind"], "service");
    assert_eq!(json["route"]["rule"]["index"], 0);
    let endpoint = &json["backends"][0]["endpoints"][0];
    assert_eq!(endpoint["reached"]["way"], "mutualTls");
    assert_eq!(endpoint["reached"]["identity"], "spiffe://cluster.local/ns/shop/sa/reviews");
    assert_eq!(endpoint["address"], "10.1.2.3:9080");
}

/// Whatever is asked of the compiler's golden cases is answered or refused, and the text can be written.
#[test]
fn explain_answers_about_every_golden_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    let (mut answered, mut refused) = (0, 0);
    for case in std::fs::read_dir(root).unwrap() {
        let text = std::fs::read_to_string(case.unwrap().path().join("in.yaml")).unwrap();
        let parsed = manifest::parse(&text);
        let mut snapshot = Snapshot::default();
        for object in parsed.into_iter().filter_map(|object| object.ok().flatten()) {
            snapshot.insert(object);
        }
        let settings = Settings {
            trust_domain: trust_domain(),
            default_mode: Mode::Permissive,
            same_node: SameNode::Direct,
        };
        let view = view(&compile(&snapshot, &settings).config);
        let sources: Vec<String> =
            view.workloads().map(|w| w.name.to_string()).chain(["outside".to_owned()]).collect();
        let services = view.services().flat_map(|service| {
            service.ports.iter().map(move |port| {
                format!("http://{}.{}:{}/", service.name.name, service.name.namespace, port.port)
            })
        });
        let gateways = super::resolve::gateways(&view).flat_map(|gateway| {
            gateway.listeners.iter().flat_map(move |listener| {
                gateway.addresses.iter().flat_map(move |address| {
                    let url = move |scheme| format!("{scheme}://{address}:{}/", listener.port);
                    ["http", "tcp", "tls", "udp"].map(url)
                })
            })
        });
        let urls: Vec<String> = services.chain(gateways).collect();
        for source in &sources {
            for url in &urls {
                match ask(&view, source, url, &[]) {
                    Ok(answer) => {
                        assert!(show::text(&answer).contains(url));
                        answered += 1;
                    }
                    Err(problem) => {
                        assert!(!problem.to_string().is_empty());
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(answered > 50 && refused > 10, "{answered} {refused}");
}
