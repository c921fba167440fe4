//! The guides about HTTP at a Gateway.

use weir_tests::lab::Lab;
use weir_tests::lab::access_log::Line;

use super::{Guides, http_gateway};

pub(super) fn simple_gateway(guides: &Guides, lab: &Lab) {
    guides.follow(
        lab,
        "prod-web",
        &["simple-gateway/gateway.yaml", "simple-gateway/httproute.yaml"],
        |guide| {
            assert_eq!(guide.serving(80).get("http://anything.example/any/path?at=all").pod(), "foo-svc");
        },
    );
}

pub(super) fn routing(guides: &Guides, lab: &Lab) {
    let manifests =
        ["http-routing/gateway.yaml", "http-routing/foo-httproute.yaml", "http-routing/bar-httproute.yaml"];
    guides.follow(lab, "example-gateway", &manifests, |guide| {
        guide.serving(80);
        assert_eq!(guide.get("http://example.com/").pod(), "example-svc");
        assert_eq!(guide.get("http://foo.example.com/login").pod(), "foo-svc");
        assert_eq!(guide.get("http://foo.example.com/login/again").pod(), "foo-svc");
        for missing in
            ["http://foo.example.com/", "http://foo.example.com/logins", "http://other.example.com/"]
        {
            assert_eq!(guide.get(missing).status, 404, "{missing}");
        }
        assert_eq!(guide.get("http://bar.example.com/").pod(), "bar-svc");
        let with = |env: &str| guide.curl(&["-H", env], "http://bar.example.com/").pod().to_owned();
        assert_eq!(with("env: canary"), "bar-svc-canary");
        assert_eq!(with("env: canary2"), "bar-svc");
    });
}

pub(super) fn reference(guides: &Guides, lab: &Lab) {
    guides.follow(lab, "my-gateway", &["basic-http.yaml"], |guide| {
        guide.serving(80);
        assert_eq!(guide.get("http://foo.com/bar/baz").pod(), "my-service1");
        let magic = ["-H", "magic: foo"];
        assert_eq!(guide.curl(&magic, "http://foo.com/some/thing?great=example").pod(), "my-service2");
        assert_eq!(guide.curl(&magic, "http://foo.com/some/thing?great=thing").status, 404);
        assert_eq!(
            guide.curl(&["-X", "POST", "-H", "magic: foo"], "http://foo.com/some/thing?great=example").status,
            404
        );
        assert_eq!(guide.get("http://foo.com/some/thing?great=example").status, 404);
        assert_eq!(guide.get("http://bar.com/bar").status, 404);
    });
}

pub(super) fn redirects(guides: &Guides, lab: &Lab) {
    let gateway = "http-redirect-rewrite/gateway-redirect-http-https.yaml";
    let follow = |routes: &[&str], expected: &[(&[&str], &str, u16, &str)]| {
        let paths: Vec<String> = routes
            .iter()
            .map(|route| format!("http-redirect-rewrite/httproute-redirect-{route}.yaml"))
            .collect();
        let manifests: Vec<&str> = [gateway].into_iter().chain(paths.iter().map(String::as_str)).collect();
        guides.follow(lab, "redirect-gateway", &manifests, |guide| {
            guide.serving(80).serving(443);
            for (arguments, url, status, location) in expected {
                let reply = guide.curl(arguments, url);
                assert_eq!(
                    (reply.status, reply.header("location")),
                    (*status, *location),
                    "{url}: {reply:?}"
                );
            }
            if routes.contains(&"https") {
                assert_eq!(guide.get("https://redirect.example/a").pod(), "example-svc");
            }
        });
    };
    follow(
        &["http", "https"],
        &[(&[], "http://redirect.example/a?b=c", 301, "https://redirect.example/a?b=c")],
    );
    let other = "http://forms.example.com/other";
    follow(
        &["303", "307", "308"],
        &[
            (
                &["-d", "a=b"],
                "http://forms.example.com/submit-form",
                303,
                "http://forms.example.com/thank-you",
            ),
            (&[], "http://forms.example.com/submit-form", 404, ""),
            (&[], other, 404, ""),
            (&["-d", "a=b"], "http://api.example.com/api/v1/x", 307, "http://api.example.com/api/v2"),
            (&["-d", "a=b"], "http://api.example.com/old-api", 308, "http://api.example.com/new-api"),
        ],
    );
    let teaspoon = "http://redirect.example/cayenne/teaspoon";
    follow(&["full"], &[(&[], teaspoon, 302, "http://redirect.example/paprika")]);
    follow(&["prefix"], &[(&[], teaspoon, 302, "http://redirect.example/paprika/teaspoon")]);
}

