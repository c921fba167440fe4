//! XBackends: pods by their labels, and hosts outside of the cluster by names that a DNS server of the test's own gives.

mod outside;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use weir_tests::lab::access_log::{Line, Request};
use weir_tests::lab::{Lab, Plan, can_run};
use weir_tests::wait;

use self::outside::Outside;
use crate::tls::{Keys, authority};
use crate::{FORGOTTEN, SOON, has, run};

const CLIENT: &str = "xbackends/deploy/other";
/// A name is asked for again after 5 s at the soonest, and a failed look-up takes as long as `resolv.conf` lets it.
const ASKED_AGAIN: Duration = Duration::from_secs(40);

/// Name, port, the XBackend's `tls`, and what its clients are answered.
const HOSTS: [(&str, u16, &str, u16); 9] = [
    ("one", 8080, "", 200),
    (
        "secure",
        8443,
        "hostname: shop.example, caCertificateRefs: [{group: \"\", kind: ConfigMap, name: authority}]",
        200,
    ),
    (
        "wrong-name",
        8443,
        "hostname: other.example, caCertificateRefs: [{group: \"\", kind: ConfigMap, name: authority}]",
        503,
    ),
    ("web-authority", 8443, "hostname: shop.example, wellKnownCACertificates: System", 503),
    (
        "absent-authority",
        8443,
        "hostname: shop.example, caCertificateRefs: [{group: \"\", kind: ConfigMap, name: absent}]",
        500,
    ),
    ("missing", 8080, "", 503),
    ("loopback", 8080, "", 503),
    ("metadata", 8080, "", 503),
    ("inside", 9080, "", 503),
];

