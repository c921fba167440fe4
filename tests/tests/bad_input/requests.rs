//! Malformed HTTP/1 requests, through the Gateway and from inside a pod.

use serde_json::Value;

use crate::world::World;

/// How many requests the storm has, over all entries.
const STORM: usize = 2000;

/// A malformed request.
struct Malformed {
    name: &'static str,
    data: Vec<u8>,
    /// One of these answers it.
    statuses: &'static [u16],
    /// The backend may have seen its head, because only the body is wrong.
    head_passes: bool,
}

pub(crate) fn malformed(world: &World) {
    let mut wrong = Vec::new();
    for entry in world.entries() {
        let count = all("", "").len();
        for at in 0..count {
            let marker = world.marker();
            let Malformed { name, data, statuses, head_passes } = all(entry.prefix, &marker).swap_remove(at);
            let answer = entry.send(&data);
            if !statuses.contains(&answer.status()) {
                let shown: String = answer.text().chars().take(200).collect();
                wrong.push(format!("{}: {name}: not {statuses:?}: {} {shown:?}", entry.name, answer.end));
            }
            if !answer.ended() {
                wrong.push(format!("{}: {name}: the connection stays open", entry.name));
            }
            match entry.seen_of(&marker) {
                Some(seen) if !head_passes || seen["complete"] == true => {
                    wrong.push(format!("{}: {name}: the backend saw {seen}", entry.name));
                }
                _ => {}
            }
            let good = entry.get("/good");
            if good.status() != 200 || good.body() != "good" {
                wrong.push(format!("{}: {name}: the next request: {good:?}", entry.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Malformed requests by the thousand, the same kinds again and again; what they leave is looked at in the end.
pub(crate) fn storm(world: &World) {
    let entries = world.entries();
    let kinds: Vec<Vec<Malformed>> = entries.iter().map(|entry| all(entry.prefix, &world.marker())).collect();
    let mut unanswered = 0;
    for at in 0..STORM {
        let which = at % entries.len();
        let kinds = &kinds[which];
        let Malformed { data, statuses, .. } = &kinds[at / entries.len() % kinds.len()];
        if !statuses.contains(&entries[which].send(data).status()) {
            unanswered += 1;
        }
    }
    world.untouched();
    let smuggled = |seen: &Value| seen["head"].as_str().is_some_and(|head| head.contains("smuggled"));
    for entry in entries {
        assert!(!entry.seen().iter().any(smuggled), "{}: a smuggled request came through", entry.name);
    }
    assert_eq!(unanswered, 0, "of {STORM} requests not answered as they should be");
}

fn all(prefix: &str, marker: &str) -> Vec<Malformed> {
    let path = format!("{prefix}/{marker}");
    let get =
        |fields: &str| format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n").into_bytes();
    let post = |fields: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n{body}").into_bytes()
    };
    let smuggled = format!("GET {prefix}/smuggled HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    let whole = |text: &str| text.replace("PATH", &path).into_bytes();
    let mut list = Vec::new();
    let mut add = |name, data, statuses, head_passes| {
        list.push(Malformed { name, data, statuses, head_passes });
    };
    let long = "h".repeat(70_000);
    let fields = |count: usize, length: usize| -> String {
        (0..count).map(|at| format!("X-{at}: {}\r\n", "v".repeat(length))).collect()
    };
    const BAD: &[u16] = &[400];
    const TOO_LARGE: &[u16] = &[431];
    add("a field of 70,000 bytes", get(&format!("X-Long: {long}\r\n")), TOO_LARGE, false);
    add("fields of 100,000 bytes together", get(&fields(100, 1000)), TOO_LARGE, false);
    add("200 fields", get(&fields(200, 1)), TOO_LARGE, false);
    add("1,000 fields", get(&fields(1000, 1)), TOO_LARGE, false);
    add(
        "a path of 70,000 bytes",
        whole(&format!("GET PATH{long} HTTP/1.1\r\nHost: a\r\n\r\n")),
        &[414, 431],
        false,
    );
    // These four are framed well, so their connection could go on.
    let close = "Connection: close\r\n";
    add("no Host", whole("GET PATH HTTP/1.1\r\nConnection: close\r\n\r\n"), BAD, false);
    add("two Hosts", get(&format!("Host: other.example\r\n{close}")), BAD, false);
    add("the same Host twice", get(&format!("Host: shop.example\r\n{close}")), BAD, false);
    add(
        "a Host that is none",
        whole(&format!("GET PATH HTTP/1.1\r\nHost: a/b@c\r\n{close}\r\n")),
        BAD,
        false,
    );
    add("a folded line", get("X-Folded: a\r\n b\r\n"), BAD, false);
    add("a folded Transfer-Encoding", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), BAD, false);
    add("a space before the colon", get("X-Spaced : a\r\n"), BAD, false);
    add("a line without a colon", get("X-Nothing\r\n"), BAD, false);
    add("a NUL in a value", get("X-Nul: a\0b\r\n"), BAD, false);
    add("a bare CR in a value", get("X-Cr: a\rb\r\n"), BAD, false);
    add("a NUL in the path", whole("GET PATH\0 HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, false);
    add("a method that is none", whole("G@T PATH HTTP/1.1\r\nHost: a\r\n\r\n"), BAD, false);
    add("HTTP/9.9", whole("GET PATH HTTP/9.9\r\nHost: a\r\n\r\n"), &[400, 505], false);
    add("HTTP/0.9", whole("GET PATH\r\n\r\n"), BAD, false);
    add("garbage", b"\x00\x01\x02\xff\xfe garbage\r\n\r\n".to_vec(), BAD, false);
    add("a preface of HTTP/2 that goes wrong", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(), BAD, false);
    add("two lengths that differ", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"), BAD, false);
    add("a list of lengths that differ", post("Content-Length: 5, 6\r\n", "hello!"), BAD, false);
    add("a length below zero", post("Content-Length: -1\r\n", "hello"), BAD, false);
    add("a length with a sign", post("Content-Length: +5\r\n", "hello"), BAD, false);
    add("a length that is no number", post("Content-Length: 0x5\r\n", "hello"), BAD, false);
    add(
        "a length beyond all numbers",
        post("Content-Length: 99999999999999999999999\r\n", "hello"),
        BAD,
        false,
    );
    add(
        "Content-Length and Transfer-Encoding",
        post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", &format!("0\r\n\r\n{smuggled}")),
        BAD,
        false,
    );
    add(
        "Transfer-Encoding and Content-Length",
        post("Transfer-Encoding: chunked\r\nContent-Length: 200\r\n", &format!("0\r\n\r\n{smuggled}")),
        BAD,
        false,
    );
    add(
        "Transfer-Encoding and a Content-Length of 0",
        post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", &format!("0\r\n\r\n{smuggled}")),
        BAD,
        false,
    );
    add(
        "a Transfer-Encoding that nobody knows",
        post("Transfer-Encoding: xchunked\r\n", &smuggled),
        &[400, 501],
        false,
    );
    add(
        "a Transfer-Encoding that does not end in chunked",
        post("Transfer-Encoding: chunked, identity\r\n", &format!("0\r\n\r\n{smuggled}")),
        &[400, 501],
        false,
    );
    add(
        "a Transfer-Encoding in HTTP/1.0",
        whole(&format!(
            "POST PATH HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"
        )),
        BAD,
        false,
    );
    let chunked = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    add("a chunk size that is no number", chunked("zz\r\nhello\r\n0\r\n\r\n"), BAD, true);
    add("a chunk size beyond all numbers", chunked("fffffffffffffffff\r\nhello\r\n0\r\n\r\n"), BAD, true);
    add("a chunk size below zero", chunked("-5\r\nhello\r\n0\r\n\r\n"), BAD, true);
    add("a chunk that is longer than it says", chunked("3\r\nhello\r\n0\r\n\r\n"), BAD, true);
    add("a bad chunk after a good one", chunked("5\r\nhello\r\nzz\r\n0\r\n\r\n"), BAD, true);
    list
}