pub(super) fn rewrites(guides: &Guides, lab: &Lab) {
    for (route, expected) in [
        ("rewrite", "/cardamom/teaspoon"),
        ("rewrite-full-path", "/fennel"),
        ("rewrite-prefix-path", "/fennel/teaspoon"),
    ] {
        let route = format!("http-redirect-rewrite/httproute-{route}.yaml");
        let gateway = http_gateway("redirect-gateway");
        guides.follow(lab, "redirect-gateway", &[&gateway, &route], |guide| {
            let echo = guide.serving(80).get("http://rewrite.example/cardamom/teaspoon?a=b").echo();
            assert_eq!(echo["headers"]["host"], "elsewhere.example");
            assert_eq!((echo["path"].as_str(), echo["query"].as_str()), (Some(expected), Some("a=b")));
        });
    }
}

pub(super) fn header_modifiers(guides: &Guides, lab: &Lab) {
    let gateway = http_gateway("acme-gw");
    // Each of the three is the same route with another rule.
    let with = |manifest: &str, url: &str, sent: &str, name: &str, expected: Option<&str>| {
        guides.follow(lab, "acme-gw", &[&gateway, manifest], |guide| {
            let echo = guide.serving(80).curl(&["-H", sent], url).echo();
            assert_eq!(echo["headers"][name].as_str(), expected, "{manifest}: {echo}");
        });
    };
    let own = "my-header-name: own";
    let added = Some("own, my-header-value");
    with("http-request-header-add.yaml", "http://a/add-a-request-header", own, "my-header-name", added);
    let set = Some("my-new-header-value");
    with("http-request-header-set.yaml", "http://a/edit-a-request-header", own, "my-header-name", set);
    let id = "x-request-id: 7";
    with("http-request-header-remove.yaml", "http://a/remove-a-request-header", id, "x-request-id", None);
    guides.follow(lab, "acme-gw", &[&gateway, "http-response-header.yaml"], |guide| {
        let reply = guide.serving(80).get("http://a/add-multiple-response-headers");
        for (name, value) in [
            ("x-header-add-1", "header-add-1"),
            ("x-header-add-2", "header-add-2"),
            ("x-header-add-3", "header-add-3"),
            ("content-disposition", "attachment; filename=\"example_file.txt\""),
        ] {
            assert_eq!(reply.header(name), value, "{reply:?}");
        }
    });
}

pub(super) fn traffic_splitting(guides: &Guides, lab: &Lab) {
    let follow = |route: &str, test: &str, share_of_v2: std::ops::RangeInclusive<u64>| {
        let route = format!("traffic-splitting/{route}.yaml");
        guides.follow(lab, "prod-web", &["simple-gateway/gateway.yaml", &route], |guide| {
            let load = guide.serving(80).load("foo.example.com", 200);
            assert!(load.is_all_200(), "{load:?}");
            assert_eq!(load.from_pod("foo-v1") + load.from_pod("foo-v2"), 200);
            assert!(share_of_v2.contains(&load.from_pod("foo-v2")), "{route}: {load:?}");
            let tested = guide.curl(&["-H", "traffic: test"], "http://foo.example.com/");
            assert!(test.is_empty() || tested.pod() == test, "{route}: {tested:?}");
        });
    };
    follow("traffic-split-1", "foo-v2", 0..=0);
    follow("traffic-split-2", "", 15..=25);
    follow("traffic-split-3", "foo-v2", 200..=200);
    follow("simple-split", "", 15..=25);
}

pub(super) fn mirroring(guides: &Guides, lab: &Lab) {
    let gateway = http_gateway("mirror-gateway");
    guides.follow(
        lab,
        "mirror-gateway",
        &[&gateway, "http-request-mirroring/httproute-mirroring.yaml"],
        |guide| {
            let mark = lab.mark().unwrap();
            assert_eq!(guide.serving(80).get("http://mirror.example/mirrored").pod(), "foo-v1");
            let mirrored = || {
                let nodes = lab.view()?.nodes;
                let mut lines = Vec::new();
                for node in nodes {
                    lines.extend(lab.access_log(&node.name, &mark)?);
                }
                let is_it = |line: &Line| match line {
                    Line::Mirror(copy) => copy.destination.as_deref() == Some("default/foo-v2:8080"),
                    _ => false,
                };
                Ok(lines.iter().any(is_it).then_some(()))
            };
            weir_tests::wait::until("the mirror's answer", crate::SOON, mirrored).unwrap();
        },
    );
}

pub(super) fn cors(guides: &Guides, lab: &Lab) {
    let gateway = http_gateway("same-namespace");
    guides.follow(lab, "same-namespace", &[&gateway, "http-cors/httproute-credentials-true.yaml"], |guide| {
        let url = "http://a/cors-behavior-creds-true";
        let preflight = ["-X", "OPTIONS", "-H", "access-control-request-method: PUT", "-H"];
        let ask = |arguments: &[&str], origin: &str| {
            let origin = format!("origin: {origin}");
            let arguments: Vec<&str> = arguments.iter().copied().chain([origin.as_str()]).collect();
            let reply = guide.serving(80).curl(&arguments, url);
            let header = |name: &str| reply.header(name).to_owned();
            (header("access-control-allow-origin"), header("access-control-allow-credentials"))
        };
        let allowed = ("https://app.example".to_owned(), "true".to_owned());
        assert_eq!(ask(&preflight, "https://app.example"), allowed);
        assert_eq!(ask(&["-H"], "https://app.example"), allowed);
        assert_eq!(ask(&preflight, "https://evil.example").0, "");
        assert_eq!(ask(&["-H"], "https://evil.example").0, "");
    });
}

