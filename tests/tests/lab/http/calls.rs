//! Calls of gRPC.

use std::process::Command;
use std::time::{Duration, Instant};

use weir_tests::lab::client::Load;

use super::{Entry, LOOK};
use crate::SOON;
use crate::frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PREFACE, SETTINGS, block, frame, parse};

/// What curl tells of a call: head, body and trailers, and how long it took.
fn call(entry: &Entry<'_>, method: &str, fields: &[&str]) -> (String, Duration) {
    told(entry, method, fields, &["-i"])
}

fn told(entry: &Entry<'_>, method: &str, fields: &[&str], tell: &[&str]) -> (String, Duration) {
    let url = format!("http://{}/{method}", entry.callee);
    let mut curl = vec!["curl", "-sS", "--http2-prior-knowledge", "--max-time", "10", "-X", "POST"];
    curl.extend(tell);
    for field in ["content-type: application/grpc", "te: trailers"].iter().chain(fields) {
        curl.extend(["-H", *field]);
    }
    curl.push(&url);
    let begun = Instant::now();
    let output = match entry.name {
        "mesh" => entry.lab.exec("http/client", &curl).unwrap(),
        _ => Command::new(curl[0]).args(&curl[1..]).output().unwrap(),
    };
    let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
    (said + &String::from_utf8_lossy(&output.stderr), begun.elapsed())
}

pub(super) fn deadlines(entry: &Entry<'_>) {
    let (answer, took) = call(entry, "calls.Slow/Wait", &["grpc-timeout: 400m"]);
    assert!(answer.contains("grpc-status: 4\r"), "{}: {answer}", entry.name);
    assert!(took < Duration::from_millis(2500), "{}: {took:?}", entry.name);
    // Who is called is told what is left.
    let (answer, _) = call(entry, "calls.Echo/Say", &["grpc-timeout: 5S"]);
    let said = answer.split("\"grpc-timeout\":\"").nth(1).unwrap_or_else(|| panic!("{answer}"));
    let left: u32 = said.split('u').next().unwrap().parse().unwrap();
    assert!((4_000_000..5_000_000).contains(&left), "{answer}");
    let (answer, _) = call(entry, "calls.Echo/Say", &[]);
    assert!(answer.contains("200") && !answer.contains("grpc-timeout"), "{answer}");
}

pub(super) fn deadline_of_a_stream(entry: &Entry<'_>) {
    // The messages themselves are thrown away.
    let quiet = ["-D", "-", "-o", "/dev/null"];
    let (answer, took) = told(entry, "calls.Stream/Endless", &["grpc-timeout: 700m"], &quiet);
    assert!(answer.contains("grpc-status: 4\r"), "{}: {answer}", entry.name);
    assert!(took < SOON, "{}: {took:?}", entry.name);
}

pub(super) fn refusals(entry: &Entry<'_>) {
    let (answer, _) = call(entry, "calls.Nowhere/Go", &[]);
    let refused = answer.starts_with("http/2 200") && answer.contains("grpc-status: 14\r");
    assert!(refused, "{}: {answer}", entry.name);
    if entry.name == "mesh" {
        // A port of calls has nothing for other requests.
        let get = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://callee/calls.Echo/Say"];
        let said = entry.lab.exec("http/client", &get).unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "404");
        let (answer, _) = call(entry, "calls.Unknown/Go", &[]);
        assert!(answer.contains("grpc-status: 12\r"), "{answer}");
    } else {
        // A call that no GRPCRoute takes is a request like another to the HTTPRoutes.
        let (answer, _) = call(entry, "calls.Unknown/Go", &[]);
        assert!(answer.contains("grpc-status: 14\r"), "{answer}");
    }
}

pub(super) fn balanced(entry: &Entry<'_>) {
    let url = format!("http://{}/calls.Echo/Say", entry.callee);
    let arguments = ["load", "--http2", "--requests", "100", "--concurrency", "4"];
    let arguments = [&arguments[..], &["-H", "content-type:application/grpc", &url]].concat();
    let output = match entry.name {
        "mesh" => entry.lab.exec("http/client", &[&["bookinfo"], &arguments[..]].concat()).unwrap(),
        _ => Command::new(entry.lab.program("bookinfo")).args(&arguments).output().unwrap(),
    };
    let load: Load = serde_json::from_slice(&output.stdout).unwrap();
    let pods = load.pods();
    assert!(
        load.is_all_200() && pods.len() == 2 && pods.values().all(|count| *count >= 10),
        "{}: {load:?}",
        entry.name
    );
}

pub(super) fn backpressure(entry: &Entry<'_>) {
    let mut link = entry.open(entry.callee);
    link.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    let head =
        block("POST", "/calls.Stream/Endless", &[("content-type", "application/grpc"), ("te", "trailers")]);
    link.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head));
    // The whole window of a client that gives no more.
    link.until("the window to be full", |link| link.streamed().len() >= 65_535);
    let counted = || {
        let asked = entry.exchange(&entry.head("GET", "/counted", "Connection: close\r\n"));
        asked.rsplit("\r\n").next().unwrap().parse::<u64>().unwrap()
    };
    // What is on the way settles; then nothing more comes, since nobody takes it.
    let mut last = counted();
    weir_tests::wait::until("the backend to be held back", SOON, || {
        std::thread::sleep(4 * LOOK);
        let now = counted();
        let settled = now == last;
        last = now;
        Ok(settled.then_some(()))
    })
    .unwrap();
    assert!(last < 4 << 20, "{}: {last} bytes were taken of a stream that nobody reads", entry.name);
    // Once it is read again it goes on.
    let more = |stream: u32| frame(8, 0, stream, &(1u32 << 20).to_be_bytes());
    link.send(&[more(0), more(1)].concat());
    link.until("the rest", |link| link.streamed().len() >= 65_535 + (1 << 20));
    let frames = parse(&link.data);
    assert!(frames.iter().filter(|frame| frame.0 == DATA).all(|frame| frame.1 == 1));
}
