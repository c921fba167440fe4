//! One prepared match of a rule: what it wants of a request, and how it ranks beside others.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::sync::Arc;

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
    Exact(Arc<str>),
    Prefix(Arc<str>),
    Regex(Pattern),
}

#[derive(Clone, Debug, PartialEq)]
enum ValueMatcher {
    Exact(String),
    Regex(Pattern),
}

/// The first thing that a match wants of a request and does not find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch<'m> {
    /// A GRPCRoute's, of a request that is no call of gRPC.
    NoCall,
    Method(&'m Method),
    Path(Wanted<'m>),
    Header(&'m HeaderName, Wanted<'m>),
    Query(&'m str, Wanted<'m>),
}

/// How a text has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'m> {
    Exact(&'m str),
    /// By whole path elements; empty is every path.
    Prefix(&'m str),
    Regex(&'m str),
}

/// A regular expression that must match the whole text.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Regex);

const ANCHOR: &str = "^(?:";
const END: &str = ")$";

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Pattern {
    fn new(text: &str) -> Option<Self> {
        // Alone first: `a)|(b` is no expression, though it becomes one between brackets.
        Regex::new(text).ok()?;
        Regex::new(&format!("{ANCHOR}{text}{END}")).ok().map(Self)
    }

    fn text(&self) -> &str {
        let whole = self.0.as_str();
        &whole[ANCHOR.len()..whole.len() - END.len()]
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
            PathMatch::Exact(path) => PathMatcher::Exact(path.as_str().into()),
            PathMatch::Prefix(path) => PathMatcher::Prefix(path.trim_end_matches('/').into()),
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
        self.mismatch(request).is_none()
    }

    /// What keeps the request from matching; `None` when it matches.
    pub fn mismatch(&self, request: &RequestHead<'_>) -> Option<Mismatch<'_>> {
        if let Some(method) = self.method.as_ref().filter(|method| *method != request.method) {
            return Some(Mismatch::Method(method));
        }
        if !self.path.matches(request.path) {
            return Some(Mismatch::Path(self.path.wanted()));
        }
        let header = self.headers.iter().find(|(name, value)| !header_matches(request.headers, name, value));
        if let Some((name, value)) = header {
            return Some(Mismatch::Header(name, value.wanted()));
        }
        let query = self.query.iter().find(|(name, value)| !query_matches(request.query, name, value));
        query.map(|(name, value)| Mismatch::Query(name, value.wanted()))
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
            Self::Exact(exact) => path == &**exact,
            Self::Prefix(prefix) => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(pattern) => pattern.0.is_match(path),
        }
    }

    fn wanted(&self) -> Wanted<'_> {
        match self {
            Self::Exact(exact) => Wanted::Exact(exact),
            Self::Prefix(prefix) => Wanted::Prefix(prefix),
            Self::Regex(pattern) => Wanted::Regex(pattern.text()),
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

    fn wanted(&self) -> Wanted<'_> {
        match self {
            Self::Exact(exact) => Wanted::Exact(exact),
            Self::Regex(pattern) => Wanted::Regex(pattern.text()),
        }
    }
}

fn header_matches(headers: &HeaderMap, name: &HeaderName, wanted: &ValueMatcher) -> bool {
    matches!(header_text(headers, name), HeaderText::Text(text) if wanted.matches(&text))
}

/// What a header holds, as a match sees it.
pub(crate) enum HeaderText<'h> {
    Absent,
    /// Bytes that no match can be compared with.
    NotText,
    Text(Cow<'h, str>),
}

/// A header that stands several times is matched as the list that RFC 9110 makes of it.
pub(crate) fn header_text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> HeaderText<'h> {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return HeaderText::Absent };
    let text = match values.next() {
        None => first.to_str().map(Cow::Borrowed),
        Some(second) => {
            let all = [first, second].into_iter().chain(values);
            let texts: Result<Vec<&str>, _> = all.map(|value| value.to_str()).collect();
            texts.map(|texts| Cow::Owned(texts.join(",")))
        }
    };
    text.map_or(HeaderText::NotText, HeaderText::Text)
}

fn query_matches(query: Option<&str>, name: &str, wanted: &ValueMatcher) -> bool {
    query_text(query, name).is_some_and(|value| wanted.matches(&value))
}

/// The first parameter of that name counts; names and values are compared after percent-decoding.
pub(crate) fn query_text<'q>(query: Option<&'q str>, name: &str) -> Option<Cow<'q, str>> {
    let pairs = query.unwrap_or_default().split('&');
    let mut decoded = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = decoded.find(|(key, _)| percent_decoded(key) == name)?;
    Some(percent_decoded(value))
}

fn percent_decoded(text: &str) -> Cow<'_, str> {
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
