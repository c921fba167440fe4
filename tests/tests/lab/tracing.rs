//! Tracing at Gateways (XTelemetryPolicy): what a collector gets of requests by OTLP, and what those behind the Gateway are told.

use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use weir_tests::lab::client::{Answer, Response};
use weir_tests::lab::{Lab, can_run};
use weir_tests::wait;

use crate::lifecycle::{signal_program, until_restarted};
use crate::{SOON, plan, run};

/// A client's trace, and its span there.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

#[test]
fn lab_gateway_traces_requests() {
    if !can_run() {
        return;
    }
    let spans = Spans::new();
    let lab = plan("tracing")
        .manifest("tracing.yaml", include_str!("manifests/tracing.yaml"))
        .manifest("collector.yaml", spans.collector())
        .manifest("policy.yaml", policy("{numerator: 1, denominator: 1}", "Enabled"))
        .up()
        .unwrap();
    run(
        lab,
        &[
            ("a request is one span, and its try another one within", &|lab| {
                let told = told(&get(lab, "/one?secret=1", &["x-user:ann"]));
                let [own, tried] = spans.of(&told[0]);
                assert_eq!(
                    told,
                    [own["trace"].as_str().unwrap(), tried["span"].as_str().unwrap(), "01"],
                    "the backend is told of another span than the one of its try"
                );
                assert_eq!(
                    (&own["kind"], &tried["kind"]),
                    (&"SPAN_KIND_SERVER".into(), &"SPAN_KIND_CLIENT".into())
                );
                assert_eq!((&own["parent"], &tried["parent"]), (&"".into(), &own["span"]));
                assert_eq!((&own["name"], &tried["name"]), (&"shop page".into(), &"GET".into()));
                let says = &own["attributes"];
                for (key, expected) in [
                    ("http.request.method", "GET"),
                    ("url.path", "/one"),
                    ("url.scheme", "http"),
                    ("network.protocol.version", "1.1"),
                    ("user", "ann"),
                    ("env", "lab"),
                ] {
                    assert_eq!(says[key], expected, "{key} in {own}");
                }
                assert_eq!((&says["http.response.status_code"], &says["code"]), (&200.into(), &200.into()));
                assert_eq!(says["server.port"], 80);
                assert_eq!(tried["attributes"]["server.address"], "visitor.guests");
                assert_eq!(
                    (&tried["attributes"]["user"], &tried["attributes"]["code"]),
                    (&"ann".into(), &200.into())
                );
                assert!(tried["attributes"]["network.peer.address"].is_string(), "{tried}");
                assert!(!own.to_string().contains("secret"), "{own}");
                assert_eq!(own["resource"]["service.name"], "traced.bookinfo");
                assert_eq!((&own["scope"], &own["status"]), (&"weir".into(), &"STATUS_CODE_UNSET".into()));
                assert_eq!(own["headers"]["authorization"], "Bearer collector-token");
                let time = |span: &Value, at: &str| span[at].as_u64().unwrap();
                assert!(time(&own, "begun") <= time(&tried, "begun"), "{own} {tried}");
                assert!(time(&tried, "ended") <= time(&own, "ended"), "{own} {tried}");
            }),
            ("a client's trace goes on, with what it says beside", &|lab| {
                let response = get(lab, "/two", &[&parent("01"), "tracestate:vendor=1"]);
                let told = told(&response);
                assert_eq!((told[0].as_str(), told[2].as_str()), (TRACE, "01"));
                assert_eq!(header(&response, "tracestate"), "vendor=1");
                let [own, tried] = spans.of(TRACE);
                assert_eq!((&own["parent"], &own["state"]), (&SPAN.into(), &"vendor=1".into()));
                assert_eq!((&tried["parent"], &tried["span"]), (&own["span"], &told[1].clone().into()));
                // Sampled, and of a parent that is known to be in another process; or not to be.
                assert_eq!((&own["flags"], &tried["flags"]), (&0x301.into(), &0x101.into()));
            }),
            ("what is not a trace begins a new one", &|lab| {
                let response = get(lab, "/three", &["traceparent:00-nonsense", "tracestate:vendor=1"]);
                let told = told(&response);
                assert_eq!((told[0].len(), told[2].as_str()), (32, "01"));
                assert_eq!(header(&response, "tracestate"), "");
                assert_eq!(spans.of(&told[0])[0]["parent"], "");
            }),
            ("an answer of the Gateway's own is an error with its reason", &|lab| {
                let before = spans.all().len();
                assert_eq!(get(lab, "/nobody", &[]).status, 503);
                let own = wait::until("the span of the answer", SOON, || {
                    let new: Vec<Value> = spans.all().split_off(before);
                    Ok(new.into_iter().find(|span| span["attributes"]["url.path"] == "/nobody"))
                })
                .unwrap();
                assert_eq!(
                    (&own["status"], &own["attributes"]["error.type"]),
                    (&"STATUS_CODE_ERROR".into(), &"503".into())
                );
                assert!(own["message"].as_str().unwrap().contains("bookinfo/nobody"), "{own}");
            }),
            ("each try is a span of its own", &|lab| {
                let response = get(lab, "/again", &["fail-first:1"]);
                assert_eq!(response.status, 200);
                let told = told(&response);
                let all = wait::until("three spans", SOON, || {
                    let of_trace = spans.with("trace", &told[0]);
                    Ok((of_trace.len() == 3).then_some(of_trace))
                })
                .unwrap();
                let status = |span: &Value| span["attributes"]["http.response.status_code"].as_u64();
                let mut tried: Vec<&Value> =
                    all.iter().filter(|span| span["kind"] == "SPAN_KIND_CLIENT").collect();
                tried.sort_by_key(|span| span["begun"].as_u64());
                assert_eq!((status(tried[0]), status(tried[1])), (Some(503), Some(200)), "{tried:?}");
                assert_eq!(tried[1]["attributes"]["http.request.resend_count"], 1);
                assert_eq!(tried[1]["span"], told[1].as_str());
            }),
            ("a client that does not sample is followed, and what it says goes on", &|lab| {
                let unsampled = parent("00").replace(TRACE, &TRACE.replace("0af", "0bf"));
                let response = get(lab, "/four", &[&unsampled]);
                assert_eq!(format!("traceparent:{}", header(&response, "traceparent")), unsampled);
                spans.mark(lab);
                assert!(spans.with("trace", &TRACE.replace("0af", "0bf")).is_empty());
            }),
            ("of none of the requests that begin here none is traced, and those behind are told", &|lab| {
                lab.apply(&policy("{numerator: 0, denominator: 1}", "Enabled")).unwrap();
                let told = told(&get(lab, "/five", &[]));
                assert_eq!(told[2], "00");
                // Those of clients that sample are.
                let sampled = parent("01").replace(TRACE, &TRACE.replace("0af", "0cf"));
                get(lab, "/six", &[&sampled]);
                spans.of(&TRACE.replace("0af", "0cf"));
                assert!(spans.with("trace", &told[0]).is_empty());
            }),
            ("a client that is not to be followed is not", &|lab| {
                lab.apply(&policy("{numerator: 1, denominator: 1}", "Disabled")).unwrap();
                let unsampled = parent("00").replace(TRACE, &TRACE.replace("0af", "0df"));
                let told = told(&get(lab, "/seven", &[&unsampled]));
                assert_eq!(told[2], "01");
                assert_eq!(spans.of(&told[0])[0]["parent"], SPAN);
            }),
            ("what is exported is counted, and the collector's headers are in no log", &|lab| {
                assert!(metric(lab, "weir_spans_exported_total") >= spans.all().len() as f64);
                assert_eq!(metric(lab, "weir_spans_dropped_total"), 0.0);
                for entry in fs::read_dir(lab.state().join("logs")).unwrap() {
                    let text = fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
                    assert!(!text.contains("collector-token"));
                }
            }),
            ("an XBackend may be the collector", &|lab| {
                let always = policy("{numerator: 1, denominator: 1}", "Enabled");
                let backend =
                    "{group: gateway.networking.x-k8s.io, kind: XBackend, name: spans, namespace: guests}";
                let service = "{name: collector, namespace: guests, port: 4317}";
                lab.apply(&always.replace(service, backend)).unwrap();
                spans.of(&told(&get(lab, "/backend", &[]))[0]);
                let calls = sum(lab, "weir_requests_total", &[("destination", "guests/XBackend:spans:4317")]);
                assert!(calls > 0.0, "the span has gone another way");
                lab.apply(&always).unwrap();
            }),
            ("a node that is told to end sends what is queued", &|lab| {
                for node in lab.view().unwrap().nodes {
                    // Spans are gathered for longer than this takes.
                    let told = [(); 3].map(|()| told(&get(lab, "/last", &[])));
                    let program = format!("mesh-{}", node.name);
                    let restarts = signal_program(lab, &program, Signal::SIGTERM);
                    for [trace, ..] in told {
                        spans.of(&trace);
                    }
                    until_restarted(lab, &program, restarts);
                    let url = format!("http://{}/last", address(lab));
                    wait::until("the Gateway's backend to be reached again", SOON, || {
                        Ok((lab.get_from_host(&[&url])?.status() == 200).then_some(()))
                    })
                    .unwrap();
                }
            }),
            ("a collector that is gone costs spans, and requests nothing", &|lab| {
                lab.delete(&spans.collector()).unwrap();
                let url = format!("http://{}/eight", address(lab));
                let arguments = ["--duration", "10", "--concurrency", "4", &url];
                let load = lab.start_load_from_host(&arguments).unwrap().report().unwrap();
                assert!(load.is_all_200(), "{load:?}");
                wait::until("spans to be given up", SOON, || {
                    Ok((metric(lab, "weir_spans_dropped_total") > 0.0).then_some(()))
                })
                .unwrap();
            }),
            ("without a policy nothing is said of traces", &|lab| {
                lab.delete(&policy("{numerator: 1, denominator: 1}", "Disabled")).unwrap();
                assert_eq!(header(&get(lab, "/nine", &[]), "traceparent"), "");
                let nonsense = get(lab, "/nine", &["traceparent:00-nonsense"]);
                assert_eq!(header(&nonsense, "traceparent"), "00-nonsense");
            }),
        ],
    );
}