#[test]
fn lab_xbackends_lead_to_pods_and_to_hosts_outside() {
    if !can_run() || !has("openssl") || !has("ip") {
        return;
    }
    let keys = Keys::new();
    let outside = Outside::new();
    let lab = Plan::new("xbackends")
        .sample("lab.yaml")
        .manifest("xbackends.yaml", include_str!("manifests/xbackends.yaml"))
        .manifest("hosts.yaml", hosts(&keys))
        .up_flag(format!("--node-flag=--resolv-conf={}", outside.resolv_conf().display()))
        .up()
        .unwrap();
    let outside = outside.serve(&lab, &keys);
    run(
        lab,
        &[
            ("pods with all the labels are behind the Gateway and the Service", &|lab| {
                both_answer(lab, &at_gateway(lab, "chosen"));
                both_answer(lab, &at_service("chosen"));
            }),
            ("they are reached by mutual TLS, which their namespace demands", &|lab| {
                let mark = lab.mark().unwrap();
                both_answer(lab, &at_service("chosen"));
                let node = lab.pod("xbackends", "other").unwrap().node;
                let lines = lab.access_log(&node, &mark).unwrap();
                let sent = lines.iter().filter_map(Line::request);
                let sent: Vec<&Request> = sent
                    .filter(|sent| sent.destination.as_deref() == Some("xbackends/XBackend:chosen:9080"))
                    .collect();
                let ways: BTreeSet<&str> = sent.iter().map(|sent| sent.security.as_str()).collect();
                assert_eq!(ways, BTreeSet::from(["mutual_tls", "node"]), "{lines:?}");
                assert!(sent.iter().all(|sent| sent.peer_identity.is_some()), "{sent:?}");
            }),
            ("a session persists as the XBackend says", &|lab| {
                let begun = lab.get(CLIENT, &[&at_service("kept")]).unwrap().response().unwrap();
                let token = begun.header("x-session").to_owned();
                assert!(!token.is_empty(), "{begun:?}");
                let header = format!("x-session:{token}");
                let load =
                    lab.load(CLIENT, &["--requests", "30", "-H", &header, &at_service("kept")]).unwrap();
                assert_eq!(load.pods().len(), 1, "{load:?}");
            }),
            ("names are resolved, but for those that nobody may dial", &|lab| {
                for node in ["node-1", "node-2"] {
                    let what = format!("{node} to resolve them");
                    wait::until(&what, ASKED_AGAIN, || Ok((unresolved(lab, node) == 4.0).then_some(())))
                        .unwrap();
                }
                for result in ["found", "absent", "refused"] {
                    assert!(lookups(lab, result) > 0.0, "{result}");
                }
            }),
            ("hosts are reached as their XBackends say, or not at all", &|lab| {
                for (name, _, _, expected) in HOSTS {
                    for url in [at_gateway(lab, name), at_service(name)] {
                        assert_eq!(status(lab, &url), expected, "{url}");
                    }
                }
            }),
            ("a host is sent the name that its client asked for", &|lab| {
                let seen = lab.get(CLIENT, &[&at_service("one")]).unwrap().response().unwrap().body;
                assert_eq!(seen, "door.xbackends", "{seen}");
            }),
            ("an XBackend tells what keeps it from being used", &|lab| {
                assert_eq!(condition(lab, "one", "Accepted")["status"], "True");
                assert_eq!(condition(lab, "absent-authority", "Accepted")["reason"], "NoValidCACertificate");
                assert_eq!(
                    condition(lab, "absent-authority", "ResolvedRefs")["reason"],
                    "InvalidCACertificateRef"
                );
            }),
            ("an address that changes is followed", &|lab| {
                let answered = || lab.get(CLIENT, &[&at_service("one")]).unwrap().response().unwrap();
                assert_eq!(answered().header("x-bookinfo-pod"), "first");
                outside.is("one", 1);
                wait::until("the second host to answer", ASKED_AGAIN, || {
                    Ok((answered().header("x-bookinfo-pod") == "second").then_some(()))
                })
                .unwrap();
            }),
            ("the last answer serves while the DNS server fails", &|lab| {
                let before = lookups(lab, "failed");
                outside.fails(true);
                // More than all names fail once, so that this one has.
                let failed = || lookups(lab, "failed") - before > HOSTS.len() as f64;
                wait::until("every look-up to fail", ASKED_AGAIN, || Ok(failed().then_some(()))).unwrap();
                assert_eq!(status(lab, &at_service("one")), 200);
                outside.fails(false);
            }),
            ("what comes before the first answer waits for it", &|lab| {
                outside.is("late", 0);
                outside.holds("late");
                lab.apply(&late()).unwrap();
                wait::until("the nodes to ask", SOON, || Ok(outside.is_waited_for().then_some(()))).unwrap();
                let mut clients = [80, 9000].map(|port| Client::asks(lab, port, "/late"));
                for client in &mut clients {
                    assert!(
                        client.waits(),
                        "port {} is answered before the DNS server has been heard",
                        client.port
                    );
                }
                outside.releases();
                for client in clients {
                    let port = client.port;
                    let answer = client.answer();
                    assert!(answer.starts_with("HTTP/1.1 200 "), "port {port}: {answer}");
                }
            }),
            ("it does not wait for ever", &|lab| {
                outside.holds("never");
                lab.apply(&late().replace("late", "never")).unwrap();
                let answer = Client::asks(lab, 80, "/never").answer();
                assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
                assert!(answer.contains("XBackend xbackends/never"), "{answer}");
                assert!(answer.contains("has not been resolved"), "{answer}");
                assert_eq!(Client::asks(lab, 9000, "/never").answer(), "", "a connection is reset");
                outside.releases();
            }),
        ],
    );
}

/// The XBackends of hosts, and the routes to them.
fn hosts(keys: &Keys) -> String {
    let mut documents = vec![authority("xbackends", "authority", &keys.text("authority.pem"))];
    let mut rules = String::new();
    for (name, port, tls, _) in HOSTS {
        let tls = match tls {
            "" => String::new(),
            validation => format!("  tls: {{mode: ServerOnly, validation: {{{validation}}}}}\n"),
        };
        // The same server has several names.
        documents.push(format!(
            "apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackend\n\
             metadata: {{name: {name}, namespace: xbackends}}\nspec:\n  type: ExternalHostname\n  \
             externalHostname: {{hostname: {name}.outside.example}}\n  port: {{number: {port}}}\n{tls}"
        ));
        rules += &format!(
            "    - matches: [{{path: {{value: /{name}}}}}]\n      \
             backendRefs: [{{group: gateway.networking.x-k8s.io, kind: XBackend, name: {name}}}]\n"
        );
    }
    documents.push(format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: hosts, namespace: xbackends}}\n\
         spec:\n  parentRefs: [{{name: edge}}, {{group: \"\", kind: Service, name: door}}]\n  rules:\n{rules}"
    ));
    documents.join("---\n")
}

