//! The rules that apply at one place (a Service's port for some clients, a listener's hostname): to requests, in the order
//! in which they are tried, or to connections. A large table finds those that can match a path without trying the others.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::grpc;
use crate::resource::{Resource, Route, RouteKey, RouteKind, Rule};

use super::matcher::{Matcher, Mismatch, PathMatcher, RequestHead};

/// The routes of one place. A listener carries either requests or connections, and one kind of route has a Service's port,
/// so there is no place that has both.
#[derive(Clone, Debug, PartialEq)]
pub enum Routes {
    Requests(RouteTable),
    /// Of several routes the oldest has all connections. `None` where it has no rule.
    Connections(Option<Arc<PreparedRule>>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteTable {
    /// Of GRPCRoutes, which take calls only and are never merged with HTTPRoutes (GEP-1016); they are asked first.
    of_calls: Option<Box<RouteTable>>,
    entries: Vec<Arc<Entry>>,
    /// `None` where there are so few entries that to try them all is as fast.
    paths: Option<Box<Paths>>,
}

/// With no more entries than this a table has no index.
const FEW: usize = 8;

#[derive(Debug, PartialEq)]
struct Entry {
    matcher: Matcher,
    rule: Arc<PreparedRule>,
}

/// The places of the entries by what path they match. Exact paths go before patterns and patterns before prefixes, as
/// [`Matcher::precedence`] has it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Paths {
    exact: HashMap<String, Vec<usize>>,
    patterns: Vec<usize>,
    prefixes: HashMap<String, Vec<usize>>,
    /// Of the prefixes, the longest first.
    lengths: Vec<usize>,
}

/// A rule and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedRule {
    pub route: RouteKey,
    /// Its place in `spec.rules`.
    pub index: usize,
    pub rule: Rule,
}

/// A route with its matches prepared, for all tables that it is in.
#[derive(Debug, PartialEq)]
pub(super) struct PreparedRoute {
    resource: Arc<Resource>,
    entries: Vec<Arc<Entry>>,
    /// What a route of connections does with each of them.
    connections: Option<Arc<PreparedRule>>,
}

/// The rule that took a request, and by which of its matches.
#[derive(Clone, Copy, Debug)]
pub struct Match<'v> {
    pub rule: &'v Arc<PreparedRule>,
    pub matcher: &'v Matcher,
}

impl Routes {
    pub(super) fn new<'a>(routes: impl Iterator<Item = &'a PreparedRoute>) -> Self {
        let mut routes: Vec<&PreparedRoute> = routes.collect();
        routes.sort_by_key(|prepared| (prepared.route().created, &prepared.route().key));
        let (of_requests, of_connections): (Vec<_>, Vec<_>) =
            routes.into_iter().partition(|prepared| prepared.route().key.kind.is_of_requests());
        match of_connections.first() {
            Some(first) if of_requests.is_empty() => Self::Connections(first.connections.clone()),
            _ => Self::Requests(RouteTable::new(&of_requests)),
        }
    }

    pub fn of_requests(&self) -> Option<&RouteTable> {
        match self {
            Self::Requests(table) => Some(table),
            Self::Connections(_) => None,
        }
    }

    pub fn of_connections(&self) -> Option<&Arc<PreparedRule>> {
        match self {
            Self::Requests(_) => None,
            Self::Connections(rule) => rule.as_ref(),
        }
    }
}

impl RouteTable {
    /// Of routes of which the first goes before others where they match equally well.
    fn new(routes: &[&PreparedRoute]) -> Self {
        let (of_calls, others): (Vec<&PreparedRoute>, Vec<_>) =
            routes.iter().partition(|prepared| prepared.route().key.kind == RouteKind::Grpc);
        let of_calls = (!of_calls.is_empty()).then(|| Box::new(Self::of_one_kind(&of_calls)));
        Self { of_calls, ..Self::of_one_kind(&others) }
    }

    fn of_one_kind(routes: &[&PreparedRoute]) -> Self {
        // The sort is stable.
        let mut entries: Vec<Arc<Entry>> =
            routes.iter().flat_map(|prepared| prepared.entries.iter().cloned()).collect();
        entries.sort_by_cached_key(|entry| entry.matcher.precedence());
        let paths = (entries.len() > FEW).then(|| Box::new(Paths::new(&entries)));
        Self { of_calls: None, entries, paths }
    }