/// What the collector has taken, in a file that it writes.
struct Spans(TempDir);

impl Spans {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        Self(folder)
    }

    fn collector(&self) -> String {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: collector, namespace: guests}}\nspec:\n  \
             selector: {{matchLabels: {{app: collector}}}}\n  template:\n    metadata: {{labels: {{app: collector}}}}\n    \
             spec:\n      containers:\n        - {{name: collector, image: none, command: [otlp-collector, \"4317\", {}]}}\n",
            self.0.path().join("spans").display()
        )
    }

    /// In the order in which they came.
    fn all(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.0.path().join("spans")).unwrap_or_default();
        // The last line may not be whole yet.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn with(&self, field: &str, value: &str) -> Vec<Value> {
        self.all().into_iter().filter(|span| span[field] == value).collect()
    }

    /// The spans of a trace with one request, which has one try: the request's first.
    fn of(&self, trace: &str) -> [Value; 2] {
        wait::until(&format!("the spans of trace {trace}"), SOON, || {
            let mut of_trace = self.with("trace", trace);
            of_trace.sort_by_key(|span| span["kind"] != "SPAN_KIND_SERVER");
            Ok(<[Value; 2]>::try_from(of_trace).ok())
        })
        .unwrap()
    }

    /// Waits until requests that are made now have been told of; those that were before have been by then.
    fn mark(&self, lab: &Lab) {
        for _ in 0..8 {
            let told = told(&get(lab, "/mark", &[]));
            self.of(&told[0]);
        }
    }
}

