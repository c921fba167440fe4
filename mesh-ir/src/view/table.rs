//! The rules that apply at one place (a Service's port for some clients, a listener's hostname): to requests, in the order
//! in which they are tried, or to connections. A large table finds those that can match a path without trying the others, and
//! a change of one costs what the others at its path do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::grpc;
use crate::hash::SharedHash;
use crate::map::SharedMap;
use crate::resource::{Resource, Route, RouteKey, RouteKind, Rule};

use super::affixes::{self, Affixes};
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
    of_calls: Entries,
    others: Entries,
}

#[derive(Clone, Debug, PartialEq)]
enum Entries {
    /// So few that to try them all, in their order, is as fast as to look any up.
    Few(Vec<Arc<Entry>>),
    Many(Box<Paths>),
}

/// With no more entries than this a table has no index.
const FEW: usize = 8;

#[derive(Debug, PartialEq)]
struct Entry {
    matcher: Matcher,
    rule: Arc<PreparedRule>,
    /// When the route was created, and which of its matches this is.
    created: i64,
    number: usize,
}

/// The entries by what path they match. Exact paths go before patterns and patterns before prefixes, as
/// [`Matcher::precedence`] has it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Paths {
    len: usize,
    exact: SharedHash<InOrder>,
    patterns: Option<InOrder>,
    prefixes: Affixes<InOrder>,
}

/// Never empty.
type InOrder = Arc<[Arc<Entry>]>;

/// Of the entries at one path.
#[derive(Default)]
struct Change {
    gone: Vec<Arc<Entry>>,
    new: Vec<Arc<Entry>>,
}

