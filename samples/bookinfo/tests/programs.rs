//! The program as it is run: exit codes, what goes to which stream, and signals.

#![allow(clippy::unwrap_used, reason = "clippy exempts test functions, but not what they call")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A serving process, killed when the test is over.
struct Program {
    child: Child,
    port: u16,
    _stderr: BufReader<ChildStderr>,
}

impl Program {
    fn start(args: &[&str]) -> Self {
        let mut child = bookinfo(args).args(["--port", "0"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let log: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        assert_eq!(log["message"], "listening");
        let address: SocketAddr = log["address"].as_str().unwrap().parse().unwrap();
        Self { child, port: address.port(), _stderr: stderr }
    }

    fn terminate(&mut self) {
        terminate(&self.child);
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bookinfo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bookinfo"));
    command.args(args).env("HOSTNAME", "a-pod");
    command
}

fn run(args: &[&str]) -> Output {
    bookinfo(args).output().unwrap()
}

fn terminate(child: &Child) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn get_prints_the_answer_and_echo_what_arrived() {
    let mut echo = Program::start(&["echo", "--version", "v2"]);
    let url = format!("http://127.0.0.1:{}/some/path?q=1", echo.port);
    for (flag, version) in [(None, "HTTP/1.1"), (Some("--http2"), "HTTP/2.0")] {
        let mut args = vec!["get", "-X", "PUT", "-H", "End-User: jason", "-d", "some body", &url];
        args.extend(flag);
        let output = run(&args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let (head, body) = text(&output.stdout).split_once("\n\n").unwrap();
        assert!(head.starts_with(&format!("{version} 200 OK\n")), "{head}");
        assert!(
            head.contains("\nx-bookinfo-version: echo-v2") && head.contains("\nx-bookinfo-pod: a-pod"),
            "{head}"
        );
        let seen: Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&seen["method"], &seen["path"], &seen["query"]),
            (&"PUT".into(), &"/some/path".into(), &"q=1".into())
        );
        assert_eq!((&seen["headers"]["end-user"], &seen["body"]), (&"jason".into(), &"some body".into()));
        assert!(seen["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{seen}");
        assert_eq!(seen["version"], version);
    }
    echo.terminate();
}

#[test]
fn server_listens_on_both_families_where_there_is_ipv6() {
    let echo = Program::start(&["echo"]);
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok();
    for host in ["127.0.0.1", "[::1]"].iter().take(if has_ipv6 { 2 } else { 1 }) {
        let output = run(&["get", &format!("http://{host}:{}/", echo.port)]);
        assert!(output.status.success(), "{host}: {}", text(&output.stderr));
    }
}

#[test]
fn get_fails_where_there_is_no_http_answer() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}/", silent.local_addr().unwrap());
    let refused_url = "http://127.0.0.1:1/".to_owned();
    let greeter = Program::start(&["echo", "--tcp"]);
    let greeter_url = format!("http://127.0.0.1:{}/", greeter.port);
    for (url, wanted) in [(&silent_url, "timeout"), (&refused_url, "refused"), (&greeter_url, "protocol")] {
        let output = run(&["get", "--timeout", "1", url]);
        assert_eq!(output.status.code(), Some(1));
        let message = text(&output.stderr);
        assert!(message.starts_with(&format!("bookinfo: GET {url}: {wanted}")), "{message}");
        assert!(output.stdout.is_empty());
    }
    for wrong in ["https://bookinfo/", "bookinfo", "/path"] {
        assert_eq!(run(&["get", wrong]).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn tcp_server_speaks_first_echoes_and_keeps_the_half_close() {
    let mut echo = Program::start(&["echo", "--tcp"]);
    let long = "many words ".repeat(5000);
    for sent in ["", "some words", long.as_str()] {
        let output = run(&["tcp", &format!("localhost:{}", echo.port), "--send", sent]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let addresses: Value = serde_json::from_slice(&output.stderr).unwrap();
        let local = addresses["local"].as_str().unwrap();
        assert!(addresses["peer"].as_str().unwrap().ends_with(&format!(":{}", echo.port)));
        assert!(text(&output.stdout) == format!("hello {local}\n{sent}"), "{} bytes", output.stdout.len());
    }
    echo.terminate();
    assert_eq!(run(&["tcp", &format!("127.0.0.1:{}", echo.port)]).status.code(), Some(1));
}

#[test]
fn udp_server_sends_datagrams_back_and_says_who_it_is() {
    let mut echo = Program::start(&["echo", "--udp"]);
    let long = "many words ".repeat(5000);
    for sent in ["some words", long.as_str()] {
        let output = run(&["udp", &format!("localhost:{}", echo.port), "--send", sent]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout) == sent, "{} bytes", output.stdout.len());
    }
    let named = run(&["udp", &format!("127.0.0.1:{}", echo.port)]);
    assert!(named.status.success() && !named.stdout.is_empty(), "{}", text(&named.stderr));
    echo.terminate();
    let refused = run(&["udp", &format!("127.0.0.1:{}", echo.port)]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("refused"), "{}", text(&refused.stderr));
}

#[test]
fn load_finishes_its_request_and_reports_on_sigterm() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", server.local_addr().unwrap());
    let load = bookinfo(&["load", "--duration", "60", &url]).stdout(Stdio::piped()).spawn().unwrap();
    let (mut connection, _) = server.accept().unwrap();
    read_until(&mut connection, "\r\n\r\n");
    terminate(&load);
    connection.write_all(b"HTTP/1.1 200 OK\r\nx-bookinfo-pod: p\r\ncontent-length: 0\r\n\r\n").unwrap();
    // Should it begin another request before it sees the signal, that one fails at once.
    drop((connection, server));
    let output = load.wait_with_output().unwrap();
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        report["requests"].as_u64() >= Some(1) && report["headers"]["x-bookinfo-pod"]["p"] == 1,
        "{report}"
    );
}

#[test]
fn server_finishes_the_request_in_flight_on_sigterm() {
    let mut echo = Program::start(&["echo"]);
    let address = SocketAddr::from(([127, 0, 0, 1], echo.port));
    let mut connection = TcpStream::connect(address).unwrap();
    let head = "POST / HTTP/1.1\r\nhost: echo\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    connection.write_all(head.as_bytes()).unwrap();
    // The server asks for the body, so it has the request.
    read_until(&mut connection, "100 Continue\r\n\r\n");
    terminate(&echo.child);
    let deadline = Instant::now() + Duration::from_secs(3);
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "still listening after SIGTERM");
        std::thread::sleep(Duration::from_millis(5));
    }
    connection.write_all(b"late").unwrap();
    let answer = read_until(&mut connection, "}");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(echo.child.wait().unwrap().success());
}

/// Reads until the text has come, at most some seconds for each byte.
fn read_until(connection: &mut TcpStream, wanted: &str) -> String {
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut text, mut byte) = (String::new(), [0]);
    while !text.ends_with(wanted) {
        connection.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {text:?}"));
        text.push(byte[0].into());
    }
    text
}

#[test]
fn services_refuse_a_wrong_environment() {
    let output = bookinfo(&["reviews", "--port", "0"]).env("RATINGS_URL", "ratings:9080").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).starts_with("bookinfo: RATINGS_URL: \"ratings:9080\""),
        "{}",
        text(&output.stderr)
    );
}
