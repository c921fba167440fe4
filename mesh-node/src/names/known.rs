//! Which names are asked for, when next, and what they resolved to. Sans-IO: time comes in as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use mesh_ir::name::{Hostname, Namespace};

/// The names that a node resolves: each may cost its resolver two queries in [`SOONEST`].
pub(super) const MAX_NAMES: usize = 1024;
/// Those of one namespace's XBackends: whoever may write there has no more of it, even where nobody else has any.
pub(super) const MAX_OF_NAMESPACE: usize = 256;
/// The addresses of a name that are used; DNS answers hold few more in practice.
const MAX_ADDRESSES: usize = 64;
/// A name whose answer may not be kept at all (TTL 0) is asked for so often, and one without addresses.
pub(super) const SOONEST: Duration = Duration::from_secs(5);
/// A name is asked for so often whatever its TTL, so that a zone that was wrong for a moment is not believed for a week.
pub(super) const LATEST: Duration = Duration::from_secs(300);
/// After a failure: first after so long, each time twice that, and so long at most.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);
/// For how long the last answer serves while the resolvers do not answer. RFC 8767 section 5 recommends one to three days.
const LONGEST_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// What resolvers say of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Found {
        addresses: BTreeSet<IpAddr>,
        valid_for: Duration,
    },
    /// There is no such name, or it has no address: that is an answer too, and takes the place of what was known.
    Absent {
        valid_for: Duration,
    },
    Failed {
        problem: String,
    },
}

#[derive(Debug, Default)]
pub(super) struct Known {
    names: BTreeMap<Hostname, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// None before the first answer.
    addresses: Option<BTreeSet<IpAddr>>,
    /// Until when they serve without another answer.
    stale: Instant,
    /// When to ask next; none while an answer is awaited.
    due: Option<Instant>,
    failures: u32,
    /// What was said of it last; none before the first answer.
    said: Option<Option<String>>,
}

impl Known {
    /// Takes in which names the XBackends of each namespace have, and gives how many are too many, by namespace.
    pub(super) fn want<'v>(
        &mut self,
        wanted: impl Iterator<Item = (&'v Namespace, &'v Hostname)>,
        now: Instant,
    ) -> BTreeMap<Namespace, usize> {
        let mut names: BTreeMap<&Namespace, BTreeSet<&Hostname>> = BTreeMap::new();
        for (namespace, hostname) in wanted {
            names.entry(namespace).or_default().insert(hostname);
        }
        let taken = shared_out(&names);
        self.names.retain(|hostname, _| taken.contains(hostname));
        for hostname in &taken {
            if !self.names.contains_key(*hostname) {
                let entry = Entry { addresses: None, stale: now, due: Some(now), failures: 0, said: None };
                self.names.insert((*hostname).clone(), entry);
            }
        }
        let left_out =
            names.into_iter().map(|(namespace, names)| (namespace, names.difference(&taken).count()));
        left_out
            .filter(|(_, count)| *count > 0)
            .map(|(namespace, count)| (namespace.clone(), count))
            .collect()
    }

    /// A name to ask for now, which is then under way: one that traffic may wait for, else the one that is due longest, so that
    /// many names that take long keep none from its turn.
    pub(super) fn due(&mut self, now: Instant) -> Option<Hostname> {
        let is_due = |entry: &Entry| entry.due.is_some_and(|due| due <= now);
        let due = self.names.iter_mut().filter(|(_, entry)| is_due(entry));
        let (hostname, entry) = due.min_by_key(|(_, entry)| (entry.addresses.is_some(), entry.due))?;
        entry.due = None;
        Some(hostname.clone())
    }

    /// When the next name is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.names.values().filter_map(|entry| entry.due).min()
    }

    /// Takes in an answer, and gives how many addresses the name has then.
    pub(super) fn answered(&mut self, hostname: &Hostname, answer: Answer, now: Instant) -> usize {
        // One that is no longer wanted may be answered yet.
        let Some(entry) = self.names.get_mut(hostname) else { return 0 };
        let wait = match answer {
            Answer::Found { addresses, valid_for } => {
                entry.addresses = Some(addresses.into_iter().take(MAX_ADDRESSES).collect());
                entry.stale = now + LONGEST_STALE;
                entry.failures = 0;
                valid_for.clamp(SOONEST, LATEST)
            }
            Answer::Absent { valid_for } => {
                entry.addresses = Some(BTreeSet::new());
                entry.failures = 0;
                valid_for.clamp(SOONEST, LATEST)
            }
            Answer::Failed { .. } => {
                if entry.stale <= now {
                    entry.addresses = Some(BTreeSet::new());
                }
                entry.failures += 1;
                FIRST_RETRY.saturating_mul(1 << (entry.failures - 1).min(16)).min(LAST_RETRY)
            }
        };
        entry.due = Some(now + wait);
        entry.addresses.as_ref().map_or(0, BTreeSet::len)
    }

    /// Whether this is another thing to say of a name than the last.
    pub(super) fn is_news(&mut self, hostname: &Hostname, problem: &Option<String>) -> bool {
        let Some(entry) = self.names.get_mut(hostname) else { return false };
        entry.said.replace(problem.clone()).as_ref() != Some(problem)
    }

    /// The addresses that a name has; `None` while the first answer is awaited.
    pub(super) fn addresses(&self, hostname: &Hostname) -> Option<&BTreeSet<IpAddr>> {
        // Of one that is left out no answer is awaited.
        static NONE: BTreeSet<IpAddr> = BTreeSet::new();
        self.names.get(hostname).map_or(Some(&NONE), |entry| entry.addresses.as_ref())
    }
}