    pub fn find(&self, request: &RequestHead<'_>) -> Option<Match<'_>> {
        if let Some(of_calls) = &self.of_calls
            && grpc::is_call(request.headers)
            && let Some(found) = of_calls.find(request)
        {
            return Some(found);
        }
        let matching = |place: &usize| self.entries[*place].matcher.matches(request);
        let place = match &self.paths {
            Some(paths) => paths.of(request.path).find(matching),
            None => (0..self.entries.len()).find(matching),
        };
        Some(self.entries[place?].as_match())
    }

    /// The matches that are tried for a request, in their order, each with what it does not find; the one that takes the
    /// request, if one does, is the last.
    pub fn tried(&self, request: &RequestHead<'_>) -> Vec<(Match<'_>, Option<Mismatch<'_>>)> {
        let mut tried = Vec::new();
        let calls = self.of_calls.iter().flat_map(|table| &table.entries).map(|entry| (entry, true));
        let is_call = grpc::is_call(request.headers);
        for (entry, of_calls) in calls.chain(self.entries.iter().map(|entry| (entry, false))) {
            let mismatch = match of_calls && !is_call {
                true => Some(Mismatch::NoCall),
                false => entry.matcher.mismatch(request),
            };
            tried.push((entry.as_match(), mismatch));
            if mismatch.is_none() {
                break;
            }
        }
        tried
    }
}

impl Entry {
    fn as_match(&self) -> Match<'_> {
        Match { rule: &self.rule, matcher: &self.matcher }
    }
}

impl PreparedRoute {
    /// Of the resource of a route, with these of its rules.
    pub(super) fn new(resource: &Arc<Resource>, route: &RouteKey, rules: &[Rule]) -> Self {
        let (mut entries, mut connections) = (Vec::new(), None);
        for (index, rule) in rules.iter().enumerate() {
            let prepared = Arc::new(PreparedRule { route: route.clone(), index, rule: rule.clone() });
            let matchers = rule.matches.iter().filter_map(Matcher::new);
            entries.extend(matchers.map(|matcher| Arc::new(Entry { matcher, rule: prepared.clone() })));
            connections = connections.or((!route.kind.is_of_requests()).then_some(prepared));
        }
        Self { resource: resource.clone(), entries, connections }
    }

    pub(super) fn route(&self) -> &Route {
        match &*self.resource {
            Resource::Route(route) => route,
            other => unreachable!("a prepared route is made of a route, not of {}", other.key()),
        }
    }
}

impl Paths {
    fn new(entries: &[Arc<Entry>]) -> Self {
        let mut paths = Self::default();
        let mut lengths = BTreeSet::new();
        for (place, entry) in entries.iter().enumerate() {
            match &entry.matcher.path {
                PathMatcher::Exact(path) => paths.exact.entry(path.clone()).or_default().push(place),
                PathMatcher::Regex(_) => paths.patterns.push(place),
                PathMatcher::Prefix(prefix) => {
                    lengths.insert(Reverse(prefix.len()));
                    paths.prefixes.entry(prefix.clone()).or_default().push(place);
                }
            }
        }
        paths.lengths = lengths.into_iter().map(|Reverse(length)| length).collect();
        paths
    }

    /// Those that may match a path, in their order. A prefix ends where an element of the path does; only the lengths
    /// that there are get looked at, so that a path of many elements costs no more than another.
    fn of(&self, path: &str) -> impl Iterator<Item = usize> {
        let bytes = path.as_bytes();
        let exact = self.exact.get(path).into_iter().flatten();
        let ends_element = move |length: &&usize| match bytes.get(**length) {
            Some(next) => *next == b'/',
            None => **length == bytes.len(),
        };
        let of_length =
            move |length: &usize| path.get(..*length).and_then(|prefix| self.prefixes.get(prefix));
        let prefixes = self.lengths.iter().filter(ends_element).filter_map(of_length).flatten();
        exact.chain(&self.patterns).chain(prefixes).copied()
    }
}

#[cfg(test)]
mod tests;
