//! Certificates shown to a pod's own port by a peer on another node: forged, foreign, out of date, and true.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use weir_tests::lab::access_log::Connection;
use weir_tests::lab::access_log::Mark;

use crate::agent::{Received, Tls};
use crate::world::{SOON, World};

const ALPN: &str = "weir/1";
const LET_IN: u8 = 1;
const PORT: u16 = 8080;

/// A certificate that is shown to shop/far.
struct Shown {
    name: &'static str,
    /// The file of the authority that signs it; none signs itself.
    authority: Option<String>,
    names: &'static str,
    extensions: &'static str,
    days: &'static str,
    /// A part of the reason that the node logs.
    reason: &'static str,
}

pub(crate) fn not_believed(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let own = world.lab.state().join("ca/intermediate.pem").display().to_string();
    let forged = authority(folder.path(), "forged", "URI:spiffe://cluster.local");
    let leaf = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature";
    let client = "URI:spiffe://cluster.local/ns/shop/sa/client";
    let shown = |name, authority: &str, names, reason| Shown {
        name,
        authority: Some(authority.to_owned()),
        names,
        extensions: leaf,
        days: "1",
        reason,
    };
    let cases = [
        shown("signed by a forged authority of the mesh's name", &forged, client, "UnknownIssuer"),
        shown(
            "an SVID of another trust domain, signed by its authority",
            &forged,
            "URI:spiffe://evil.example/ns/shop/sa/client",
            "trust domain",
        ),
        shown(
            "an SVID of another trust domain, signed by the mesh's authority",
            &own,
            "URI:spiffe://evil.example/ns/shop/sa/client",
            "trust domain",
        ),
        Shown { authority: None, ..shown("signed by itself", &own, client, "UnknownIssuer") },
        Shown { days: "-1", ..shown("out of date", &own, client, "Expired") },
        shown("no SPIFFE identity", &own, "DNS:client.shop", "exactly one"),
        shown(
            "two SPIFFE identities",
            &own,
            "URI:spiffe://cluster.local/ns/shop/sa/client,URI:spiffe://cluster.local/ns/shop/sa/near",
            "exactly one",
        ),
        shown("an identity of no workload", &own, "URI:spiffe://cluster.local/somebody", "no workload"),
        Shown {
            extensions: "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature,keyCertSign",
            ..shown("of a certificate authority", &own, client, "authority")
        },
    ];
    let mut wrong = Vec::new();
    let mut check = |name: &str, tls: &Tls, reason: &str| {
        let mark = world.lab.mark().unwrap();
        let marker = world.marker();
        let answer = request(world, tls, &marker);
        if answer.is_http() || answer.0.end == "open" {
            wrong.push(format!("{name}: not refused: {answer:?}"));
        }
        match logged(world, &mark) {
            Some(Connection { error: Some(error), .. }) if error.contains(reason) => {}
            other => wrong.push(format!("{name}: not logged with `{reason}`: {other:?}")),
        }
        if let Some(seen) = world.entries()[2].seen_of(&marker) {
            wrong.push(format!("{name}: the application saw {seen}"));
        }
    };
    for case in &cases {
        let certificate = certificate(folder.path(), case);
        check(case.name, &Tls { alpn: ALPN, certificate: Some(certificate) }, case.reason);
    }
    check("no certificate", &Tls { alpn: ALPN, certificate: None }, "certificate");
    world.untouched();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The authority's own signature on another workload's identity makes the peer that one, and no other.
pub(crate) fn believed(world: &World) {
    let folder = tempfile::tempdir().unwrap();
    let own = world.lab.state().join("ca/intermediate.pem").display().to_string();
    let case = Shown {
        name: "true",
        authority: Some(own),
        names: "URI:spiffe://cluster.local/ns/private/sa/vault",
        extensions: "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature",
        days: "1",
        reason: "",
    };
    let tls = Tls { alpn: ALPN, certificate: Some(certificate(folder.path(), &case)) };
    let mark = world.lab.mark().unwrap();
    let marker = world.marker();
    let answer = request(world, &tls, &marker);
    assert!(answer.is_http() && answer.0.status() == 200, "{answer:?}");
    let line = logged(world, &mark).expect("the connection is logged");
    assert_eq!(line.peer_identity.as_deref(), Some("spiffe://cluster.local/ns/private/sa/vault"), "{line:?}");
    assert_eq!(line.security, "mutual_tls");
    assert_eq!(line.error, None);
    assert!(world.entries()[2].seen_of(&marker).is_some());
}

#[derive(Debug)]
struct Outcome(Received);

impl Outcome {
    fn is_http(&self) -> bool {
        self.0.data.starts_with(b"HTTP/")
    }
}

/// A request over TLS from node-1 to shop/far, which runs on node-2.
fn request(world: &World, tls: &Tls, marker: &str) -> Outcome {
    let failed = |why| Outcome(Received { data: Vec::new(), end: format!("failed: {why}") });
    let held = match world.node.open(&far(world), PORT, Some(tls)) {
        Ok(held) => held,
        Err(why) => return failed(why),
    };
    let head = format!("GET /{marker}/good HTTP/1.1\r\nHost: far\r\nConnection: close\r\n\r\n");
    // In TLS 1.3 the client learns of its refusal only when it reads; the server closes after its answer only if asked.
    let sent = world.node.send(held, head.as_bytes());
    let mut answer = world.node.read(held, std::time::Duration::from_secs(1));
    world.node.close(held);
    if let (Err(why), true) = (sent, answer.data.is_empty()) {
        answer.end = format!("failed: {why}");
    }
    // The word that the application has the connection, before its own bytes.
    if answer.data.first() == Some(&LET_IN) {
        answer.data.remove(0);
    }
    Outcome(answer)
}

fn far(world: &World) -> String {
    let pods = world.lab.view().unwrap().pods;
    let far = pods.into_iter().find(|pod| pod.namespace == "shop" && pod.name == "far").unwrap();
    far.address(false).to_string()
}

/// The line of the connection that node-1 itself made, when it has ended.
fn logged(world: &World, mark: &Mark) -> Option<Connection> {
    let view = world.lab.view().unwrap();
    let node = view.nodes.iter().find(|node| node.name == "node-1").unwrap();
    let is_peer = |line: &Connection| {
        line.peer.rsplit_once(':').is_some_and(|(ip, _)| {
            node.addresses.iter().any(|address| address.to_string() == ip.trim_matches(['[', ']']))
        })
    };
    let found = weir_tests::wait::until("the log line", SOON, || {
        let lines = world.lab.access_log("node-2", mark)?;
        let mut connections = lines.iter().filter_map(|line| line.connection());
        let found = connections
            .find(|line| line.pod == "shop/far" && line.event.as_deref() == Some("close") && is_peer(line));
        Ok(found.cloned())
    });
    found.ok()
}

/// An authority that nobody trusts; gives the file of its certificate and key.
fn authority(folder: &Path, name: &str, names: &str) -> String {
    let (key, file) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", shown(&key)]);
    openssl(&[
        "req",
        "-x509",
        "-new",
        "-key",
        shown(&key),
        "-subj",
        "/O=Weir/CN=cluster.local intermediate",
        "-days",
        "1",
        "-addext",
        &format!("subjectAltName={names}"),
        "-out",
        shown(&file),
    ]);
    let both = fs::read_to_string(&file).unwrap() + &fs::read_to_string(&key).unwrap();
    fs::write(&file, both).unwrap();
    shown(&file).to_owned()
}

/// A certificate's chain and key as files.
fn certificate(folder: &Path, case: &Shown) -> (String, String) {
    let folder = TempDir::new_in(folder).unwrap().keep();
    let file = |name: &str| shown(&folder.join(name)).to_owned();
    let (key, request, leaf, extensions) = (file("key"), file("request"), file("leaf"), file("extensions"));
    // PKCS 8, as pem blocks of parameters confuse some readers.
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &key]);
    openssl(&["req", "-new", "-key", &key, "-subj", "/", "-out", &request]);
    let text = format!("subjectAltName=critical,{}\n{}\n", case.names, case.extensions);
    fs::write(&extensions, text).unwrap();
    let mut sign =
        vec!["x509", "-req", "-in", &request, "-extfile", &extensions, "-days", case.days, "-out", &leaf];
    match &case.authority {
        Some(authority) => sign.extend(["-CA", authority, "-CAkey", authority, "-set_serial", "4711"]),
        None => sign.extend(["-signkey", &key]),
    }
    openssl(&sign);
    let mut chain = fs::read_to_string(&leaf).unwrap();
    if let Some(authority) = &case.authority {
        let text = fs::read_to_string(authority).unwrap();
        let end = "-----END CERTIFICATE-----";
        let begin = text.find("-----BEGIN CERTIFICATE-----").unwrap();
        chain += &text[begin..text.find(end).unwrap() + end.len()];
        chain.push('\n');
    }
    fs::write(&leaf, chain).unwrap();
    (leaf, key)
}

fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}
