//! TLS on both sides of a Gateway: backends that are spoken to as BackendTLSPolicies say, with and without the mesh's own
//! mutual TLS around it, and clients that must show a certificate.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use weir_tests::lab::{Lab, can_run};
use weir_tests::wait;

use crate::{SOON, has, plan, run};

/// Name and namespace of a Service, what its policy says, and what its clients are answered.
const BACKENDS: [(&str, &str, &str, &str); 9] = [
    ("right", "bookinfo", "hostname: shop.example", "200"),
    ("outside", "plain", "hostname: shop.example", "200"),
    (
        "names",
        "bookinfo",
        r#"hostname: other.example, subjectAltNames: [{type: URI, uri: "urn:shop"}]"#,
        "200",
    ),
    ("asks", "bookinfo", "hostname: shop.example", "200"),
    ("wrong-name", "bookinfo", "hostname: other.example", "503"),
    (
        "wrong-uri",
        "bookinfo",
        r#"hostname: shop.example, subjectAltNames: [{type: URI, uri: "urn:no"}]"#,
        "503",
    ),
    ("wrong-authority", "bookinfo", "hostname: shop.example", "503"),
    ("absent-authority", "bookinfo", "hostname: shop.example", "500"),
    ("clear", "bookinfo", "hostname: shop.example", "503"),
];

