//! The guides about TLS, connections and calls at a Gateway, and about routes of other namespaces.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use weir_tests::lab::Lab;

use super::{Guides, server};
use crate::gateway::Pair;

/// foo-svc serves the same as the others and, at 443, TLS that it ends itself; my-foo-service and my-bar-service tell a
/// connection apart by what they say.
pub(super) fn servers(pair: &Pair) -> String {
    let key = pair.file.with_extension("key");
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: foo-svc, namespace: default, labels: {{app: foo-svc}}}}\nspec:\n  containers:\n  \
         - {{name: main, image: \"weir.dev/bookinfo:0.1.0\", args: [echo, --port, \"9080\"]}}\n  \
         - {{name: tls, command: [openssl, s_server, -quiet, -www, -accept, \"9443\", -cert, \"{}\", -key, \"{}\"]}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: foo-svc, namespace: default}}\nspec:\n  selector: {{app: foo-svc}}\n  ports:\n  \
         - {{name: http, port: 8080, targetPort: 9080}}\n  - {{name: grpc, port: 50051, targetPort: 9080}}\n  \
         - {{name: tls, port: 443, targetPort: 9443}}\n---\n",
        pair.file.display(),
        key.display()
    ) + &server("default", "my-foo-service", "[echo, --tcp, --port, \"6000\"]", &[6000], 6000)
        + &server("default", "my-bar-service", "[echo, --port, \"6000\"]", &[6000], 6000)
}

pub(super) fn cross_namespace(guides: &Guides, lab: &Lab) {
    // One from a namespace that the Gateway does not let in.
    let hidden = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
         metadata: {name: hidden, namespace: no-external-access}\n\
         spec:\n  parentRefs: [{name: shared-gateway, namespace: infra-ns}]\n  \
         rules: [{matches: [{path: {value: /hidden}}], backendRefs: [{name: hidden, port: 8080}]}]\n";
    let folder = |file: &str| format!("cross-namespace-routing/{file}.yaml");
    let manifests = [folder("gateway"), folder("site-route"), folder("store-route"), hidden.to_owned()];
    let manifests: Vec<&str> = manifests.iter().map(String::as_str).collect();
    guides.follow(lab, "infra-ns/shared-gateway", &manifests, |guide| {
        guide.serving(443);
        assert_eq!(guide.get("https://foo.example.com/").pod(), "home");
        assert_eq!(guide.get("https://foo.example.com/store/7").pod(), "store");
        let logins: Vec<String> =
            (0..40).map(|_| guide.get("https://foo.example.com/login").pod().to_owned()).collect();
        let v2 = logins.iter().filter(|pod| *pod == "login-v2").count();
        assert!((2..=6).contains(&v2), "{logins:?}");
        assert_eq!(guide.get("https://foo.example.com/hidden").pod(), "home");
        let status: Value = lab.operator("/status").unwrap();
        let objects = status["objects"].as_array().unwrap();
        let route = objects.iter().find(|object| object["name"] == "hidden").unwrap();
        assert_eq!(route["status"]["parents"][0]["conditions"][0]["reason"], "NotAllowedByListeners");
    });
}

pub(super) fn hostnames(guides: &Guides, lab: &Lab) {
    for (gateway, manifest, served, refused) in [
        ("tls-basic", "tls-basic.yaml", ["foo", "bar"], "other"),
        ("wildcard-tls-gateway", "wildcard-tls-gateway.yaml", ["foo", "any"], ""),
    ] {
        let route = route_to("echo", gateway, "default");
        guides.follow(lab, gateway, &[manifest, &route], |guide| {
            guide.serving(443);
            for host in served {
                assert_eq!(guide.get(&format!("https://{host}.example.com/")).pod(), "echo");
            }
            let refused =
                if refused.is_empty() { "https://example.com/" } else { "https://other.example.com/" };
            assert_eq!(guide.get(refused).status, 0);
        });
    }
}

pub(super) fn certificate_of_another_namespace(guides: &Guides, lab: &Lab) {
    let route = route_to("web", "cross-namespace-tls-gateway", "gateway-api-example-ns1");
    let gateway = "gateway-api-example-ns1/cross-namespace-tls-gateway";
    guides.follow(lab, gateway, &["tls-cert-cross-namespace.yaml", &route], |guide| {
        assert_eq!(guide.serving(443).get("https://any.example.com/").pod(), "web");
    });
}

fn route_to(service: &str, gateway: &str, namespace: &str) -> String {
    let port = if service == "web" { 80 } else { 8080 };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: tls, namespace: {namespace}}}\n\
         spec: {{parentRefs: [{{name: {gateway}}}], rules: [{{backendRefs: [{{name: {service}, port: {port}}}]}}]}}\n"
    )
}

pub(super) fn routing(guides: &Guides, lab: &Lab) {
    let files =
        ["gateway", "tls-route", "tls-route-terminate"].map(|file| format!("tls-routing/{file}.yaml"));
    let manifests: Vec<&str> = files.iter().map(String::as_str).collect();
    guides.follow(lab, "example-gateway", &manifests, |guide| {
        guide.serving(443).serving(8443);
        let passed = guide.get("https://foo.example.com/");
        assert!(passed.status == 200 && passed.body.contains("s_server"), "{passed:?}");
        assert_eq!(guide.get("https://bar.example.com:8443/").pod(), "bar-svc");
        assert_eq!(guide.get("https://bar.example.com/").status, 0);
        assert_eq!(guide.get("https://foo.example.com:8443/").status, 0);
    });
}

pub(super) fn grpc(guides: &Guides, lab: &Lab) {
    let files = ["gateway", "foo-grpcroute", "bar-grpcroute"].map(|file| format!("grpc-routing/{file}.yaml"));
    let manifests: Vec<&str> = files.iter().map(String::as_str).collect();
    guides.follow(lab, "example-gateway", &manifests, |guide| {
        guide.serving(50051);
        let call = |host: &str, method: &str, more: &[&str]| {
            let call =
                ["--http2", "-X", "POST", "-H", "content-type: application/grpc", "-H", "te: trailers"];
            let arguments: Vec<&str> = call.iter().chain(more).copied().collect();
            guide.curl(&arguments, &format!("https://{host}:50051/{method}"))
        };
        assert_eq!(call("example.com", "any.Service/Method", &[]).pod(), "example-svc");
        assert_eq!(call("foo.example.com", "com.example/Login", &[]).pod(), "foo-svc");
        let unknown = call("foo.example.com", "com.example/Logout", &[]);
        assert_eq!((unknown.status, unknown.header("grpc-status")), (200, "12"), "{unknown:?}");
        assert_eq!(call("bar.example.com", "any.Service/Method", &[]).pod(), "bar-svc");
        let canary = ["-H", "env: canary"];
        assert_eq!(call("bar.example.com", "any.Service/Method", &canary).pod(), "bar-svc-canary");
        // What is no call is for no GRPCRoute.
        assert_eq!(guide.curl(&["--http2"], "https://bar.example.com:50051/any.Service/Method").status, 404);
    });
}

pub(super) fn tcp(guides: &Guides, lab: &Lab) {
    guides.follow(lab, "my-tcp-gateway", &["basic-tcp.yaml"], |guide| {
        guide.serving(8080).serving(8090);
        let mut stream = TcpStream::connect(SocketAddr::new(guide.address, 8080)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(b"over TCP").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.starts_with("hello ") && said.ends_with("\nover TCP"), "{said:?}");
        assert_eq!(guide.get("http://a:8090/").pod(), "my-bar-service");
    });
}
