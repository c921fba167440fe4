//! What a server that is asked about a request is told of it, and what its answer changes (GEP-1494).

use std::borrow::Cow;

use http::StatusCode;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};

/// What has a meaning between neighbours alone, or frames a message: no server may change it in a message of others.
const OF_A_CONNECTION: [HeaderName; 7] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
const OF_A_CONNECTION_UNREGISTERED: [&str; 2] = ["keep-alive", "proxy-connection"];

/// What describes the body of the answer that it stands in.
const OF_A_BODY: [HeaderName; 5] =
    [CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_RANGE, CONTENT_TYPE];

/// What a server changes in the headers of a message, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(Vec<(HeaderName, Change)>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set(HeaderValue),
    Append(HeaderValue),
    AddIfAbsent(HeaderValue),
    OverwriteIfPresent(HeaderValue),
    Remove,
}

impl Changes {
    /// What may not be changed is passed over.
    pub fn push(&mut self, name: HeaderName, change: Change) {
        if name != HOST && !is_of_a_connection(&name) {
            self.0.push((name, change));
        }
    }

    /// With these behind its own.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub fn apply(self, headers: &mut HeaderMap) {
        for (name, change) in self.0 {
            match change {
                Change::Set(value) => _ = headers.insert(name, value),
                Change::Append(value) => _ = headers.append(name, value),
                Change::AddIfAbsent(value) if !headers.contains_key(&name) => _ = headers.insert(name, value),
                Change::OverwriteIfPresent(value) if headers.contains_key(&name) => {
                    headers.insert(name, value);
                }
                Change::Remove => _ = headers.remove(name),
                Change::AddIfAbsent(_) | Change::OverwriteIfPresent(_) => {}
            }
        }
    }
}

/// The headers of a request that a server of HTTP is sent, with a body of this length in place of the request's.
pub fn told_by_http(allowed: &[String], headers: &HeaderMap, length: usize) -> HeaderMap {
    let always = [HOST, AUTHORIZATION];
    let is_told =
        |name: &HeaderName| always.contains(name) || is_named(allowed, name) && !is_of_a_connection(name);
    let told = headers.iter().filter(|(name, _)| is_told(name));
    let mut told: HeaderMap = told.map(|(name, value)| (name.clone(), value.clone())).collect();
    // A client of HTTP/1.0 need not say it, and we must.
    told.entry(HOST).or_insert(HeaderValue::from_static(""));
    told.insert(CONTENT_LENGTH, length.into());
    told
}

/// The path and query at which a server of HTTP is asked.
pub fn asked_path<'p>(prefix: &str, path_and_query: &'p str) -> Cow<'p, str> {
    match prefix {
        "" => path_and_query.into(),
        _ => format!("{prefix}{path_and_query}").into(),
    }
}

/// Whether an answer of HTTP lets the request go on.
pub fn allows(status: StatusCode) -> bool {
    status == StatusCode::OK
}

/// The status of a refusal. An answer that is none to the request itself, or that would tell the client that it had what it
/// asked for, is a plain refusal.
pub fn refusal(status: StatusCode) -> StatusCode {
    match status.is_success() || status.is_informational() {
        true => StatusCode::FORBIDDEN,
        false => status,
    }
}

/// What the answer of a server of HTTP changes in the request that it lets go on: its headers, but for those of its connection.
/// Where all are taken, those that describe its body are not: the request keeps its own body.
pub fn copied(allowed: &[String], answer: &HeaderMap) -> Changes {
    let is_copied = |name: &HeaderName| match allowed {
        [] => !OF_A_BODY.contains(name),
        _ => is_named(allowed, name),
    };
    let mut changes = Changes::default();
    for name in answer.keys().filter(|name| is_copied(name)) {
        for (i, value) in answer.get_all(name).iter().enumerate() {
            let change = if i == 0 { Change::Set } else { Change::Append };
            changes.push(name.clone(), change(value.clone()));
        }
    }
    changes
}

/// The headers of a request as a call tells them: each once, in lower case, its values joined.
pub fn told_by_call(allowed: &[String], headers: &HeaderMap) -> Vec<(String, String)> {
    let told = headers.keys().filter(|name| allowed.is_empty() || is_named(allowed, name));
    told.map(|name| {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let values: Vec<Cow<'_, str>> = values.collect();
        // Cookies alone are joined otherwise (RFC 9113 §8.2.3).
        let separator = if *name == COOKIE { "; " } else { "," };
        (name.to_string(), values.join(separator))
    })
    .collect()
}

