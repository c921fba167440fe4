//! Finds what belongs to the hostnames that serve a host, however many there are: by the host itself, and by what is left
//! of it for each length that a wildcard has.

use std::cmp::Reverse;

use crate::hash::SharedHash;
use crate::name::Hostname;

use super::affixes::{self, Affixes};

/// Values by hostname; `None` is every host. Copies share what they have in common.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hosts<V> {
    exact: SharedHash<V>,
    wildcards: Affixes<V>,
    any: Option<V>,
}

impl<V: Clone> Hosts<V> {
    pub(super) fn get(&self, hostname: Option<&Hostname>) -> Option<&V> {
        match hostname {
            Some(Hostname::Exact(name)) => self.exact.get(name),
            Some(Hostname::Wildcard(suffix)) => self.wildcards.get(suffix),
            None => self.any.as_ref(),
        }
    }

    /// Puts a value in the place of that of the hostname; `None` takes it away.
    pub(super) fn set(&mut self, hostname: Option<&Hostname>, value: Option<V>) {
        match hostname {
            Some(Hostname::Exact(name)) => _ = affixes::set(&mut self.exact, name, value),
            Some(Hostname::Wildcard(suffix)) => self.wildcards.set(suffix, value),
            None => self.any = value,
        }
    }

    /// Of those that serve `host` (lower case, without port), the most specific first.
    pub(super) fn serving(&self, host: &str) -> impl Iterator<Item = &V> {
        let end = move |length: usize| {
            let start = host.len().checked_sub(length).filter(|start| *start > 0)?;
            host.get(start..)
        };
        self.exact.get(host).into_iter().chain(self.wildcards.of(end)).chain(&self.any)
    }

    /// Of every host.
    pub(super) fn any(&self) -> Option<&V> {
        self.any.as_ref()
    }
}

impl<V> Default for Hosts<V> {
    fn default() -> Self {
        Self { exact: SharedHash::default(), wildcards: Affixes::default(), any: None }
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
            gone in proptest::collection::btree_set("(\\*\\.)?[ab](\\.[ab]){0,3}", 0..12),
            any in any::<bool>(),
            host in "[ab]?(\\.?[ab]){0,4}",
        ) {
            let hostnames = |texts: &std::collections::BTreeSet<String>| -> Vec<Option<Hostname>> {
                texts.iter().map(|text| Some(text.parse().unwrap())).collect()
            };
            let mut list = hostnames(&listed);
            list.extend(any.then_some(None));
            let gone = hostnames(&gone);
            let mut hosts = Hosts::default();
            for hostname in list.iter().chain(&gone) {
                hosts.set(hostname.as_ref(), Some(hostname.clone()));
            }
            for hostname in &gone {
                hosts.set(hostname.as_ref(), None);
            }
            list.retain(|hostname| !gone.contains(hostname));
            list.sort_by_cached_key(|hostname| specificity(hostname.as_ref()));
            let expected: Vec<&Option<Hostname>> =
                list.iter().filter(|hostname| hostname.as_ref().is_none_or(|h| h.matches(&host))).collect();
            prop_assert_eq!(hosts.serving(&host).collect::<Vec<_>>(), expected);
            prop_assert!(list.iter().all(|hostname| hosts.get(hostname.as_ref()) == Some(hostname)));
            prop_assert!(gone.iter().all(|hostname| hosts.get(hostname.as_ref()).is_none()));
        }
    }
}
