//! Session affinity: which endpoint each client of a Service's port has. One table for the node, since a client's
//! connections come to all workers; it holds no more than its bound, and those longest unused go first.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::mem;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mesh_ir::name::{ObjectName, Uid};
use mesh_ir::resource::Transport;

/// Parts of the table, each under a lock of its own, so that workers seldom meet.
const SHARDS: usize = 16;

/// Each port of a Service has an affinity of its own, as with kube-proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) client: IpAddr,
    pub(super) service: ObjectName,
    pub(super) port: (Transport, u16),
}

#[derive(Debug)]
pub struct Affinities {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    /// What one generation of a shard holds.
    room: usize,
}

/// Two generations. When the young one is full it becomes the old one, and what was not used since the last time is
/// forgotten: at no cost in time, the entries that are kept are those that were used last.
#[derive(Debug, Default)]
struct Shard {
    young: HashMap<Key, Entry>,
    old: HashMap<Key, Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    endpoint: Uid,
    used: Instant,
}

impl Affinities {
    /// Room for about `most` clients; never for more, but for the rounding up to one a generation.
    pub fn new(most: usize) -> Self {
        let room = (most / (2 * SHARDS)).max(1);
        Self { shards: Default::default(), hasher: RandomState::new(), room }
    }

    /// Has `choose` say which endpoint the client gets, given the one that it has used within `timeout`, and remembers
    /// that. Nobody else chooses for the same client meanwhile.
    pub(super) fn stick<T>(
        &self,
        key: Key,
        timeout: Duration,
        now: Instant,
        choose: impl FnOnce(Option<&Uid>) -> Option<(T, Uid)>,
    ) -> Option<T> {
        let at = self.hasher.hash_one(key.client) as usize % SHARDS;
        let mut shard = self.shards[at].lock().unwrap_or_else(PoisonError::into_inner);
        let kept = match shard.young.remove(&key) {
            Some(entry) => Some(entry),
            None => shard.old.remove(&key),
        };
        let kept = kept.filter(|entry| now.saturating_duration_since(entry.used) < timeout);
        let (chosen, endpoint) = choose(kept.as_ref().map(|entry| &entry.endpoint))?;
        if shard.young.len() >= self.room {
            shard.old = mem::take(&mut shard.young);
        }
        shard.young.insert(key, Entry { endpoint, used: now });
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn key(client: u32) -> Key {
        Key {
            client: IpAddr::V4(client.into()),
            service: "shop/cart".parse().unwrap(),
            port: (Transport::Tcp, 80),
        }
    }

    /// The endpoint that the client had; it gets `next` if it had none.
    fn had(affinities: &Affinities, key: Key, now: Instant, next: &str) -> Option<String> {
        affinities
            .stick(key, MINUTE, now, |kept| {
                let endpoint = kept.cloned().unwrap_or_else(|| next.parse().unwrap());
                Some((kept.map(|uid| uid.to_string()), endpoint))
            })
            .unwrap()
    }

    #[test]
    fn affinity_holds_until_it_has_not_been_used_for_its_time() {
        let affinities = Affinities::new(1024);
        let begin = Instant::now();
        assert_eq!(had(&affinities, key(1), begin, "a"), None);
        assert_eq!(had(&affinities, key(1), begin + MINUTE / 2, "b").as_deref(), Some("a"));
        // Each use begins the time anew.
        let last = begin + MINUTE * 5 / 4;
        assert_eq!(had(&affinities, key(1), last, "b").as_deref(), Some("a"));
        assert_eq!(had(&affinities, key(1), last + MINUTE, "b"), None);
        assert_eq!(had(&affinities, key(1), last + MINUTE, "c").as_deref(), Some("b"));
    }

    #[test]
    fn affinity_is_of_one_client_and_port() {
        let affinities = Affinities::new(1024);
        let now = Instant::now();
        had(&affinities, key(1), now, "a");
        assert_eq!(had(&affinities, key(2), now, "b"), None);
        for port in [(Transport::Tcp, 81), (Transport::Udp, 80)] {
            assert_eq!(had(&affinities, Key { port, ..key(1) }, now, "b"), None);
        }
        let other = Key { service: "shop/other".parse().unwrap(), ..key(1) };
        assert_eq!(had(&affinities, other, now, "b"), None);
        assert_eq!(had(&affinities, key(1), now, "b").as_deref(), Some("a"));
    }

    #[test]
    fn affinity_forgets_who_came_longest_ago_and_holds_no_more_than_its_bound() {
        let most = 32 * SHARDS;
        let affinities = Affinities::new(most);
        let now = Instant::now();
        had(&affinities, key(0), now, "a");
        for client in 1..10_000 {
            had(&affinities, key(client), now, "b");
            assert_eq!(had(&affinities, key(0), now, "b").as_deref(), Some("a"), "it is in use");
        }
        assert_eq!(had(&affinities, key(1), now, "c"), None, "it came long ago");
        let held = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap();
            shard.young.len() + shard.old.len()
        };
        let held: usize = affinities.shards.iter().map(held).sum();
        assert!((most / 4..=most).contains(&held), "{held}");
    }

    #[test]
    fn affinity_without_an_endpoint_remembers_nothing() {
        let affinities = Affinities::new(1024);
        let now = Instant::now();
        assert_eq!(affinities.stick(key(1), MINUTE, now, |_| None::<((), Uid)>), None);
        assert_eq!(had(&affinities, key(1), now, "a"), None);
    }
}
