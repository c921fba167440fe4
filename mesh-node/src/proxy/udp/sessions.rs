//! The clients of a worker's UDP ports, and what was decided for each. UDP has no end: who was silent for the idle time-out is
//! forgotten. At the bound a client that has asked once and was answered once, as a resolver's does, gives its place to a
//! new one; where there is none of those, nobody new comes in.
//!
//! ```text
//!   insert ──▶ asked ──answer──▶ answered once ──▶ forgotten at the bound, the longest silent first
//!                │                    │ asks again, or is answered again
//!                └──────asks again────┴──▶ in conversation ──▶ forgotten when idle alone
//! ```

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Sessions<K, T> {
    /// Hashed with a secret: clients choose their ports.
    entries: HashMap<K, Entry<T>>,
    /// Those that were answered once, the longest silent first. Some are in conversation by now, or gone.
    answered: VecDeque<(K, u64)>,
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    /// No other entry has had it.
    id: u64,
    used: Instant,
    stage: Stage,
    value: T,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asked,
    AnsweredOnce,
    Conversation,
}

impl<K, T> Default for Sessions<K, T> {
    fn default() -> Self {
        Self { entries: HashMap::default(), answered: VecDeque::new(), next: 0 }
    }
}

impl<K: Hash + Eq + Copy, T> Sessions<K, T> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A client that is known has sent another datagram.
    pub(super) fn asks(&mut self, key: &K, now: Instant) -> Option<&mut T> {
        let entry = self.entries.get_mut(key)?;
        entry.used = now;
        entry.stage = Stage::Conversation;
        Some(&mut entry.value)
    }

    /// A client has sent its first datagram. Gives what tells this session from a later one of the same client.
    pub(super) fn insert(&mut self, key: K, now: Instant, value: impl FnOnce(u64) -> T) -> u64 {
        let id = self.next;
        self.next += 1;
        self.entries.insert(key, Entry { id, used: now, stage: Stage::Asked, value: value(id) });
        id
    }

    /// A client was sent an answer.
    pub(super) fn answer(&mut self, key: &K, id: u64, now: Instant) {
        let Some(entry) = self.entries.get_mut(key).filter(|entry| entry.id == id) else { return };
        entry.used = now;
        entry.stage = match entry.stage {
            Stage::Asked => {
                self.answered.push_back((*key, id));
                Stage::AnsweredOnce
            }
            Stage::AnsweredOnce | Stage::Conversation => Stage::Conversation,
        };
    }

    pub(super) fn get_mut(&mut self, key: &K, id: u64) -> Option<&mut T> {
        self.entries.get_mut(key).filter(|entry| entry.id == id).map(|entry| &mut entry.value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<T> {
        Some(self.entries.remove(key)?.value)
    }

    /// Takes out the one that has asked once and was answered once, and has been silent the longest.
    pub(super) fn give_way(&mut self) -> Option<T> {
        while let Some((key, id)) = self.answered.pop_front() {
            if is_answered_once(&self.entries, &key, id) {
                return self.remove(&key);
            }
        }
        None
    }

    /// Takes out those that were silent for `idle`, and those that are not to stay.
    pub(super) fn sweep(
        &mut self,
        now: Instant,
        idle: Duration,
        mut stays: impl FnMut(&K, &T) -> bool,
    ) -> Vec<T> {
        let ended = |key: &K, entry: &mut Entry<T>| {
            now.saturating_duration_since(entry.used) >= idle || !stays(key, &entry.value)
        };
        let ended: Vec<T> = self.entries.extract_if(ended).map(|(_, entry)| entry.value).collect();
        let entries = &self.entries;
        self.answered.retain(|(key, id)| is_answered_once(entries, key, *id));
        // A flood is over some time.
        if self.entries.capacity() > 64 + 8 * self.entries.len() {
            self.entries.shrink_to(2 * self.entries.len());
            self.answered.shrink_to(2 * self.answered.len());
        }
        ended
    }
}

fn is_answered_once<K: Hash + Eq, T>(entries: &HashMap<K, Entry<T>>, key: &K, id: u64) -> bool {
    entries.get(key).is_some_and(|entry| entry.id == id && entry.stage == Stage::AnsweredOnce)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    fn sessions(clients: std::ops::Range<u32>, now: Instant) -> Sessions<u32, u32> {
        let mut sessions = Sessions::default();
        for client in clients {
            sessions.insert(client, now, |_| client);
        }
        sessions
    }

    #[test]
    fn sessions_end_when_neither_side_has_sent_for_the_idle_time_out() {
        let begin = Instant::now();
        let mut sessions = sessions(0..3, begin);
        let half = begin + IDLE / 2;
        assert_eq!(sessions.asks(&1, half), Some(&mut 1));
        sessions.answer(&2, 2, half);
        assert_eq!(sessions.sweep(begin + IDLE, IDLE, |_, _| true), [0]);
        assert_eq!(sessions.len(), 2);
        let mut ended = sessions.sweep(half + IDLE, IDLE, |_, _| true);
        ended.sort_unstable();
        assert_eq!(ended, [1, 2]);
        assert_eq!(sessions.asks(&1, half + IDLE), None);
    }

    #[test]
    fn sessions_that_are_not_to_stay_end_with_the_next_sweep() {
        let now = Instant::now();
        let mut sessions = sessions(0..3, now);
        assert_eq!(sessions.sweep(now, IDLE, |_, client| *client != 1), [1]);
        assert_eq!(sessions.sweep(now, Duration::MAX, |client, _| *client != 2), [2]);
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn sessions_of_one_question_and_one_answer_give_way_the_oldest_first() {
        let now = Instant::now();
        let mut sessions = sessions(0..6, now);
        for client in [3, 1, 2, 4, 5] {
            sessions.answer(&client, u64::from(client), now);
        }
        // In conversation: it asked again, it was answered again.
        sessions.asks(&1, now);
        sessions.answer(&2, 2, now);
        // Gone, and another with its key.
        sessions.remove(&4);
        sessions.insert(4, now, |_| 40);
        assert_eq!(sessions.give_way(), Some(3));
        assert_eq!(sessions.give_way(), Some(5));
        assert_eq!(sessions.give_way(), None, "nobody else has had its answer");
        assert_eq!(sessions.len(), 4);
    }

    #[test]
    fn sessions_of_the_past_are_not_mistaken_for_those_of_the_same_client() {
        let now = Instant::now();
        let mut sessions = sessions(0..1, now);
        sessions.remove(&0);
        let id = sessions.insert(0, now, |_| 7);
        assert_ne!(id, 0);
        sessions.answer(&0, 0, now + IDLE);
        assert_eq!(sessions.get_mut(&0, 0), None);
        assert_eq!(sessions.get_mut(&0, id), Some(&mut 7));
        assert_eq!(sessions.sweep(now + IDLE, IDLE, |_, _| true), [7], "the late answer was not its own");
    }

    #[test]
    fn sessions_leave_nothing_behind_after_a_flood() {
        let begin = Instant::now();
        let mut sessions = sessions(0..10_000, begin);
        for client in 0..10_000 {
            sessions.answer(&client, u64::from(client), begin);
        }
        assert_eq!(sessions.sweep(begin + IDLE, IDLE, |_, _| true).len(), 10_000);
        assert!(sessions.entries.capacity() < 100, "{}", sessions.entries.capacity());
        assert!(sessions.answered.capacity() < 100, "{}", sessions.answered.capacity());
    }
}