/// By what path an entry is found.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Path<'e> {
    Exact(&'e Arc<str>),
    Pattern,
    Prefix(&'e Arc<str>),
}

/// The routes of a place.
pub(super) type Attached = SharedMap<RouteKey, Arc<PreparedRoute>>;

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
        let (of_requests, of_connections): (Vec<&PreparedRoute>, Vec<_>) =
            routes.partition(|prepared| prepared.route().key.kind.is_of_requests());
        match of_requests.is_empty() {
            true => Self::connections(of_connections),
            false => Self::Requests(RouteTable::new(
                of_requests.iter().flat_map(|prepared| &prepared.entries).cloned().collect(),
            )),
        }
    }

    /// What follows from these routes `now`, of which those of `keys` are not what they were `before`.
    pub(super) fn after(&self, before: &Attached, now: &Attached, keys: &BTreeSet<RouteKey>) -> Self {
        // Their keys come before those of connections.
        if !now.keys().any(|key| key.kind.is_of_requests()) {
            return Self::connections(now.values().map(|prepared| &**prepared));
        }
        let entries = |of: &Attached| {
            let changed = keys.iter().filter(|key| key.kind.is_of_requests()).filter_map(|key| of.get(key));
            changed.flat_map(|prepared| prepared.entries.iter().cloned()).collect::<Vec<_>>()
        };
        match self {
            Self::Requests(table) => Self::Requests(table.after(entries(before), entries(now))),
            // There was none of requests: all that there are have come since.
            Self::Connections(_) => Self::Requests(RouteTable::new(entries(now))),
        }
    }

    fn connections<'a>(routes: impl IntoIterator<Item = &'a PreparedRoute>) -> Self {
        let oldest =
            routes.into_iter().min_by_key(|prepared| (prepared.route().created, &prepared.route().key));
        match oldest {
            Some(prepared) => Self::Connections(prepared.connections.clone()),
            None => Self::Requests(RouteTable::default()),
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
    fn new(entries: Vec<Arc<Entry>>) -> Self {
        let (of_calls, others) = by_kind(entries);
        Self { of_calls: Entries::new(of_calls), others: Entries::new(others) }
    }

    fn after(&self, gone: Vec<Arc<Entry>>, new: Vec<Arc<Entry>>) -> Self {
        let ((calls_gone, others_gone), (new_calls, new_others)) = (by_kind(gone), by_kind(new));
        Self {
            of_calls: self.of_calls.after(&calls_gone, new_calls),
            others: self.others.after(&others_gone, new_others),
        }
    }

    pub fn find(&self, request: &RequestHead<'_>) -> Option<Match<'_>> {
        if !self.of_calls.is_empty()
            && grpc::is_call(request.headers)
            && let Some(found) = self.of_calls.find(request)
        {
            return Some(found);
        }
        self.others.find(request)
    }

    /// The matches that are tried for a request, in their order, each with what it does not find; the one that takes the
    /// request, if one does, is the last.
    pub fn tried(&self, request: &RequestHead<'_>) -> Vec<(Match<'_>, Option<Mismatch<'_>>)> {
        let mut tried = Vec::new();
        let calls = self.of_calls.in_order().into_iter().map(|entry| (entry, true));
        let others = self.others.in_order().into_iter().map(|entry| (entry, false));
        let is_call = grpc::is_call(request.headers);
        for (entry, of_calls) in calls.chain(others) {
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

/// Those of GRPCRoutes, and the others.
fn by_kind(entries: Vec<Arc<Entry>>) -> (Vec<Arc<Entry>>, Vec<Arc<Entry>>) {
    entries.into_iter().partition(|entry| entry.rule.route.kind == RouteKind::Grpc)
}

impl Entries {
    fn new(entries: Vec<Arc<Entry>>) -> Self {
        if entries.len() > FEW {
            return Self::Many(Box::new(Paths::default().after(&[], entries)));
        }
        Self::Few(replaced(&[], &[], entries))
    }

    fn after(&self, gone: &[Arc<Entry>], new: Vec<Arc<Entry>>) -> Self {
        match self {
            Self::Few(entries) => Self::new(replaced(entries, gone, new)),
            Self::Many(paths) => match paths.after(gone, new) {
                few if few.len <= FEW => Self::new(few.entries().cloned().collect()),
                many => Self::Many(Box::new(many)),
            },
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::Few(entries) if entries.is_empty())
    }

    fn find(&self, request: &RequestHead<'_>) -> Option<Match<'_>> {
        let matching = |entry: &&Arc<Entry>| entry.matcher.matches(request);
        let entry = match self {
            Self::Few(entries) => entries.iter().find(matching),
            Self::Many(paths) => paths.of(request.path).find(matching),
        };
        Some(entry?.as_match())
    }

    /// In the order in which they are tried.
    fn in_order(&self) -> Vec<&Arc<Entry>> {
        match self {
            Self::Few(entries) => entries.iter().collect(),
            Self::Many(paths) => {
                let mut entries: Vec<_> = paths.entries().collect();
                entries.sort_by(|a, b| a.order().cmp(&b.order()));
                entries
            }
        }
    }
}

impl Default for Entries {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Entry {
    /// The more specific match goes first, then the older route, then the first in the order of their names.
    fn order(&self) -> impl Ord + use<'_> {
        (self.matcher.precedence(), self.created, &self.rule.route, self.number)
    }

    fn as_match(&self) -> Match<'_> {
        Match { rule: &self.rule, matcher: &self.matcher }
    }
}

/// Some entries without those that are gone and with new ones, in their order.
fn replaced(entries: &[Arc<Entry>], gone: &[Arc<Entry>], new: Vec<Arc<Entry>>) -> Vec<Arc<Entry>> {
    let is_gone = |entry: &Arc<Entry>| gone.iter().any(|gone| Arc::ptr_eq(gone, entry));
    let mut entries: Vec<_> = entries.iter().filter(|entry| !is_gone(entry)).cloned().collect();
    entries.extend(new);
    entries.sort_by(|a, b| a.order().cmp(&b.order()));
    entries
}

impl<'e> Path<'e> {
    fn of(entry: &'e Entry) -> Self {
        match &entry.matcher.path {
            PathMatcher::Exact(path) => Self::Exact(path),
            PathMatcher::Regex(_) => Self::Pattern,
            PathMatcher::Prefix(prefix) => Self::Prefix(prefix),
        }
    }
}

impl PreparedRoute {
    /// Of the resource of a route, with these of its rules.
    pub(super) fn new(resource: &Arc<Resource>, route: &Route, rules: &[Rule]) -> Self {
        let (mut entries, mut connections) = (Vec::new(), None);
        for (index, rule) in rules.iter().enumerate() {
            let prepared = Arc::new(PreparedRule { route: route.key.clone(), index, rule: rule.clone() });
            for matcher in rule.matches.iter().filter_map(Matcher::new) {
                let (rule, created, number) = (prepared.clone(), route.created, entries.len());
                entries.push(Arc::new(Entry { matcher, rule, created, number }));
            }
            connections = connections.or((!route.key.kind.is_of_requests()).then_some(prepared));
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
    fn after(&self, gone: &[Arc<Entry>], new: Vec<Arc<Entry>>) -> Self {
        let mut next = self.clone();
        next.len = next.len + new.len() - gone.len();
        let mut changes: BTreeMap<Path<'_>, Change> = BTreeMap::new();
        for entry in gone {
            changes.entry(Path::of(entry)).or_default().gone.push(entry.clone());
        }
        for entry in &new {
            changes.entry(Path::of(entry)).or_default().new.push(entry.clone());
        }
        for (path, Change { gone, new }) in changes {
            let before = match path {
                Path::Exact(path) => self.exact.get(path),
                Path::Pattern => self.patterns.as_ref(),
                Path::Prefix(path) => self.prefixes.get(path),
            };
            let entries = replaced(before.map_or(&[], |entries| entries), &gone, new);
            let entries = (!entries.is_empty()).then(|| entries.into());
            match path {
                Path::Exact(path) => _ = affixes::set(&mut next.exact, path, entries),
                Path::Pattern => next.patterns = entries,
                Path::Prefix(path) => next.prefixes.set(path, entries),
            }
        }
        next
    }

    /// Those that may match a path, in their order. A prefix ends where an element of the path does; only the lengths
    /// that there are get looked at, so that a path of many elements costs no more than another.
    fn of(&self, path: &str) -> impl Iterator<Item = &Arc<Entry>> {
        let bytes = path.as_bytes();
        let beginning = move |length: usize| match bytes.get(length) {
            Some(b'/') => path.get(..length),
            Some(_) => None,
            None => (length == bytes.len()).then_some(path),
        };
        let lists = self.exact.get(path).into_iter().chain(&self.patterns).chain(self.prefixes.of(beginning));
        lists.flat_map(|entries| entries.iter())
    }

    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let exact = self.exact.iter().map(|(_, entries)| entries);
        exact.chain(&self.patterns).chain(self.prefixes.values()).flat_map(|entries| entries.iter())
    }
}

#[cfg(test)]
mod tests;