/// One more XBackend of a host, with a route of requests and one of connections to it.
fn late() -> String {
    r#"
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: late, namespace: xbackends}
spec:
  type: ExternalHostname
  externalHostname: {hostname: late.outside.example}
  port: {number: 8080}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: late, namespace: xbackends}
spec:
  parentRefs: [{name: edge, sectionName: http}]
  rules:
    - matches: [{path: {value: /late}}]
      backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: late}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: connections, namespace: xbackends}
spec:
  parentRefs: [{name: edge, sectionName: tcp}]
  rules:
    - backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: late}]
"#
    .to_owned()
}

/// A client of the Gateway that has sent a request.
struct Client {
    port: u16,
    stream: TcpStream,
}

impl Client {
    fn asks(lab: &Lab, port: u16, path: &str) -> Self {
        let addresses = lab.gateway("xbackends", "edge").unwrap();
        let address = addresses.into_iter().find(IpAddr::is_ipv4).unwrap();
        let mut stream = TcpStream::connect((address, port)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: outside\r\nconnection: close\r\n\r\n").unwrap();
        Self { port, stream }
    }

    /// Whether nothing comes for a moment, in which an answer of the proxy's own would have.
    fn waits(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let error = self.stream.read(&mut [0]).err();
        error.is_some_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// All that it is answered; of a connection that is reset, what came before.
    fn answer(mut self) -> String {
        self.stream.set_read_timeout(Some(SOON)).unwrap();
        let mut answer = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        String::from_utf8(answer).unwrap()
    }
}

fn at_service(path: &str) -> String {
    format!("http://door.xbackends/{path}")
}

fn at_gateway(lab: &Lab, path: &str) -> String {
    let addresses = lab.gateway("xbackends", "edge").unwrap();
    let address = addresses.iter().find(|address| address.is_ipv4()).unwrap();
    format!("http://{address}/{path}")
}

/// A Gateway is asked by the machine, a Service by a pod.
fn is_of_gateway(url: &str) -> bool {
    !url.starts_with("http://door")
}

fn status(lab: &Lab, url: &str) -> u16 {
    let answer = match is_of_gateway(url) {
        true => lab.get_from_host(&[url]),
        false => lab.get(CLIENT, &[url]),
    };
    answer.unwrap().status()
}

/// Waits until both pods have answered, and nobody else.
fn both_answer(lab: &Lab, url: &str) {
    let mut seen = BTreeSet::new();
    let arguments = ["--requests", "20", "-H", "connection:close", url];
    wait::until(&format!("both pods to answer at {url}"), FORGOTTEN, || {
        let load = match is_of_gateway(url) {
            true => lab.start_load_from_host(&arguments)?.report()?,
            false => lab.load(CLIENT, &arguments)?,
        };
        seen.extend(load.pods().into_keys());
        Ok((load.is_all_200() && seen.len() == 2).then_some(()))
    })
    .unwrap();
    assert!(seen.iter().all(|pod| pod.contains("chosen")), "{url}: {seen:?}");
}

/// How many names a node cannot dial.
fn unresolved(lab: &Lab, node: &str) -> f64 {
    lab.metrics(node).unwrap().sum("weir_dns_names_unresolved", &[])
}

fn lookups(lab: &Lab, result: &str) -> f64 {
    lab.metrics("node-1").unwrap().sum("weir_dns_lookups_total", &[("result", result)])
}

/// A condition of an XBackend, as it is said of the Gateway.
fn condition(lab: &Lab, name: &str, kind: &str) -> Value {
    let status: Value = lab.operator("/status").unwrap();
    let objects = status["objects"].as_array().unwrap();
    let object =
        objects.iter().find(|object| object["kind"] == "XBackend" && object["name"] == name).unwrap();
    let ancestors = object["status"]["ancestors"].as_array().unwrap();
    let of_gateway = ancestors.iter().find(|a| a["ancestorRef"]["name"] == "edge").unwrap();
    let conditions = of_gateway["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap().clone()
}
