//! Routes of the other kinds at a Gateway: calls of gRPC, and connections as they are and out of TLS.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use weir_tests::lab::client::Response;
use weir_tests::lab::{Lab, can_run};

use crate::gateway::{certificate, secret};
use crate::{has, plan, run};

#[test]
fn lab_gateway_routes_calls_and_connections() {
    if !can_run() || !has("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let good = certificate(folder.path(), "good");
    let manifest = format!("{}---\n{}", include_str!("manifests/kinds.yaml"), secret("good", &good));
    let lab = plan("kinds").manifest("kinds.yaml", manifest).up().unwrap();
    run(
        lab,
        &[
            ("a call goes to its method's backend", &|lab| {
                let response = call(lab, "grpc.health.v1.Health/Check");
                assert_eq!((response.status, response.header("content-type")), (200, "application/grpc"));
                // The status of an answer is in its trailers.
                assert_eq!((response.header("grpc-status"), response.body.len()), ("", 7));
            }),
            ("a refusal is one that gRPC understands", &|lab| {
                let no_rule = call(lab, "grpc.health.v1.Health/Watch");
                assert_eq!((no_rule.status, no_rule.header("grpc-status")), (200, "12"), "{no_rule:?}");
                let no_backend = call(lab, "nobody.Home/Knock");
                assert_eq!(
                    (no_backend.status, no_backend.header("grpc-status")),
                    (200, "14"),
                    "{no_backend:?}"
                );
                assert!(no_backend.header("grpc-message").contains("absent"), "{no_backend:?}");
            }),
            ("a connection goes to the TCPRoute's backend", &|lab| {
                let mut stream = TcpStream::connect(address(lab, 7000)).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                stream.write_all(b"over TCP").unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
                let mut said = String::new();
                stream.read_to_string(&mut said).unwrap();
                assert!(said.starts_with("hello ") && said.ends_with("\nover TCP"), "{said:?}");
            }),
            ("a connection comes out of TLS to the TLSRoute's backend", &|lab| {
                assert!(over_tls(lab, "good.example", &good.file).contains("\nover TLS"));
                let refused = over_tls(lab, "other.example", &good.file);
                assert!(!refused.contains("hello"), "{refused:?}");
            }),
        ],
    );
}

fn address(lab: &Lab, port: u16) -> SocketAddr {
    SocketAddr::new(lab.gateway("bookinfo", "kinds").unwrap()[0], port)
}

fn call(lab: &Lab, method: &str) -> Response {
    let url = format!("http://{}/{method}", address(lab, 80));
    let arguments =
        ["--http2", "-X", "POST", "-H", "content-type:application/grpc", "-H", "te:trailers", &url];
    lab.get_from_host(&arguments).unwrap().response().unwrap()
}

/// What a client hears that names this server, sends a text and ends its side.
fn over_tls(lab: &Lab, name: &str, trusted: &std::path::Path) -> String {
    let mut client = Command::new("openssl");
    client.args([
        "s_client",
        "-quiet",
        "-verify_return_error",
        "-no_ign_eof",
        "-servername",
        name,
        "-CAfile",
    ]);
    client.arg(trusted).args(["-connect", &address(lab, 7443).to_string()]);
    let mut client =
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = Vec::new();
    let mut output = client.stdout.take().unwrap();
    let mut input = client.stdin.take().unwrap();
    let mut buffer = [0; 256];
    // The server greets; where nobody does, the connection has been refused and its output ends.
    while !said.contains(&b'\n') {
        match output.read(&mut buffer).unwrap() {
            0 => break,
            count => said.extend_from_slice(&buffer[..count]),
        }
    }
    // Where the connection is gone this finds nobody, and there is nothing more to hear.
    let _ = input.write_all(b"over TLS");
    while said.iter().filter(|byte| **byte == b'\n').count() == 1 && !said.ends_with(b"over TLS") {
        match output.read(&mut buffer).unwrap() {
            0 => break,
            count => said.extend_from_slice(&buffer[..count]),
        }
    }
    drop(input);
    client.wait().unwrap();
    String::from_utf8(said).unwrap()
}
