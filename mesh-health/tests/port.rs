//! The port as probes and scrapers meet it, and as those who mean harm do.

#![allow(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mesh_health::{Health, Port};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Default)]
struct Program {
    ready: AtomicBool,
}

impl Health for Program {
    fn ready(&self) -> Result<(), String> {
        match self.ready.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err("no certificate yet: the cert-authority does not answer".into()),
        }
    }

    fn metrics(&self) -> String {
        "# EOF\n".into()
    }
}

fn start(program: Arc<Program>) -> SocketAddr {
    let port = Port::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = port.address().unwrap();
    tokio::spawn(port.serve(program));
    address
}

/// Status and body.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: probe\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), ask).await.expect("an answer");
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test]
async fn port_tells_health_readiness_and_metrics() {
    let program = Arc::new(Program::default());
    let address = start(program.clone());
    assert_eq!(get(address, "/healthz").await, (200, "ok\n".into()));
    let why = "no certificate yet: the cert-authority does not answer\n";
    assert_eq!(get(address, "/readyz").await, (503, why.into()));
    program.ready.store(true, Ordering::Relaxed);
    assert_eq!(get(address, "/readyz").await, (200, "ok\n".into()));
    assert_eq!(get(address, "/metrics").await, (200, "# EOF\n".into()));
    assert_eq!(get(address, "/config").await.0, 404);
}

#[tokio::test]
async fn port_answers_a_probe_while_others_hold_connections_open() {
    let address = start(Arc::default());
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(get(address, "/healthz").await.0, 200);
    let mut byte = [0];
    let oldest = tokio::time::timeout(Duration::from_secs(2), held[0].read(&mut byte)).await;
    assert!(matches!(oldest, Ok(Ok(0) | Err(_))), "the oldest made room: {oldest:?}");
    let newest = tokio::time::timeout(Duration::from_millis(200), held[299].read(&mut byte)).await;
    assert!(newest.is_err(), "the newest is left alone: {newest:?}");
}

#[tokio::test]
async fn port_that_is_taken_is_named() {
    let taken = Port::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.address().unwrap();
    let error = Port::listen(address).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot serve health and metrics on {address}: ")), "{error}");
}
