//! Gateways: HTTPS with a Secret, and a Secret that is wrong, which refuses its own listener only.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use weir_tests::lab::{Lab, can_run};
use weir_tests::wait;

use crate::{SOON, has, output, plan, run};

#[test]
fn lab_gateway_serves_https() {
    if !can_run() || !has("openssl") || !has("curl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let good = certificate(folder.path(), "good");
    let renewed = certificate(folder.path(), "renewed");
    let manifest = manifest(&good);
    let lab = plan("gateway").sample("gateway.yaml").manifest("https.yaml", &manifest).up().unwrap();
    run(
        lab,
        &[
            ("the HTTP listener serves", &|lab| {
                assert_eq!(page(lab, "http", 8080, "good.example", None), "200");
            }),
            ("the HTTPS listener serves with its Secret's certificate", &|lab| {
                assert_eq!(page(lab, "https", 443, "good.example", Some(&good)), "200");
            }),
            ("a name that no listener has is refused", &|lab| {
                assert_eq!(page(lab, "https", 443, "other.example", Some(&good)), "000");
            }),
            ("a wrong Secret refuses its own listener only", &|lab| {
                assert_eq!(page(lab, "https", 8443, "bad.example", None), "000");
                let bad = condition(lab, "bad", "ResolvedRefs");
                assert_eq!(
                    (bad["status"].as_str(), bad["reason"].as_str()),
                    (Some("False"), Some("InvalidCertificateRef"))
                );
                for listener in ["http", "good"] {
                    assert_eq!(condition(lab, listener, "ResolvedRefs")["status"], "True", "{listener}");
                    assert_eq!(condition(lab, listener, "Programmed")["status"], "True", "{listener}");
                }
            }),
            ("a renewed Secret is served at once", &|lab| {
                assert_eq!(page(lab, "https", 443, "good.example", Some(&renewed)), "000");
                lab.apply(&secret("good", &renewed)).unwrap();
                assert_eq!(page(lab, "https", 443, "good.example", Some(&renewed)), "200");
            }),
            ("a Secret that is mended brings its listener up", &|lab| {
                lab.apply(&secret("bad", &good)).unwrap();
                wait::until("the listener to be programmed", SOON, || {
                    Ok((condition(lab, "bad", "Programmed")["status"] == "True").then_some(()))
                })
                .unwrap();
                // The certificate is for another name, which is for the client to mind.
                assert_eq!(page(lab, "https", 8443, "bad.example", None), "200");
            }),
            ("a Gateway that is deleted takes its address along", &|lab| {
                let before = lab.gateway("bookinfo", "secure").unwrap();
                lab.delete(&manifest).unwrap();
                wait::until("the Service to be gone", SOON, || {
                    Ok(lab.service("bookinfo", "secure-weir").is_err().then_some(()))
                })
                .unwrap();
                let addresses =
                    output("ip", &["netns", "exec", &lab.view().unwrap().nodes[0].netns, "ip", "addr"]);
                for address in before {
                    assert!(!addresses.contains(&format!(" {address}/")), "{address} is still there");
                }
            }),
        ],
    );
}

pub(crate) struct Pair {
    certificate: String,
    key: String,
    /// The certificate's file, which is its own authority.
    pub(crate) file: std::path::PathBuf,
}

/// A certificate for good.example that signs itself.
pub(crate) fn certificate(folder: &Path, name: &str) -> Pair {
    certificate_for(folder, name, "DNS:good.example")
}

/// A certificate for these names (`DNS:a.example,DNS:b.example`) that signs itself.
pub(crate) fn certificate_for(folder: &Path, name: &str, names: &str) -> Pair {
    let (file, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=weir", "-addext", &format!("subjectAltName={names}")])
        .arg("-out")
        .arg(&file)
        .arg("-keyout")
        .arg(&key)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Pair { certificate: fs::read_to_string(&file).unwrap(), key: fs::read_to_string(&key).unwrap(), file }
}

pub(crate) fn secret(name: &str, pair: &Pair) -> String {
    secret_in("bookinfo", name, pair)
}

pub(crate) fn secret_in(namespace: &str, name: &str, pair: &Pair) -> String {
    let indented = |text: &str| text.lines().map(|line| format!("    {line}\n")).collect::<String>();
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\ntype: kubernetes.io/tls\n\
         stringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
        indented(&pair.certificate),
        indented(&pair.key)
    )
}

fn manifest(good: &Pair) -> String {
    let nonsense = Pair {
        certificate: "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----\n".to_owned(),
        key: good.key.clone(),
        file: good.file.clone(),
    };
    let gateway = include_str!("manifests/https-gateway.yaml");
    format!("{gateway}---\n{}---\n{}", secret("good", good), secret("bad", &nonsense))
}

/// The status of the page's answer as curl tells it: 000 where there was none. Without a certificate to trust, any
/// will do.
fn page(lab: &Lab, scheme: &str, port: u16, host: &str, trusted: Option<&Pair>) -> String {
    let address = lab.gateway("bookinfo", "secure").unwrap()[0];
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "5", "--output", "/dev/null", "--write-out", "%{http_code}"]);
    curl.args(["--connect-to", &format!("::{}", SocketAddr::new(address, port))]);
    match trusted {
        Some(pair) => curl.arg("--cacert").arg(&pair.file),
        None => curl.arg("--insecure"),
    };
    curl.arg(format!("{scheme}://{host}:{port}/productpage")).stdin(Stdio::null());
    String::from_utf8(curl.output().unwrap().stdout).unwrap()
}

/// A condition of a listener of the Gateway.
fn condition(lab: &Lab, listener: &str, kind: &str) -> Value {
    let status: Value = lab.operator("/status").unwrap();
    let objects = status["objects"].as_array().unwrap();
    let gateway = objects.iter().find(|o| o["kind"] == "Gateway" && o["name"] == "secure").unwrap();
    let listeners = gateway["status"]["listeners"].as_array().unwrap();
    let found = listeners.iter().find(|l| l["name"] == listener).unwrap();
    let conditions = found["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).cloned().unwrap_or_default()
}
