//! The rules that apply at one place (a Service's port for some clients, a listener's hostname), in the order in
//! which they are tried.

use std::sync::Arc;

use crate::resource::{Route, RouteKey, Rule};

use super::matcher::{Matcher, Mismatch, RequestHead};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteTable {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    matcher: Matcher,
    rule: Arc<PreparedRule>,
}

/// A rule and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedRule {
    pub route: RouteKey,
    /// Its place in `spec.rules`.
    pub index: usize,
    pub rule: Rule,
}

/// The rule that took a request, and by which of its matches.
#[derive(Clone, Copy, Debug)]
pub struct Match<'v> {
    pub rule: &'v Arc<PreparedRule>,
    pub matcher: &'v Matcher,
}

impl RouteTable {
    pub(super) fn new(routes: &[&Route]) -> Self {
        let mut routes = routes.to_vec();
        // The sort of the entries is stable: this is the order of those that match equally well.
        routes.sort_by_key(|route| (route.created, route.key.clone()));
        let mut entries = Vec::new();
        for route in routes {
            for (index, rule) in route.rules.iter().enumerate() {
                let prepared = Arc::new(PreparedRule { route: route.key.clone(), index, rule: rule.clone() });
                let matchers = rule.matches.iter().filter_map(Matcher::new);
                entries.extend(matchers.map(|matcher| Entry { matcher, rule: prepared.clone() }));
            }
        }
        entries.sort_by_cached_key(|entry| entry.matcher.precedence());
        Self { entries }
    }

    pub fn find(&self, request: &RequestHead<'_>) -> Option<Match<'_>> {
        let entry = self.entries.iter().find(|entry| entry.matcher.matches(request))?;
        Some(Match { rule: &entry.rule, matcher: &entry.matcher })
    }

    /// The matches that are tried for a request, in their order, each with what it does not find; the one that takes the
    /// request, if one does, is the last.
    pub fn tried(&self, request: &RequestHead<'_>) -> Vec<(Match<'_>, Option<Mismatch<'_>>)> {
        let mut tried = Vec::new();
        for entry in &self.entries {
            let mismatch = entry.matcher.mismatch(request);
            tried.push((Match { rule: &entry.rule, matcher: &entry.matcher }, mismatch));
            if mismatch.is_none() {
                break;
            }
        }
        tried
    }
}
