//! External authorization (GEP-1494, GEP-5224) with real servers: what they are told, what their answers do, and that nothing
//! reaches a backend before they have said yes.

use std::net::IpAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use weir_tests::lab::{Lab, Plan, can_run};
use weir_tests::wait;

use crate::agent::{Agent, Received};
use crate::{SOON, has, run};

#[test]
fn lab_asks_before_requests_go_on() {
    if !can_run() || !has("python3") || !has("curl") {
        return;
    }
    let command = |text: &str| serde_json::to_string(&["python3", "-c", text]).unwrap();
    let backend = concat!(include_str!("../shared/http1.py"), include_str!("http/backend.py"));
    let server = concat!(include_str!("../shared/http1.py"), include_str!("external_auth/server.py"));
    let manifest = include_str!("external_auth/external-auth.yaml")
        .replace("BACKEND", &command(backend))
        .replace("SERVER", &command(server));
    let lab = Plan::new("extauth").sample("lab.yaml").manifest("external-auth.yaml", manifest).up().unwrap();
    run(
        lab,
        &[
            ("HTTP: an allowed request goes on with what the server adds", &http_allows),
            ("HTTP: all headers of an answer are taken where none are named", &http_copies_all),
            ("HTTP: a refusal is the server's own answer", &http_refuses),
            ("gRPC: an allowed request goes on as the server says", &call_allows),
            ("gRPC: a refusal is the server's own answer", &call_refuses),
            ("a call that is refused is told by a grpc-status", &refuses_calls),
            ("a body goes to the server first, up to its size", &bodies),
            ("a body that is expected is asked for by whoever wants it first", &expected_bodies),
            ("servers that cannot be asked refuse", &cannot_be_asked),
            ("a server that does not answer refuses, within the request's time", &does_not_answer),
            ("a connection is switched to another protocol once that is allowed", &switches),
            ("a redirect waits for the server", &redirects),
            ("filters before the server change what it is told", &rewrites),
            ("a mirror gets nothing that is refused", &mirrors),
            ("a request that is retried is asked about once", &retries),
            ("a listener asks in order, before routes are looked for", &listeners),
            ("a listener whose server cannot be resolved answers 500", &unresolved_listener),
            ("requests in the mesh are asked about as well", &in_the_mesh),
        ],
    );
}

fn gateway(lab: &Lab) -> String {
    let found = wait::until("the Gateway's address", SOON, || Ok(lab.gateway("auth", "front").ok())).unwrap();
    found.into_iter().find(IpAddr::is_ipv4).unwrap().to_string()
}

/// The answer to a request that says this in its Authorization, `head` beside it, and nothing of it if that is empty.
fn ask(lab: &Lab, host: &str, authorization: &str, head: &str) -> Received {
    request(lab, 80, &format!("GET /a?b=c HTTP/1.1\r\nHost: {host}.example\r\n{head}"), authorization, "")
}

fn request(lab: &Lab, port: u16, head: &str, authorization: &str, body: &str) -> Received {
    let said = match authorization {
        "" => String::new(),
        said => format!("Authorization: {said}\r\n"),
    };
    let request = format!("{head}{said}Connection: close\r\n\r\n{body}");
    Agent::on_the_machine().exchange(&gateway(lab), port, request.as_bytes(), SOON)
}

