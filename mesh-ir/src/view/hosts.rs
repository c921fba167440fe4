//! Finds the hostnames of a list that serve a host, however many there are: by the host itself, and by what is left of
//! it for each length that a wildcard of the list has.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::name::Hostname;

/// Places in the list that it was made of; of two that are alike only the first is found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Hosts {
    exact: HashMap<Arc<str>, usize>,
    wildcards: HashMap<Arc<str>, usize>,
    /// Of the wildcards, the longest first.
    lengths: Vec<usize>,
    any: Option<usize>,
}

impl Hosts {
    pub(super) fn new<'a>(hostnames: impl Iterator<Item = Option<&'a Hostname>>) -> Self {
        let mut hosts = Self::default();
        let mut lengths = BTreeSet::new();
        for (place, hostname) in hostnames.enumerate() {
            match hostname {
                Some(Hostname::Exact(name)) => _ = hosts.exact.entry(name.clone()).or_insert(place),
                Some(Hostname::Wildcard(suffix)) => {
                    lengths.insert(Reverse(suffix.len()));
                    hosts.wildcards.entry(suffix.clone()).or_insert(place);
                }
                None => _ = hosts.any.get_or_insert(place),
            }
        }
        hosts.lengths = lengths.into_iter().map(|Reverse(length)| length).collect();
        hosts
    }

    /// Those that serve `host` (lower case, without port), the most specific first.
    pub(super) fn serving(&self, host: &str) -> impl Iterator<Item = usize> {
        let exact = self.exact.get(host).copied();
        let wildcards = self.lengths.iter().filter_map(move |length| {
            let start = host.len().checked_sub(*length).filter(|start| *start > 0)?;
            self.wildcards.get(host.get(start..)?).copied()
        });
        exact.into_iter().chain(wildcards).chain(self.any)
    }

    /// The one that serves every host.
    pub(super) fn any(&self) -> Option<usize> {
        self.any
    }
}

/// Sorts as HTTPRoute `hostnames` says: more characters of an exact name, then of a wildcard, then any host.
pub(super) fn specificity(hostname: Option<&Hostname>) -> impl Ord + use<> {
    match hostname {
        Some(Hostname::Exact(name)) => (0, Reverse(name.len())),
        Some(Hostname::Wildcard(suffix)) => (1, Reverse(suffix.len())),
        None => (2, Reverse(0)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hosts_that_serve_are_those_that_match_in_the_order_of_specificity(
            listed in proptest::collection::btree_set("(\\*\\.)?[ab](\\.[ab]){0,3}", 0..12),
            any in any::<bool>(),
            host in "[ab]?(\\.?[ab]){0,4}",
        ) {
            let mut list: Vec<Option<Hostname>> =
                listed.iter().map(|text| Some(text.parse().unwrap())).collect();
            list.extend(any.then_some(None));
            list.sort_by_cached_key(|hostname| specificity(hostname.as_ref()));
            let hosts = Hosts::new(list.iter().map(Option::as_ref));
            let expected: Vec<usize> = list
                .iter()
                .enumerate()
                .filter(|(_, hostname)| hostname.as_ref().is_none_or(|h| h.matches(&host)))
                .map(|(place, _)| place)
                .collect();
            prop_assert_eq!(hosts.serving(&host).collect::<Vec<_>>(), expected);
        }
    }
}
