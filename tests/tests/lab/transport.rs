//! Connections as applications see them: addresses, half-close, servers that speak first, protocols that are switched.

use std::net::SocketAddr;

use weir_tests::lab::client::Answer;
use weir_tests::lab::{Lab, can_run};
use weir_tests::wait;

use crate::{PRODUCTPAGE, SOON, has, plan, run};

const VISITOR: &str = "guests/deploy/visitor";

#[test]
fn lab_carries_connections_as_applications_expect_them() {
    if !can_run() {
        return;
    }
    let lab = plan("transport").up().unwrap();
    run(
        lab,
        &[
            ("applications see the addresses that they dialled", &addresses_are_as_dialled),
            ("half-closed connections go on", &half_closed_connections_go_on),
            ("a server may speak first", &a_server_may_speak_first),
            ("a pod reaches its own Service", &a_pod_reaches_its_own_service),
            ("pods are reached by their own addresses", &pods_are_reached_by_address),
            ("the capture ports are no way in", &the_capture_ports_are_no_way_in),
            ("a port where nothing listens refuses", &a_closed_port_refuses),
            ("a protocol may be switched", &a_protocol_may_be_switched),
        ],
    );
}

/// `bookinfo tcp`: the addresses that the client's socket shows, and what came back.
fn tcp(lab: &Lab, from: &str, target: &str, send: &str) -> (SocketAddr, SocketAddr, String) {
    let output = lab.exec(from, &["bookinfo", "tcp", target, "--send", send]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{target}: {said}");
    let shown: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
    let end = |key: &str| shown[key].as_str().unwrap().parse().unwrap();
    (end("local"), end("peer"), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn addresses_are_as_dialled(lab: &Lab) {
    let service = lab.service("guests", "speaker").unwrap();
    let visitor = lab.pod("guests", "visitor").unwrap();
    // Often enough to meet a server on this node and one on the other.
    for round in 0..8 {
        let (ip, own) = (service.address(round % 2 == 0), visitor.address(round % 2 == 0));
        let (local, peer, said) = tcp(lab, VISITOR, &SocketAddr::new(ip, 7000).to_string(), "x");
        assert_eq!(peer, SocketAddr::new(ip, 7000), "getpeername shows what was dialled");
        assert_eq!(local.ip(), own, "getsockname shows the pod's own address");
        let seen: SocketAddr = said.lines().next().unwrap().strip_prefix("hello ").unwrap().parse().unwrap();
        let of_visitor = visitor.addresses.contains(&seen.ip());
        assert!(of_visitor, "the server sees {seen}, and the client's addresses are {:?}", visitor.addresses);
    }
}

fn half_closed_connections_go_on(lab: &Lab) {
    // The client's side is closed long before the server has sent all of it back.
    let text = "0123456789abcdef".repeat(6000);
    for _ in 0..4 {
        let (_, _, said) = tcp(lab, VISITOR, "speaker.guests:7000", &text);
        let (_, echoed) = said.split_once('\n').unwrap();
        assert_eq!(echoed.len(), text.len());
        assert_eq!(echoed, text);
    }
}

fn a_server_may_speak_first(lab: &Lab) {
    if !has("python3") {
        return;
    }
    let script = r#"
import socket
conn = socket.create_connection(("speaker.guests", 7000), timeout=5)
hello = conn.recv(4096)
assert hello.startswith(b"hello "), hello
conn.sendall(b"after the greeting")
conn.shutdown(socket.SHUT_WR)
rest = b""
while data := conn.recv(4096):
    rest += data
print(rest.decode())
"#;
    for _ in 0..4 {
        let output = lab.exec(VISITOR, &["python3", "-c", script]).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "after the greeting\n", "{said}");
    }
}

fn a_pod_reaches_its_own_service(lab: &Lab) {
    let service = lab.service("bookinfo", "productpage").unwrap();
    let own = format!("http://[{}]:9080/health", service.address(true));
    for url in ["http://productpage:9080/health", own.as_str()] {
        let answer = lab.get(PRODUCTPAGE, &[url]).unwrap().response().unwrap();
        assert_eq!((answer.status, answer.version()), (200, "productpage-v1"));
    }
}

fn pods_are_reached_by_address(lab: &Lab) {
    for deployment in ["details-v1", "reviews-v1", "reviews-v2"] {
        let pod = lab.pod("bookinfo", deployment).unwrap();
        for address in &pod.addresses {
            let url = format!("http://{}/health", SocketAddr::new(*address, 9080));
            let answer = lab.get(VISITOR, &[&url]).unwrap().response().unwrap();
            assert_eq!((answer.status, answer.header("x-bookinfo-pod")), (200, pod.name.as_str()), "{url}");
        }
    }
}

fn the_capture_ports_are_no_way_in(lab: &Lab) {
    let details = lab.pod("bookinfo", "details-v1").unwrap();
    let mut targets = Vec::new();
    for port in [15001, 15006] {
        for host in ["127.0.0.1", "[::1]"] {
            targets.push((PRODUCTPAGE, format!("http://{host}:{port}/")));
        }
        for address in &details.addresses {
            let url = format!("http://{}/", SocketAddr::new(*address, port));
            targets.push((VISITOR, url.clone()));
            targets.push(("outside/deploy/client", url));
        }
    }
    for (from, url) in targets {
        let answer = lab.get(from, &["--timeout", "5", &url]).unwrap();
        let refused = matches!(&answer, Answer::None(why) if !why.contains("timeout"));
        assert!(refused, "{url} from {from}: {answer:?}");
    }
}

fn a_closed_port_refuses(lab: &Lab) {
    let details = lab.pod("bookinfo", "details-v1").unwrap();
    let url = format!("http://{}/", SocketAddr::new(details.address(false), 4444));
    for from in [VISITOR, "outside/deploy/client"] {
        let answer = lab.get(from, &["--timeout", "5", &url]).unwrap();
        assert!(matches!(&answer, Answer::None(why) if !why.contains("timeout")), "{from}: {answer:?}");
    }
}

fn a_protocol_may_be_switched(lab: &Lab) {
    if !has("python3") {
        return;
    }
    lab.apply(include_str!("manifests/upgrade.yaml")).unwrap();
    wait::until("the switcher to be ready", SOON, || Ok(lab.pod("guests", "switcher").ok())).unwrap();
    let script = r#"
import socket, time
for attempt in range(50):
    conn = socket.create_connection(("switcher.guests", 80), timeout=5)
    conn.sendall(b"GET /chat HTTP/1.1\r\nHost: switcher\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                 b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        data = conn.recv(4096)
        assert data, head
        head += data
    if not head.startswith(b"HTTP/1.1 503"):
        break
    time.sleep(0.1)  # The server has only just begun to listen.
assert head.startswith(b"HTTP/1.1 101 "), head
assert b"upgrade: websocket" in head.lower(), head
for text in (b"one", b"two"):
    conn.sendall(text)
    print(conn.recv(4096).decode())
conn.shutdown(socket.SHUT_WR)
assert conn.recv(4096) == b""
"#;
    for from in [VISITOR, PRODUCTPAGE] {
        let output = lab.exec(from, &["python3", "-c", script]).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "ONE\nTWO\n", "{from}: {said}");
    }
}