fn is_named(names: &[String], name: &HeaderName) -> bool {
    names.iter().any(|named| named == name.as_str())
}

fn is_of_a_connection(name: &HeaderName) -> bool {
    OF_A_CONNECTION.contains(name) || OF_A_CONNECTION_UNREGISTERED.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let line = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut map = HeaderMap::new();
        for (name, value) in lines.iter().map(line) {
            map.append(name, value);
        }
        map
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn external_auth_tells_http_what_it_must_and_what_is_allowed() {
        let request = map(&[
            ("host", "a.example"),
            ("authorization", "Basic x"),
            ("content-length", "5"),
            ("cookie", "a=1"),
            ("expect", "100-continue"),
            ("x-a", "1"),
            ("x-a", "2"),
        ]);
        let always = map(&[("host", "a.example"), ("authorization", "Basic x"), ("content-length", "0")]);
        assert_eq!(told_by_http(&[], &request, 0), always);
        let mut more = always.clone();
        more.extend(map(&[("x-a", "1"), ("x-a", "2"), ("content-length", "3")]));
        assert_eq!(told_by_http(&names(&["x-a", "expect", "content-length", "x-none"]), &request, 3), more);
        assert_eq!(told_by_http(&[], &HeaderMap::new(), 0), map(&[("host", ""), ("content-length", "0")]));
    }

    #[test]
    fn external_auth_tells_a_call_each_header_once() {
        let request = map(&[("x-a", "1"), ("x-a", "2"), ("cookie", "a=1"), ("cookie", "b=2"), ("x-b", "3")]);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut all = told_by_call(&[], &request);
        all.sort();
        assert_eq!(all, [pair("cookie", "a=1; b=2"), pair("x-a", "1,2"), pair("x-b", "3")]);
        assert_eq!(told_by_call(&names(&["x-b"]), &request), [pair("x-b", "3")]);
    }

    #[test]
    fn external_auth_copies_of_an_answer_what_is_the_requests() {
        let answer = map(&[
            ("host", "evil.example"),
            ("content-length", "2"),
            ("content-type", "text/plain"),
            ("x-user", "jason"),
            ("x-group", "a"),
            ("x-group", "b"),
        ]);
        let request = || map(&[("host", "a.example"), ("content-type", "text/html"), ("x-user", "admin")]);
        let mut all = request();
        copied(&[], &answer).apply(&mut all);
        let mut expected = map(&[("host", "a.example"), ("content-type", "text/html"), ("x-user", "jason")]);
        expected.extend(map(&[("x-group", "a"), ("x-group", "b")]));
        assert_eq!(all, expected);
        let mut some = request();
        copied(&names(&["x-user", "content-type", "host", "content-length"]), &answer).apply(&mut some);
        let expected = map(&[("host", "a.example"), ("content-type", "text/plain"), ("x-user", "jason")]);
        assert_eq!(some, expected);
    }

    #[test]
    fn external_auth_changes_as_it_says() {
        let value = HeaderValue::from_static;
        let mut headers = map(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let mut changes = Changes::default();
        for (name, change) in [
            ("a", Change::Append(value("2"))),
            ("b", Change::AddIfAbsent(value("2"))),
            ("c", Change::Remove),
            ("d", Change::OverwriteIfPresent(value("2"))),
            ("e", Change::AddIfAbsent(value("2"))),
            ("host", Change::Set(value("x"))),
            ("transfer-encoding", Change::Set(value("chunked"))),
        ] {
            changes.push(HeaderName::from_static(name), change);
        }
        changes.apply(&mut headers);
        assert_eq!(headers, map(&[("a", "1"), ("a", "2"), ("b", "1"), ("e", "2")]));
    }

    #[test]
    fn external_auth_refuses_by_no_status_that_is_none() {
        let check = |status: u16, expected: u16| {
            assert_eq!(refusal(StatusCode::from_u16(status).unwrap()).as_u16(), expected);
        };
        check(401, 401);
        check(302, 302);
        check(204, 403);
        check(101, 403);
        check(503, 503);
    }

    #[test]
    fn external_auth_is_asked_behind_its_prefix() {
        assert_eq!(asked_path("", "/a?b"), "/a?b");
        assert_eq!(asked_path("/check", "/a?b"), "/check/a?b");
    }
}