pub(super) fn timeouts_and_names(guides: &Guides, lab: &Lab) {
    let gateway = http_gateway("example-gateway");
    // The backend, which the guide leaves to its reader, takes longer than the rule waits for it.
    let slow = super::server(
        "default",
        "timeout-svc",
        "[echo, --port, \"9080\", --delay-ms, \"4000\"]",
        &[8080],
        9080,
    );
    let manifests =
        [gateway.as_str(), "http-route-timeouts/timeout-example.yaml", &slow, "http-route-rule-name.yaml"];
    guides.follow(lab, "example-gateway", &manifests, |guide| {
        guide.serving(80);
        assert_eq!(guide.get("http://a/").pod(), "backend-mirror-svc");
        assert_eq!(guide.curl(&["-X", "PATCH"], "http://a/").pod(), "backend-svc");
        assert_eq!(guide.curl(&["-X", "PUT"], "http://a/").status, 404);
        weir_tests::wait::until("the slow backend to be late", crate::SOON, || {
            Ok((guide.get("http://a/timeout").status == 504).then_some(()))
        })
        .unwrap();
    });
}

pub(super) fn http_and_https(guides: &Guides, lab: &Lab) {
    let files = ["gateway", "tls-redirect-route", "foo-route", "bar-route"];
    let files = files.map(|file| format!("simple-http-https/{file}.yaml"));
    let manifests: Vec<&str> = files.iter().map(String::as_str).collect();
    guides.follow(lab, "example-gateway", &manifests, |guide| {
        guide.serving(80).serving(443);
        assert_eq!(guide.get("https://foo.example.com/").pod(), "foo-app");
        assert_eq!(guide.get("https://foo.example.com/orders/7").pod(), "foo-orders-app");
        assert_eq!(guide.curl(&["--http2"], "https://bar.example.com/orders").pod(), "bar-app");
        let redirected = guide.get("http://bar.example.com/orders?a=b");
        let location = redirected.header("location");
        assert_eq!((redirected.status, location), (302, "https://bar.example.com/orders?a=b"));
        assert_eq!(guide.get("http://other.example.com/").status, 404);
    });
}

/// Tea and coffee behind one hostname, where the pods know nothing of the paths.
pub(super) fn cafe(guides: &Guides, lab: &Lab) {
    let route = |name: &str, rules: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\n\
             spec:\n  parentRefs: [{{name: cafe, sectionName: http}}]\n  hostnames: [cafe.example.com]\n  rules:\n{rules}"
        )
    };
    let rule = |kind: &str, path: &str, rewrite: &str, backend: &str| {
        format!(
            "  - matches: [{{path: {{type: {kind}, value: {path}}}}}]\n    \
             filters: [{{type: URLRewrite, urlRewrite: {{path: {rewrite}}}}}]\n    \
             backendRefs: [{{name: {backend}, port: 80}}]\n"
        )
    };
    let full = |path: &str| format!("{{type: ReplaceFullPath, replaceFullPath: {path}}}");
    let coffee = rule("PathPrefix", "/coffee", &full("/beans"), "coffee")
        + &rule("Exact", "/latte", &full("/menu/latte"), "coffee");
    let tea = rule("PathPrefix", "/tea", "{type: ReplacePrefixMatch, replacePrefixMatch: /}", "tea");
    let manifests = [http_gateway("cafe"), route("coffee", &coffee), route("tea", &tea)];
    let manifests: Vec<&str> = manifests.iter().map(String::as_str).collect();
    guides.follow(lab, "cafe", &manifests, |guide| {
        guide.serving(80);
        for (path, pod, arrives) in [
            ("/coffee", "coffee", "/beans"),
            ("/coffee/flavors?size=large", "coffee", "/beans"),
            ("/latte", "coffee", "/menu/latte"),
            ("/tea/green/sencha", "tea", "/green/sencha"),
            ("/tea", "tea", "/"),
        ] {
            let reply = guide.get(&format!("http://cafe.example.com{path}"));
            assert_eq!((reply.pod(), reply.echo()["path"].as_str()), (pod, Some(arrives)), "{path}");
        }
        assert_eq!(guide.get("http://cafe.example.com/latte/more").status, 404);
        assert_eq!(guide.get("http://cafe.example.com/water").status, 404);
    });
}