#[test]
fn lab_gateway_speaks_tls_to_backends_and_asks_clients() {
    if !can_run() || !has("openssl") || !has("curl") {
        return;
    }
    let keys = Keys::new();
    let lab = plan("tls").manifest("tls.yaml", manifest(&keys)).up().unwrap();
    let page = |lab: &Lab, path: &str| curl(lab, "http", 80, path, &[]);
    let asked = |lab: &Lab, client: &[&str]| {
        let trusted = keys.file("shown.pem");
        curl(lab, "https", 443, "right", &[&["--cacert", &trusted][..], client].concat())
    };
    run(
        lab,
        &[
            ("the backends come up", &|lab| {
                for (name, ..) in BACKENDS.iter().filter(|(.., expected)| *expected == "200") {
                    wait::until(&format!("{name} to answer"), SOON, || {
                        Ok((page(lab, name) == "200").then_some(()))
                    })
                    .unwrap();
                }
            }),
            ("each backend is spoken to as its policy says, and to no other than it means", &|lab| {
                for (name, _, _, expected) in BACKENDS {
                    assert_eq!(page(lab, name), expected, "{name}");
                }
            }),
            ("a policy whose authority is missing says so", &|lab| {
                let accepted = condition(lab, "absent-authority", "Accepted");
                let resolved = condition(lab, "absent-authority", "ResolvedRefs");
                assert_eq!(accepted["reason"], "NoValidCACertificate", "{accepted}");
                assert_eq!(resolved["reason"], "InvalidCACertificateRef", "{resolved}");
                assert_eq!(condition(lab, "right", "Accepted")["status"], "True");
            }),
            ("an authority that is changed is believed at once, and the other no longer", &|lab| {
                lab.apply(&authority("bookinfo", "changing", &keys.text("authority.pem"))).unwrap();
                assert_eq!(page(lab, "wrong-authority"), "200");
                lab.apply(&authority("bookinfo", "changing", &keys.text("other.pem"))).unwrap();
                assert_eq!(page(lab, "wrong-authority"), "503");
            }),
            ("a connection comes out of TLS and goes on in the backend's", &|lab| {
                let trusted = keys.file("shown.pem");
                assert_eq!(curl(lab, "https", 8443, "right", &["--cacert", &trusted]), "200");
            }),
            ("a client with a good certificate is let in, another one is not", &|lab| {
                let good = [keys.file("client.pem"), keys.file("client.key")];
                let foreign = [keys.file("foreign.pem"), keys.file("foreign.key")];
                assert_eq!(asked(lab, &["--cert", &good[0], "--key", &good[1]]), "200");
                assert_eq!(asked(lab, &["--cert", &foreign[0], "--key", &foreign[1]]), "000");
                assert_eq!(asked(lab, &[]), "000");
            }),
            ("a Gateway that lets anybody in says so, and one that no longer does shuts them out", &|lab| {
                let insecure = |text: String| {
                    text.replace(
                        "caCertificateRefs: [{",
                        "mode: AllowInsecureFallback, caCertificateRefs: [{",
                    )
                };
                let gateway =
                    || include_str!("manifests/tls.yaml").split("\n---\n").next().unwrap().to_owned();
                lab.apply(&insecure(gateway())).unwrap();
                let foreign = [keys.file("foreign.pem"), keys.file("foreign.key")];
                assert_eq!(asked(lab, &["--cert", &foreign[0], "--key", &foreign[1]]), "200");
                assert_eq!(asked(lab, &[]), "200");
                let mode = of_gateway(lab, "InsecureFrontendValidationMode");
                assert_eq!(mode["reason"], "ConfigurationChanged", "{mode}");
                lab.apply(&gateway()).unwrap();
                assert_eq!(asked(lab, &[]), "000");
                assert_eq!(of_gateway(lab, "InsecureFrontendValidationMode"), Value::Null);
            }),
            ("backends and clients are verified by ClusterTrustBundles", &|lab| {
                let reference =
                    r#"group: certificates.k8s.io, kind: ClusterTrustBundle, name: "example.com:shop:v1""#;
                let bundle = |authority: &str| {
                    format!(
                        "apiVersion: certificates.k8s.io/v1\nkind: ClusterTrustBundle\n\
                         metadata: {{name: \"example.com:shop:v1\"}}\n\
                         spec:\n  signerName: example.com/shop\n  trustBundle: |\n{}",
                        indented(&keys.text(authority))
                    )
                };
                lab.apply(&tls_policy("absent-authority", "bookinfo", "hostname: shop.example", reference))
                    .unwrap();
                assert_eq!(page(lab, "absent-authority"), "500");
                lab.apply(&bundle("authority.pem")).unwrap();
                assert_eq!(page(lab, "absent-authority"), "200");
                // The clients' authorities are others now, and so is the backend's.
                let gateway = include_str!("manifests/tls.yaml").split("\n---\n").next().unwrap();
                let gateway = gateway.replace(r#"group: "", kind: ConfigMap, name: authority"#, reference);
                lab.apply(&format!("{gateway}\n---\n{}", bundle("other.pem"))).unwrap();
                let good = [keys.file("client.pem"), keys.file("client.key")];
                let foreign = [keys.file("foreign.pem"), keys.file("foreign.key")];
                assert_eq!(asked(lab, &["--cert", &good[0], "--key", &good[1]]), "000");
                assert_eq!(asked(lab, &["--cert", &foreign[0], "--key", &foreign[1]]), "200");
                assert_eq!(page(lab, "absent-authority"), "503");
            }),
        ],
    );
}

/// Certificates and their keys, in files that pods read.
pub(super) struct Keys(TempDir);

impl Keys {
    pub(super) fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        fs::set_permissions(keys.0.path(), Permissions::from_mode(0o755)).unwrap();
        keys.make("authority", "basicConstraints=critical,CA:TRUE", "DNS:authority.example", None);
        keys.make("other", "basicConstraints=critical,CA:TRUE", "DNS:other.example", None);
        let leaf = "basicConstraints=critical,CA:FALSE";
        keys.make("server", leaf, "DNS:shop.example,URI:urn:shop", Some("authority"));
        keys.make("client", leaf, "DNS:client.example", Some("authority"));
        keys.make("foreign", leaf, "DNS:client.example", Some("other"));
        keys.make("shown", leaf, "DNS:edge.example", None);
        keys
    }

    fn make(&self, name: &str, constraints: &str, names: &str, by: Option<&str>) {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command.args(["-days", "2", "-subj", &format!("/CN={name}"), "-addext", constraints]);
        command.args(["-addext", &format!("subjectAltName={names}")]);
        command.args([
            "-out",
            &self.file(&format!("{name}.pem")),
            "-keyout",
            &self.file(&format!("{name}.key")),
        ]);
        if let Some(by) = by {
            command.args([
                "-CA",
                &self.file(&format!("{by}.pem")),
                "-CAkey",
                &self.file(&format!("{by}.key")),
            ]);
        }
        let made = command.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::set_permissions(self.path(&format!("{name}.key")), Permissions::from_mode(0o644)).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    pub(super) fn file(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }

    pub(super) fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }
}