fn policy(sampling: &str, parents: &str) -> String {
    format!(
        r#"
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XTelemetryPolicy
metadata: {{name: traces, namespace: bookinfo}}
spec:
  targetRefs: [{{group: gateway.networking.k8s.io, kind: Gateway, name: traced}}]
  tracing:
    mode: Enabled
    provider:
      backendRef: {{name: collector, namespace: guests, port: 4317}}
      headers: [{{name: Authorization, value: Bearer collector-token}}]
    samplingRate: {sampling}
    parentBasedSampling: {{mode: {parents}}}
    spanName: shop page
    attributes:
      - {{name: user, sourceType: Header, headerName: X-User}}
      - {{name: env, sourceType: Literal, literalValue: lab}}
      - {{name: code, sourceType: Attribute, attributeKey: http.response.status_code}}
"#
    )
}

fn parent(flags: &str) -> String {
    format!("traceparent:00-{TRACE}-{SPAN}-{flags}")
}

fn address(lab: &Lab) -> SocketAddr {
    let addresses = lab.gateway("bookinfo", "traced").unwrap();
    SocketAddr::new(addresses.into_iter().find(IpAddr::is_ipv4).unwrap(), 80)
}

fn get(lab: &Lab, path: &str, headers: &[&str]) -> Response {
    let url = format!("http://{}{path}", address(lab));
    let headers = headers.iter().flat_map(|header| ["-H", header]);
    let arguments: Vec<&str> = headers.chain([url.as_str()]).collect();
    match lab.get_from_host(&arguments).unwrap() {
        Answer::Http(response) => response,
        Answer::None(why) => panic!("{path}: {why}"),
    }
}

/// A header of the request that has reached the backend; empty where it had none.
fn header(response: &Response, name: &str) -> String {
    let echoed: Value = serde_json::from_str(&response.body).unwrap();
    echoed["headers"][name].as_str().unwrap_or_default().to_owned()
}

/// Trace, span and flags, as the backend was told of them.
fn told(response: &Response) -> [String; 3] {
    let text = header(response, "traceparent");
    let parts: Vec<String> = text.split('-').map(str::to_owned).collect();
    match <[String; 4]>::try_from(parts) {
        Ok([version, trace, span, flags]) if version == "00" => [trace, span, flags],
        _ => panic!("the backend got traceparent {text:?}"),
    }
}

/// Over all nodes.
fn metric(lab: &Lab, name: &str) -> f64 {
    sum(lab, name, &[])
}

fn sum(lab: &Lab, name: &str, labels: &[(&str, &str)]) -> f64 {
    let nodes = lab.view().unwrap().nodes;
    nodes.iter().map(|node| lab.metrics(&node.name).unwrap().sum(name, labels)).sum()
}
