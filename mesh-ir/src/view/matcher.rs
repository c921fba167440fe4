//! One prepared match of a rule: what it wants of a request, and how it ranks beside others.

use std::cmp::Reverse;

use http::{HeaderMap, HeaderName, Method};
use regex::Regex;

use crate::resource::{HttpMatch, PathMatch, ValueMatch};

/// What a decision looks at in a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub method: &'a Method,
    pub path: &'a str,
    pub query: Option<&'a str>,
    /// The host asked for, in lower case, without port.
    pub host: &'a str,
    pub headers: &'a HeaderMap,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Matcher {
    pub(super) path: PathMatcher,
    method: Option<Method>,
    headers: Vec<(HeaderName, ValueMatcher)>,
    query: Vec<(String, ValueMatcher)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum PathMatcher {
    Exact(String),
    Prefix(String),
    Regex(Pattern),
}

#[derive(Clone, Debug, PartialEq)]
enum ValueMatcher {
    Exact(String),
    Regex(Pattern),
}

/// A regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Pattern {
    fn new(text: &str) -> Option<Self> {
        // Alone first: `a)|(b` is no expression, though it becomes one between brackets.
        Regex::new(text).ok()?;
        Regex::new(&format!("^(?:{text})$")).ok().map(Self)
    }
}

impl Matcher {
    /// `None` where the match can never hold: a header name, method or pattern that is none. The operator has
    /// said so in the route's status; here it must only match nothing.
    pub fn new(spec: &HttpMatch) -> Option<Self> {
        let value = |value: &ValueMatch| match value {
            ValueMatch::Exact(text) => Some(ValueMatcher::Exact(text.clone())),
            ValueMatch::Regex(text) => Pattern::new(text).map(ValueMatcher::Regex),
        };
        let path = match &spec.path {
            PathMatch::Exact(path) => PathMatcher::Exact(path.clone()),
            PathMatch::Prefix(path) => PathMatcher::Prefix(path.trim_end_matches('/').to_owned()),
            PathMatch::Regex(text) => PathMatcher::Regex(Pattern::new(text)?),
        };
        let method = match &spec.method {
            Some(method) => Some(Method::from_bytes(method.as_bytes()).ok()?),
            None => None,
        };
        let headers =
            spec.headers.iter().map(|h| Some((HeaderName::try_from(&h.name).ok()?, value(&h.value)?)));
        let query = spec.query.iter().map(|q| Some((q.name.clone(), value(&q.value)?)));
        Some(Self {
            path,
            method,
            headers: headers.collect::<Option<_>>()?,
            query: query.collect::<Option<_>>()?,
        })
    }

    pub fn matches(&self, request: &RequestHead<'_>) -> bool {
        self.method.as_ref().is_none_or(|method| method == request.method)
            && self.path.matches(request.path)
            && self.headers.iter().all(|(name, value)| header_matches(request.headers, name, value))
            && self.query.iter().all(|(name, value)| query_matches(request.query, name, value))
    }

    /// What a prefix match took of the path, for ReplacePrefixMatch.
    pub fn prefix(&self) -> Option<&str> {
        match &self.path {
            PathMatcher::Prefix(prefix) => Some(prefix),
            _ => None,
        }
    }

    /// Sorts the more specific match first, as HTTPRouteMatch says: exact path, then the longer path, then a
    /// method, then the number of headers, then of query parameters. A regular expression stands between exact
    /// paths and prefixes (the specification leaves its place open).
    pub(super) fn precedence(&self) -> impl Ord + use<> {
        let (kind, length) = match &self.path {
            PathMatcher::Exact(path) => (0, path.len()),
            PathMatcher::Regex(pattern) => (1, pattern.0.as_str().len()),
            PathMatcher::Prefix(prefix) => (2, prefix.len()),
        };
        (
            kind,
            Reverse(length),
            Reverse(self.method.is_some()),
            Reverse(self.headers.len()),
            Reverse(self.query.len()),
        )
    }
}

impl PathMatcher {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Regex(pattern) => pattern.0.is_match(path),
        }
    }
}

impl ValueMatcher {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Regex(pattern) => pattern.0.is_match(text),
        }
    }
}

/// A header that stands several times is matched as the list that RFC 9110 makes of it.
fn header_matches(headers: &HeaderMap, name: &HeaderName, wanted: &ValueMatcher) -> bool {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return false };
    match values.next() {
        None => first.to_str().is_ok_and(|text| wanted.matches(text)),
        Some(second) => {
            let all = [first, second].into_iter().chain(values);
            let texts: Result<Vec<&str>, _> = all.map(|value| value.to_str()).collect();
            texts.is_ok_and(|texts| wanted.matches(&texts.join(",")))
        }
    }
}

/// The first parameter of that name counts; names and values are compared after percent-decoding.
fn query_matches(query: Option<&str>, name: &str, wanted: &ValueMatcher) -> bool {
    let pairs = query.unwrap_or_default().split('&');
    let mut decoded = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    decoded
        .find(|(key, _)| percent_decoded(key) == name)
        .is_some_and(|(_, value)| wanted.matches(&percent_decoded(value)))
}

fn percent_decoded(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return text.into();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|pair| {
            std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
        });
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (b'+', _) => {
                out.push(b' ');
                at += 1;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}
