//! Manifests of well-known tutorials, as they are written there, with real requests: the Gateway API's guides, and in words of this
//! project what the tutorials of others have their readers do.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use weir_tests::lab::client::Load;
use weir_tests::lab::{Lab, can_run};
use weir_tests::wait;

use crate::gateway::{Pair, certificate_for, secret_in};
use crate::{SOON, has, plan, run};

mod http;
mod mesh;
mod tls;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/guides/gateway-api");
/// Where guides that name no namespace put everything.
const DEFAULT: &str = "default";
/// In no mesh, for what is asked many times.
const CLIENT: &str = "default/echo";

/// The Services of the guides' stories, with their ports.
const SERVERS: [(&str, &str, &[u16]); 23] = [
    (DEFAULT, "echo", &[8080]),
    (DEFAULT, "bar-svc", &[8080, 50051]),
    (DEFAULT, "bar-svc-canary", &[8080, 50051]),
    (DEFAULT, "example-svc", &[80, 50051]),
    (DEFAULT, "foo-v1", &[8080]),
    (DEFAULT, "foo-v2", &[8080]),
    (DEFAULT, "foo-app", &[80]),
    (DEFAULT, "foo-orders-app", &[80]),
    (DEFAULT, "bar-app", &[80]),
    (DEFAULT, "my-service1", &[8080]),
    (DEFAULT, "my-service2", &[8080]),
    (DEFAULT, "infra-backend-v1", &[8080]),
    (DEFAULT, "backend-svc", &[8080]),
    (DEFAULT, "backend-mirror-svc", &[8080]),
    (DEFAULT, "coffee", &[80]),
    (DEFAULT, "tea", &[80]),
    ("site-ns", "home", &[8080]),
    ("site-ns", "login-v1", &[8080]),
    ("site-ns", "login-v2", &[8080]),
    ("store-ns", "store", &[8080]),
    ("no-external-access", "hidden", &[8080]),
    ("gateway-api-example-ns1", "web", &[80]),
    ("hello", "client", &[80]),
];

#[test]
fn lab_guides_work_as_they_are_written() {
    if !can_run() || !has("openssl") || !has("curl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let names = ["example.com", "*.example.com", "redirect.example"].map(|name| format!("DNS:{name}"));
    let pair = certificate_for(folder.path(), "guides", &names.join(","));
    let manifest = servers() + &tls::servers(&pair) + &mesh::servers();
    let secrets = fs::read_to_string(example("cross-namespace-routing/0-namespaces.yaml")).unwrap();
    let lab = plan("guides").manifest("guides.yaml", manifest).manifest("namespaces.yaml", secrets);
    let lab = lab.manifest("secrets.yaml", secrets_of(&pair)).up().unwrap();
    let guides = Guides { trusted: pair.file.clone() };
    let check = |run: fn(&Guides, &Lab)| {
        let guides = guides.clone();
        move |lab: &Lab| run(&guides, lab)
    };
    run(
        lab,
        &[
            ("simple gateway", &check(http::simple_gateway)),
            ("HTTP routing", &check(http::routing)),
            ("the HTTPRoute of the reference", &check(http::reference)),
            ("redirects", &check(http::redirects)),
            ("rewrites", &check(http::rewrites)),
            ("header modifiers", &check(http::header_modifiers)),
            ("traffic splitting", &check(http::traffic_splitting)),
            ("mirroring", &check(http::mirroring)),
            ("CORS", &check(http::cors)),
            ("timeouts and named rules", &check(http::timeouts_and_names)),
            ("from Ingress: HTTP beside HTTPS", &check(http::http_and_https)),
            ("cafe", &check(http::cafe)),
            ("cross-namespace routing", &check(tls::cross_namespace)),
            ("TLS of several hostnames", &check(tls::hostnames)),
            ("a certificate of another namespace", &check(tls::certificate_of_another_namespace)),
            ("TLS routing", &check(tls::routing)),
            ("gRPC routing", &check(tls::grpc)),
            ("TCP", &check(tls::tcp)),
            ("bookinfo: request routing", &check(mesh::request_routing)),
            ("bookinfo: traffic shifting", &check(mesh::traffic_shifting)),
            ("bookinfo: request timeouts", &check(mesh::request_timeouts)),
            ("helloworld: 90 to 10, with retries", &check(mesh::helloworld)),
        ],
    );
}

#[derive(Clone)]
struct Guides {
    /// The authority that the clients trust.
    trusted: PathBuf,
}

/// A Gateway of a guide, with what the guide attaches to it.
struct Guide<'a> {
    lab: &'a Lab,
    address: IpAddr,
    trusted: &'a Path,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    /// Names in lower case; values in their order, joined by a comma.
    headers: BTreeMap<String, String>,
    body: String,
}

impl Guides {
    /// Applies manifests that show this Gateway, or routes for it, does the check and takes them away.
    fn follow(&self, lab: &Lab, gateway: &str, manifests: &[&str], check: impl FnOnce(&Guide<'_>)) {
        let (namespace, name) = gateway.split_once('/').unwrap_or((DEFAULT, gateway));
        let texts: Vec<String> = manifests.iter().map(|manifest| adapted(manifest, name)).collect();
        let manifest = texts.join("\n---\n");
        lab.apply(&manifest).unwrap();
        let address = wait::until("the Gateway's address", SOON, || Ok(lab.gateway(namespace, name).ok()));
        check(&Guide { lab, address: address.unwrap()[0], trusted: &self.trusted });
        lab.delete(&manifest).unwrap();
        wait::until("the Gateway to be gone", SOON, || {
            Ok(lab.gateway(namespace, name).is_err().then_some(()))
        })
        .unwrap();
    }
}

impl Guide<'_> {
    /// Once the Gateway serves this port.
    fn serving(&self, port: u16) -> &Self {
        let address = SocketAddr::new(self.address, port);
        wait::until("the Gateway to serve", SOON, || Ok(TcpStream::connect(address).ok())).unwrap();
        self
    }