fn manifest(keys: &Keys) -> String {
    let mut documents = vec![
        include_str!("manifests/tls.yaml").to_owned(),
        secret("shown", keys),
        authority("bookinfo", "authority", &keys.text("authority.pem")),
        authority("plain", "authority", &keys.text("authority.pem")),
        authority("bookinfo", "changing", &keys.text("other.pem")),
        server("secure", "bookinfo", keys, &[]),
        server("secure", "plain", keys, &[]),
        server("asks", "bookinfo", keys, &["-Verify", "1", "-verify_return_error", "-CAfile", "shown.pem"]),
    ];
    let mut rules = String::new();
    for (name, namespace, says, _) in BACKENDS {
        let app = match name {
            "asks" => "asks",
            // It speaks HTTP, and no TLS.
            "clear" => "details",
            _ => "secure",
        };
        let authority = match name {
            "wrong-authority" => "changing",
            "absent-authority" => "absent",
            _ => "authority",
        };
        let port = if name == "clear" { 9080 } else { 8443 };
        documents.push(format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec:\n  selector: {{app: {app}}}\n  ports: [{{name: https, port: 443, targetPort: {port}}}]\n"
        ));
        let reference = format!(r#"group: "", kind: ConfigMap, name: {authority}"#);
        documents.push(tls_policy(name, namespace, says, &reference));
        rules += &format!(
            "    - matches: [{{path: {{value: /{name}}}}}]\n      \
             backendRefs: [{{name: {name}, namespace: {namespace}, port: 443}}]\n"
        );
    }
    documents.push(format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: tls, namespace: bookinfo}}\n\
         spec:\n  parentRefs: [{{name: tls, sectionName: http}}, {{name: tls, sectionName: https}}]\n  rules:\n{rules}"
    ));
    documents.join("---\n")
}

/// For the Service of its name.
fn tls_policy(name: &str, namespace: &str, says: &str, reference: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
         targetRefs: [{{group: \"\", kind: Service, name: {name}, sectionName: https}}]\n  \
         validation: {{{says}, caCertificateRefs: [{{{reference}}}]}}\n"
    )
}

/// A web server that speaks TLS only.
fn server(name: &str, namespace: &str, keys: &Keys, more: &[&str]) -> String {
    let mut command = vec!["openssl", "s_server", "-quiet", "-www", "-accept", "8443"];
    command.extend(["-cert", "server.pem", "-key", "server.key"].iter().chain(more));
    let of_file = |part: &&str| match Path::new(part).extension() {
        Some(_) => keys.file(part),
        None => (*part).to_owned(),
    };
    let command: Vec<String> = command.iter().map(of_file).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}\n\
         spec:\n  containers:\n    - {{name: server, image: server, command: {command:?}}}\n"
    )
}

pub(super) fn authority(namespace: &str, name: &str, pem: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata:\n  ca.crt: |\n{}",
        indented(pem)
    )
}

fn secret(name: &str, keys: &Keys) -> String {
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: bookinfo}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indented(&keys.text(&format!("{name}.pem"))),
        indented(&keys.text(&format!("{name}.key")))
    )
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// The status of an answer of the Gateway's as curl tells it: 000 where there was none.
fn curl(lab: &Lab, scheme: &str, port: u16, path: &str, arguments: &[&str]) -> String {
    let address = lab.gateway("bookinfo", "tls").unwrap()[0];
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "10", "--output", "/dev/null", "--write-out", "%{http_code}"]);
    curl.args(["--http1.1", "--connect-to", &format!("::{}", SocketAddr::new(address, port))]);
    curl.args(arguments).arg(format!("{scheme}://edge.example:{port}/{path}")).stdin(Stdio::null());
    String::from_utf8(curl.output().unwrap().stdout).unwrap()
}

/// A condition of a BackendTLSPolicy, as it is said of the Gateway.
fn condition(lab: &Lab, policy: &str, kind: &str) -> Value {
    let object = object(lab, "BackendTLSPolicy", policy);
    let ancestors = object["status"]["ancestors"].as_array().unwrap();
    let of_gateway = ancestors.iter().find(|a| a["ancestorRef"]["name"] == "tls").unwrap();
    find(&of_gateway["conditions"], kind)
}

fn of_gateway(lab: &Lab, kind: &str) -> Value {
    find(&object(lab, "Gateway", "tls")["status"]["conditions"], kind)
}

fn object(lab: &Lab, kind: &str, name: &str) -> Value {
    let status: Value = lab.operator("/status").unwrap();
    let objects = status["objects"].as_array().unwrap();
    objects.iter().find(|object| object["kind"] == kind && object["name"] == name).unwrap().clone()
}

fn find(conditions: &Value, kind: &str) -> Value {
    let conditions = conditions.as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}