/// The names that are resolved: the first of every namespace, then the second of each, and so on as far as they go, so that
/// none has fewer because another one has many.
fn shared_out<'v>(names: &BTreeMap<&Namespace, BTreeSet<&'v Hostname>>) -> BTreeSet<&'v Hostname> {
    let mut in_turn = BTreeSet::new();
    for (namespace, names) in names {
        let numbered = names.iter().take(MAX_OF_NAMESPACE).enumerate();
        in_turn.extend(numbered.map(|(number, name)| (number, *namespace, *name)));
    }
    let mut taken = BTreeSet::new();
    for (_, _, name) in in_turn {
        if taken.len() < MAX_NAMES {
            taken.insert(name);
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn name() -> Hostname {
        "api.example".parse().unwrap()
    }

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).unwrap()
    }

    /// So many names of a namespace, in their order.
    fn names(namespace: &str, count: usize) -> Vec<(Namespace, Hostname)> {
        let name = |i| (self::namespace(namespace), format!("n{i:04}.{namespace}.example").parse().unwrap());
        (0..count).map(name).collect()
    }

    /// What is known where these are wanted, and what is too many of them.
    fn wanted(names: &[(Namespace, Hostname)]) -> (Known, BTreeMap<Namespace, usize>) {
        let mut known = Known::default();
        let left_out = known.want(names.iter().map(|(namespace, name)| (namespace, name)), Instant::now());
        (known, left_out)
    }

    fn found(addresses: &[&str], seconds: u64) -> Answer {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        Answer::Found { addresses, valid_for: Duration::from_secs(seconds) }
    }

    fn failed() -> Answer {
        Answer::Failed { problem: "timed out".into() }
    }

    /// A name that is wanted and under way.
    fn asked(now: Instant) -> Known {
        let mut known = Known::default();
        assert!(known.want([(&namespace("shop"), &name())].into_iter(), now).is_empty());
        assert_eq!(known.due(now), Some(name()));
        assert_eq!((known.due(now), known.next()), (None, None), "it is asked once at a time");
        known
    }

    #[test]
    fn names_are_asked_again_when_their_answers_run_out_within_bounds() {
        for (ttl, expected) in [(0, SOONEST), (60, 60 * SECOND), (86_400, LATEST)] {
            let now = Instant::now();
            let mut known = asked(now);
            assert_eq!(known.answered(&name(), found(&["192.0.2.1"], ttl), now), 1);
            assert_eq!(known.next(), Some(now + expected), "{ttl}");
        }
        let now = Instant::now();
        let mut known = asked(now);
        known.answered(&name(), Answer::Absent { valid_for: 10 * SECOND }, now);
        assert_eq!(known.next(), Some(now + 10 * SECOND));
    }

    #[test]
    fn names_keep_their_last_answer_while_resolvers_fail_but_not_for_ever() {
        let now = Instant::now();
        let mut known = asked(now);
        known.answered(&name(), found(&["192.0.2.1"], 60), now);
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert_eq!(known.answered(&name(), failed(), now + SECOND), 1);
            waits.push(known.next().unwrap().duration_since(now + SECOND).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(known.answered(&name(), failed(), now + LONGEST_STALE), 0);
    }

    #[test]
    fn names_that_are_gone_lose_their_addresses() {
        let now = Instant::now();
        let mut known = asked(now);
        known.answered(&name(), found(&["192.0.2.1"], 60), now);
        assert_eq!(known.answered(&name(), Answer::Absent { valid_for: SECOND }, now), 0);
        assert_eq!(known.addresses(&name()), Some(&BTreeSet::new()));
    }

    #[test]
    fn names_have_no_addresses_before_the_first_answer_whatever_that_is() {
        let now = Instant::now();
        for answer in [found(&["192.0.2.1"], 60), Answer::Absent { valid_for: SECOND }, failed()] {
            let mut known = asked(now);
            assert_eq!(known.addresses(&name()), None);
            let count = known.answered(&name(), answer, now);
            assert_eq!(known.addresses(&name()).map(BTreeSet::len), Some(count));
        }
    }

    #[test]
    fn names_of_one_namespace_are_bounded_and_leave_room_for_others() {
        let many = names("many", MAX_OF_NAMESPACE + 3);
        let (known, left_out) = wanted(&[many.clone(), names("zoo", 2)].concat());
        assert_eq!(left_out, BTreeMap::from([(namespace("many"), 3)]));
        assert_eq!(known.names.len(), MAX_OF_NAMESPACE + 2);
        assert!(!known.names.contains_key(&many[MAX_OF_NAMESPACE].1), "the last by name are left out");
        let (_, left_out) = wanted(&many[3..]);
        assert!(left_out.is_empty());
    }

    #[test]
    fn names_of_a_node_are_shared_out_evenly() {
        let full = ["a", "b", "c", "d", "e"].map(|namespace| names(namespace, MAX_OF_NAMESPACE)).concat();
        let (known, left_out) = wanted(&[full, names("f", 10)].concat());
        assert_eq!(known.names.len(), MAX_NAMES);
        // The ten leave 1014 to five.
        let fewer = |namespace: &str, has: usize| (self::namespace(namespace), MAX_OF_NAMESPACE - has);
        let expected = [("a", 203), ("b", 203), ("c", 203), ("d", 203), ("e", 202)];
        assert_eq!(left_out, expected.map(|(namespace, has)| fewer(namespace, has)).into());
    }

    #[test]
    fn names_that_several_namespaces_have_count_once() {
        let of = |namespace: &str| (self::namespace(namespace), name());
        let (known, left_out) = wanted(&[of("a"), of("b")]);
        assert_eq!((known.names.len(), left_out.len()), (1, 0));
        let same: Vec<_> = names("a", MAX_OF_NAMESPACE + 1);
        let others = same.iter().skip(MAX_OF_NAMESPACE).map(|(_, name)| (namespace("b"), name.clone()));
        let (_, left_out) = wanted(&same.iter().cloned().chain(others).collect::<Vec<_>>());
        assert!(left_out.is_empty(), "what another one has resolved serves both");
    }

    #[test]
    fn names_have_a_bounded_number_of_addresses() {
        let now = Instant::now();
        let mut known = asked(now);
        let many: Vec<String> = (0..100).map(|i| format!("192.0.2.{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(known.answered(&name(), found(&many, 60), now), MAX_ADDRESSES);
    }

    #[test]
    fn names_have_their_turn_by_how_long_they_are_due_but_new_ones_first() {
        let now = Instant::now();
        let mut names = names("shop", 3);
        let (mut known, _) = wanted(&names);
        for (seconds, (_, name)) in [9, 7, 8].into_iter().zip(&names) {
            known.answered(name, found(&["192.0.2.1"], seconds), now);
        }
        names.push((namespace("shop"), "new.example".parse().unwrap()));
        known.want(names.iter().map(|(namespace, name)| (namespace, name)), now + 10 * SECOND);
        let turns: Vec<Hostname> = std::iter::from_fn(|| known.due(now + 10 * SECOND)).collect();
        assert_eq!(turns, [3, 1, 2, 0].map(|i: usize| names[i].1.clone()));
    }

    #[test]
    fn names_that_are_not_wanted_are_forgotten() {
        let now = Instant::now();
        let mut known = asked(now);
        known.answered(&name(), found(&["192.0.2.1"], 60), now);
        known.want(std::iter::empty(), now);
        assert_eq!(known.next(), None);
        assert_eq!(known.answered(&name(), found(&["192.0.2.1"], 60), now), 0, "an answer too late");
    }

    #[test]
    fn names_are_spoken_of_when_something_is_new() {
        let now = Instant::now();
        let mut known = asked(now);
        assert!(known.is_news(&name(), &None));
        assert!(!known.is_news(&name(), &None));
        assert!(known.is_news(&name(), &Some("timed out".into())));
        assert!(!known.is_news(&name(), &Some("timed out".into())));
    }
}