    /// What curl is told that trusts the guides' authority, where the name leads to the Gateway; 0 where there is no answer.
    fn curl(&self, arguments: &[&str], url: &str) -> Reply {
        let address = match self.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--include", "--max-time", "10", "--cacert"])
            .arg(self.trusted);
        curl.args(["--connect-to", &format!("::{address}:")]).args(arguments).arg(url);
        let output = curl.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        Reply::read(&said).unwrap_or_else(|| Reply { status: 0, headers: BTreeMap::new(), body: complaint })
    }

    fn get(&self, url: &str) -> Reply {
        self.curl(&[], url)
    }

    /// Many requests over HTTP to a host of the Gateway.
    fn load(&self, host: &str, requests: u32) -> Load {
        let url = format!("http://{}/", SocketAddr::new(self.address, 80));
        let (requests, host) = (requests.to_string(), format!("host:{host}"));
        self.lab.load(CLIENT, &["--requests", &requests, "-H", &host, &url]).unwrap()
    }
}

impl Reply {
    fn read(text: &str) -> Option<Self> {
        let (head, body) =
            text.replace("\r\n", "\n").split_once("\n\n").map(|(h, b)| (h.to_owned(), b.to_owned()))?;
        let mut lines = head.lines();
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        if (100..200).contains(&status) {
            return Self::read(&body);
        }
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let values = headers.entry(name.to_ascii_lowercase()).or_default();
            if !values.is_empty() {
                values.push_str(", ");
            }
            values.push_str(value);
        }
        Some(Self { status, headers, body })
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The pod that answered 200.
    #[track_caller]
    fn pod(&self) -> &str {
        assert_eq!(self.status, 200, "{self:?}");
        self.header("x-bookinfo-pod")
    }

    /// What arrived at the pod that answered.
    #[track_caller]
    fn echo(&self) -> serde_json::Value {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_str(&self.body).unwrap()
    }
}

/// A path of a manifest of the guides, or a manifest itself, as it is to be applied.
fn adapted(manifest: &str, gateway: &str) -> String {
    let text = match manifest.ends_with(".yaml") {
        true => fs::read_to_string(example(manifest)).unwrap(),
        false => manifest.to_owned(),
    };
    let documents: Vec<String> =
        text.split("\n---").map(|document| document_for(document, gateway)).collect();
    documents.join("\n---")
}

fn document_for(document: &str, gateway: &str) -> String {
    let is_route = document.lines().any(|line| line.starts_with("kind: ") && line.ends_with("Route"));
    let orphan = is_route && !document.contains("parentRefs:");
    let mut text = String::new();
    for line in document.lines() {
        match line.strip_prefix("  gatewayClassName: ") {
            Some(_) => writeln!(text, "  gatewayClassName: weir").unwrap(),
            None => writeln!(text, "{line}").unwrap(),
        }
        if orphan && line == "spec:" {
            writeln!(text, "  parentRefs: [{{name: {gateway}}}]").unwrap();
        }
    }
    text
}

fn example(path: &str) -> PathBuf {
    Path::new(EXAMPLES).join(path)
}

/// A Gateway for HTTP, for guides that say no more of theirs than its name.
fn http_gateway(name: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: {name}}}\n\
         spec: {{gatewayClassName: weir, listeners: [{{name: http, protocol: HTTP, port: 80}}]}}\n"
    )
}

fn servers() -> String {
    let mut text = String::new();
    for namespace in ["gateway-api-example-ns1", "gateway-api-example-ns2"] {
        write!(text, "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n---\n").unwrap();
    }
    for (namespace, name, ports) in SERVERS {
        text += &server(namespace, name, "[echo, --port, \"9080\"]", ports, 9080);
    }
    text
}

/// A pod and its Service.
fn server(namespace: &str, name: &str, arguments: &str, ports: &[u16], target: u16) -> String {
    let ports: Vec<String> =
        ports.iter().map(|port| format!("{{name: p{port}, port: {port}, targetPort: {target}}}")).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\n\
         spec: {{containers: [{{name: main, image: \"weir.dev/bookinfo:0.1.0\", args: {arguments}}}]}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{selector: {{app: {name}}}, ports: [{}]}}\n---\n",
        ports.join(", ")
    )
}

/// The Secrets that the guides name; one certificate is good for all of their hostnames.
fn secrets_of(pair: &Pair) -> String {
    let secrets = [
        (DEFAULT, "redirect-example"),
        (DEFAULT, "example-com"),
        (DEFAULT, "example-com-cert"),
        (DEFAULT, "foo-example-com-cert"),
        (DEFAULT, "bar-example-com-cert"),
        (DEFAULT, "wildcard-example-com-cert"),
        (DEFAULT, "tls-terminate-certificate"),
        ("gateway-api-example-ns2", "wildcard-example-com-cert"),
        ("infra-ns", "foo-example-com"),
    ];
    secrets.map(|(namespace, name)| secret_in(namespace, name, pair)).join("---\n")
}