/// What the backend saw.
fn seen(answer: &Received) -> Value {
    assert_eq!(answer.status(), 200, "{answer:?}");
    serde_json::from_str(&answer.body()).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

/// What the server was told, of which the backend was told in turn.
fn told(seen: &Value) -> Value {
    serde_json::from_str(seen["fields"]["x-told"].as_str().unwrap_or_else(|| panic!("{seen}"))).unwrap()
}

fn names(fields: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = fields.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn counts(lab: &Lab) -> (u64, u64) {
    let output =
        lab.exec("auth/client", &["curl", "-sS", "--max-time", "20", "http://counting/counts"]).unwrap();
    let counts: Value = serde_json::from_slice(&output.stdout).unwrap();
    (counts["asked"].as_u64().unwrap(), counts["served"].as_u64().unwrap())
}

fn http_allows(lab: &Lab) {
    let answer = ask(lab, "http", "allow", "X-Told-Too: 1\r\nX-Other: 1\r\nX-User: admin\r\n");
    let seen = seen(&answer);
    let fields = &seen["fields"];
    assert_eq!(fields["x-user"], "jason", "{seen}");
    assert_eq!(fields["host"], "http.example");
    assert!(fields["x-mine"].is_null() && fields["content-type"].is_null(), "{seen}");
    let told = told(&seen);
    assert_eq!(told["line"], "GET /check/a?b=c HTTP/1.1");
    assert_eq!(names(&told["fields"]), ["authorization", "content-length", "host", "x-told-too"]);
    assert_eq!(
        (&told["fields"]["content-length"], &told["fields"]["host"]),
        (&"0".into(), &"http.example".into())
    );
}

fn http_copies_all(lab: &Lab) {
    let post = "POST /a HTTP/1.1\r\nHost: all.example\r\nContent-Type: text/html\r\nContent-Length: 5\r\n";
    let answer = request(lab, 80, post, "allow", "hello");
    let seen = seen(&answer);
    let fields = &seen["fields"];
    assert_eq!((&fields["x-user"], &fields["host"]), (&"jason".into(), &"all.example".into()), "{seen}");
    // What is of the answer's connection and body is not the request's.
    assert!(fields["x-mine"].is_null(), "{seen}");
    assert_eq!((&fields["content-type"], &fields["content-length"]), (&"text/html".into(), &"5".into()));
    assert_eq!(seen["body"], "hello");
    let told = told(&seen);
    assert_eq!((&told["line"], &told["body"]), (&"POST /a HTTP/1.1".into(), &"".into()));
    assert_eq!(names(&told["fields"]), ["authorization", "content-length", "host"]);
    // A client cannot have a header taken away that the server adds.
    let answer = ask(lab, "all", "allow", "Connection: X-User\r\n");
    assert_eq!(self::seen(&answer)["fields"]["x-user"], "jason");
}

fn http_refuses(lab: &Lab) {
    let answer = ask(lab, "http", "", "");
    assert_eq!(
        (answer.status(), answer.header("www-authenticate").as_deref()),
        (401, Some("Basic")),
        "{answer:?}"
    );
    assert!(answer.body().contains("GET /check/a?b=c"), "{answer:?}");
    let answer = ask(lab, "http", "login", "");
    let fields = ["location", "set-cookie"].map(|name| answer.header(name).unwrap_or_default());
    assert_eq!((answer.status(), fields), (302, ["https://login.example/", "a=1"].map(String::from)));
    // A success that is no consent.
    assert_eq!(ask(lab, "http", "empty", "").status(), 403);
}

fn call_allows(lab: &Lab) {
    let answer = ask(lab, "call", "allow", "X-A: 1\r\nX-A: 2\r\n");
    let cookies =
        answer.text().lines().filter(|line| line.to_lowercase().starts_with("set-cookie: ")).count();
    assert_eq!(cookies, 2, "{answer:?}");
    let seen = seen(&answer);
    let fields = &seen["fields"];
    assert_eq!((&fields["x-user"], &fields["host"]), (&"jason".into(), &"call.example".into()), "{seen}");
    assert!(fields["authorization"].is_null(), "{seen}");
    let told = told(&seen);
    let expected = [
        ("method", "GET"),
        ("path", "/a?b=c"),
        ("host", "call.example"),
        ("scheme", "http"),
        ("protocol", "HTTP/1.1"),
        ("body", ""),
    ];
    for (name, value) in expected {
        assert_eq!(told[name], value, "{told}");
    }
    assert_eq!((&told["fields"]["x-a"], &told["fields"]["authorization"]), (&"1,2".into(), &"allow".into()));
    let some = self::told(&self::seen(&ask(lab, "some", "allow", "X-A: 1\r\n")));
    assert_eq!(names(&some["fields"]), ["authorization"]);
}

fn call_refuses(lab: &Lab) {
    let answer = ask(lab, "call", "", "");
    assert_eq!(
        (answer.status(), answer.header("www-authenticate").as_deref()),
        (401, Some("Basic")),
        "{answer:?}"
    );
    assert!(answer.body().contains("\"path\": \"/a?b=c\""), "{answer:?}");
    assert_eq!(ask(lab, "call", "plain", "").status(), 403);
    // What is no consent, and what cannot be read.
    assert_eq!(ask(lab, "call", "empty", "").status(), 503);
    assert_eq!(ask(lab, "call", "failed", "").status(), 503);
}

fn refuses_calls(lab: &Lab) {
    for host in ["http", "call"] {
        let url = format!("http://{}/calls.Echo/Say", gateway(lab));
        let host = format!("host: {host}.example");
        let curl = ["-sS", "-i", "--http2-prior-knowledge", "--max-time", "10", "-X", "POST", "-H", &host];
        let call = ["-H", "content-type: application/grpc", "-H", "te: trailers", &url];
        let output = Command::new("curl").args(curl).args(call).output().unwrap();
        let answer = String::from_utf8_lossy(&output.stdout).to_lowercase();
        assert!(answer.starts_with("http/2 200") && answer.contains("grpc-status: 16\r"), "{answer}");
    }
}

fn bodies(lab: &Lab) {
    let post = |host: &str, body: &str| {
        let head = format!("POST /a HTTP/1.1\r\nHost: {host}.example\r\nContent-Length: {}\r\n", body.len());
        request(lab, 80, &head, "allow", body)
    };
    for host in ["body", "call-body"] {
        let seen = seen(&post(host, "0123456789"));
        assert_eq!(
            (&seen["body"], &told(&seen)["body"]),
            (&"0123456789".into(), &"0123456789".into()),
            "{seen}"
        );
        assert_eq!(post(host, "0123456789a").status(), 413);
        // One whose length is not told before.
        let head = format!(
            "POST /trailers HTTP/1.1\r\nHost: {host}.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n"
        );
        let chunks = "4\r\nabcd\r\n4\r\nefgh\r\n0\r\nX-Sum: 7\r\n\r\n";
        let answer = request(lab, 80, &head, "allow", chunks);
        let text = answer.text().to_lowercase();
        assert!(text.contains("abcdefgh") && text.contains("x-sum: 7"), "{text}");
        let long = "4\r\nabcd\r\n8\r\nefghijkl\r\n0\r\n\r\n";
        assert_eq!(request(lab, 80, &head, "allow", long).status(), 413);
    }
    let told = told(&seen(&post("body", "0123")));
    assert_eq!(told["fields"]["content-length"], "4");
}

fn expected_bodies(lab: &Lab) {
    let agent = Agent::on_the_machine();
    let address = gateway(lab);
    let head = |host: &str, authorization: &str| {
        format!(
            "POST /a HTTP/1.1\r\nHost: {host}.example\r\nAuthorization: {authorization}\r\nContent-Length: 5\r\n\
             Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
    };
    for host in ["http", "body", "call", "call-body"] {
        let held = agent.open(&address, 80, None).unwrap();
        agent.send(held, head(host, "allow").as_bytes()).unwrap();
        let interim = agent.read(held, Duration::from_secs(1));
        assert_eq!(interim.text(), "HTTP/1.1 100 Continue\r\n\r\n", "{host}");
        agent.send(held, b"hello").unwrap();
        let answer = agent.read(held, SOON);
        assert_eq!(seen(&answer)["body"], "hello", "{host}");
        agent.close(held);
    }
    let refused = agent.exchange(&address, 80, head("http", "deny").as_bytes(), SOON);
    assert_eq!(refused.status(), 401, "{refused:?}");
}

fn cannot_be_asked(lab: &Lab) {
    for (host, status) in [("closed", 503), ("dead", 503), ("absent", 500)] {
        assert_eq!(ask(lab, host, "allow", "").status(), status, "{host}");
    }
    assert_eq!(ask(lab, "http", "broken", "").status(), 503);
}

fn does_not_answer(lab: &Lab) {
    let begun = Instant::now();
    assert_eq!(ask(lab, "http", "silent", "").status(), 503);
    assert!(begun.elapsed() >= Duration::from_secs(5), "{:?}", begun.elapsed());
    let begun = Instant::now();
    assert_eq!(ask(lab, "late", "silent", "").status(), 504);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

fn switches(lab: &Lab) {
    let agent = Agent::on_the_machine();
    let address = gateway(lab);
    let head = |authorization: &str| {
        format!(
            "GET /switches HTTP/1.1\r\nHost: http.example\r\nAuthorization: {authorization}\r\n\
             Connection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        )
    };
    let held = agent.open(&address, 80, None).unwrap();
    agent.send(held, head("allow").as_bytes()).unwrap();
    let switched = agent.read(held, Duration::from_secs(1));
    assert_eq!(switched.status(), 101, "{switched:?}");
    agent.send(held, b"hello").unwrap();
    assert_eq!(agent.read(held, Duration::from_secs(1)).text(), "hello");
    agent.close(held);
    let refused = agent.exchange(&address, 80, head("deny").as_bytes(), Duration::from_secs(1));
    assert_eq!(refused.status(), 401, "{refused:?}");
}

fn redirects(lab: &Lab) {
    assert_eq!(ask(lab, "redirected", "deny", "").status(), 401);
    let answer = ask(lab, "redirected", "allow", "");
    let location = answer.header("location").unwrap_or_default();
    assert_eq!((answer.status(), &*location), (302, "http://new.example/a?b=c"), "{answer:?}");
}

fn rewrites(lab: &Lab) {
    let seen = seen(&ask(lab, "rewritten", "allow", ""));
    assert_eq!(told(&seen)["line"], "GET /new?b=c HTTP/1.1");
}

fn mirrors(lab: &Lab) {
    let (_, before) = counts(lab);
    assert_eq!(ask(lab, "mirrored", "deny", "").status(), 401);
    assert_eq!(ask(lab, "mirrored", "allow", "").status(), 200);
    let copied = wait::until("the copy", SOON, || {
        let (_, served) = counts(lab);
        Ok((served > before).then_some(served - before))
    });
    // Had the first been copied, its copy would have come first.
    assert_eq!(copied.unwrap(), 1);
}

fn retries(lab: &Lab) {
    let before = counts(lab);
    let answer = request(lab, 80, "GET /fail HTTP/1.1\r\nHost: retried.example\r\n", "allow", "");
    let after = counts(lab);
    assert_eq!((answer.status(), after.0 - before.0, after.1 - before.1), (503, 1, 3));
}

fn listeners(lab: &Lab) {
    let ask = |path: &str, authorization: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: any.example\r\nX-User: nobody\r\n");
        request(lab, 81, &head, authorization, "")
    };
    // The first takes the Authorization away, so that the second, which is not told it, refuses.
    let (before, _) = counts(lab);
    let answer = ask("/a", "allow");
    assert_eq!(answer.status(), 401, "{answer:?}");
    let told: Value = serde_json::from_str(&answer.body()).unwrap();
    assert_eq!(told["fields"]["x-user"], "jason", "{told}");
    assert_eq!(counts(lab).0 - before, 2);
    // The first refuses, and the second is not asked; whether a route would take it is not looked for.
    for path in ["/known", "/nowhere"] {
        let (before, _) = counts(lab);
        assert_eq!(ask(path, "deny").status(), 401);
        assert_eq!(counts(lab).0 - before, 1);
    }
    let only_first = lab.edit("external-auth.yaml", |text| {
        let second = text.lines().find(|line| line.contains("allowedHeaders: [x-user]")).unwrap();
        text.replace(&format!("{second}\n"), "")
    });
    only_first.unwrap();
    // The route is that of what the server has made of the request.
    let routed = wait::until("the route by the user", SOON, || {
        let answer = ask("/a", "allow");
        Ok((answer.status() == 200).then_some(answer))
    });
    let seen = seen(&routed.unwrap());
    assert_eq!(seen["fields"]["x-user"], "jason", "{seen}");
    assert_eq!(ask("/known", "deny").status(), 401);
}

fn unresolved_listener(lab: &Lab) {
    let answer = request(lab, 82, "GET /known HTTP/1.1\r\nHost: any.example\r\n", "allow", "");
    assert_eq!(answer.status(), 500, "{answer:?}");
    let status: Value = lab.operator("/status").unwrap();
    let objects = status["objects"].as_array().unwrap();
    let gateway = objects.iter().find(|object| object["kind"] == "Gateway").unwrap();
    assert!(gateway.to_string().contains("InvalidListenerFilterRef"), "{gateway}");
}

fn in_the_mesh(lab: &Lab) {
    let curl = |service: &str, authorization: &str| {
        let (url, said) = (format!("http://{service}/a"), format!("Authorization: {authorization}"));
        let shown = [
            "curl",
            "-sS",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code}",
            "-H",
            &said,
            "-H",
            "X-Told-Too: 1",
            &url,
        ];
        let output = lab.exec("auth/client", &shown).unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (body.to_owned(), status.to_owned())
    };
    for service in ["guarded", "called"] {
        assert_eq!(curl(service, "deny").1, "401", "{service}");
        let (body, status) = curl(service, "allow");
        assert_eq!(status, "200", "{service}: {body}");
        let seen: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(seen["fields"]["x-user"], "jason", "{seen}");
        let told = told(&seen);
        match service {
            "guarded" => assert_eq!(told["fields"]["x-told-too"], "1", "{told}"),
            // The server learns by whom it is asked.
            _ => assert_eq!(told["source"], "spiffe://cluster.local/ns/auth/sa/default", "{told}"),
        }
    }
}
