//! Connections between two pods of this node that go over the pod network in clear. Both ends are this process's, and
//! they know each other by the connection's addresses: the source announces it before it dials, the destination takes
//! it when it is accepted, and answers. Nothing of this is on the wire.
//!
//! An announcement cannot be used by another: while it stands the announced address and port belong to a socket of the
//! proxy's in the source's own namespace, and no packet from elsewhere bears a pod's address where the pod network can be
//! trusted with NetworkPolicies. One that never arrives is taken back when the dial ends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mesh_ir::name::Identity;
use tokio::sync::oneshot;

/// Connections that are announced and not yet taken; each holds a port of its pod while it is dialled.
const MAX_ANNOUNCED: usize = 65_536;

/// What all workers of the node announce.
#[derive(Debug, Default)]
pub struct Expected(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Ends, Entry>,
    /// Tells an announcement from a later one of the same addresses.
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    from: SocketAddr,
    to: SocketAddr,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    source: Identity,
    destination: Identity,
    answer: oneshot::Sender<Answer>,
}

/// Whether the destination has joined the connection to its application, or why not.
type Answer = Result<(), String>;

#[derive(Debug, thiserror::Error)]
#[error("{MAX_ANNOUNCED} connections within this node are being made already, its limit")]
pub(super) struct Full;

impl Expected {
    /// Announces a connection that `source` is about to make, to be taken by `destination` alone.
    pub(super) fn announce(
        &self,
        (from, to): (SocketAddr, SocketAddr),
        source: Identity,
        destination: Identity,
    ) -> Result<Announced<'_>, Full> {
        let (sender, answer) = oneshot::channel();
        let ends = Ends { from, to };
        let mut table = self.lock();
        if table.entries.len() >= MAX_ANNOUNCED {
            return Err(Full);
        }
        let number = table.next;
        table.next += 1;
        // Another one of these addresses was of a socket that is closed.
        table.entries.insert(ends, Entry { number, source, destination, answer: sender });
        Ok(Announced { expected: self, ends, number, answer })
    }

    /// Takes a connection that has come in to a pod of this identity, if it was announced.
    pub(super) fn take(&self, from: SocketAddr, to: SocketAddr, pod: &Identity) -> Option<Arrived> {
        let ends = Ends { from, to };
        let mut table = self.lock();
        if table.entries.get(&ends)?.destination != *pod {
            return None;
        }
        let Entry { source, answer, .. } = table.entries.remove(&ends)?;
        Some(Arrived { source, answer })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Every change under the lock is whole before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The source's end; dropping it takes the announcement back.
#[derive(Debug)]
pub(super) struct Announced<'e> {
    expected: &'e Expected,
    ends: Ends,
    number: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Announced<'_> {
    /// Waits for the destination's answer.
    pub(super) async fn answer(&mut self) -> Answer {
        match (&mut self.answer).await {
            Ok(answer) => answer,
            Err(_) => Err("the other end of the connection has given up".to_owned()),
        }
    }

    /// The answer, if it is there.
    pub(super) fn answered(&mut self) -> Option<Answer> {
        self.answer.try_recv().ok()
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        let mut table = self.expected.lock();
        if table.entries.get(&self.ends).is_some_and(|entry| entry.number == self.number) {
            table.entries.remove(&self.ends);
        }
    }
}

/// The destination's end: who has come, and waits for an answer.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) source: Identity,
    answer: oneshot::Sender<Answer>,
}

impl Arrived {
    pub(super) fn answer(self, answer: Answer) {
        // A source that waits no longer has closed the connection.
        let _ = self.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(account: &str) -> Identity {
        format!("spiffe://cluster.local/ns/shop/sa/{account}").parse().unwrap()
    }

    fn ends(port: u16) -> (SocketAddr, SocketAddr) {
        (SocketAddr::from(([10, 1, 0, 1], port)), SocketAddr::from(([10, 1, 0, 2], 9080)))
    }

    #[tokio::test]
    async fn expected_connections_are_taken_once_and_by_their_destination() {
        let expected = Expected::default();
        let mut announced = expected.announce(ends(4000), who("web"), who("cart")).unwrap();
        let take = |port: u16, pod: &str| expected.take(ends(port).0, ends(port).1, &who(pod));
        assert!(take(4000, "other").is_none(), "another pod's");
        assert!(take(4001, "cart").is_none(), "another port");
        let arrived = take(4000, "cart").unwrap();
        assert_eq!(arrived.source, who("web"));
        assert!(take(4000, "cart").is_none(), "a second time");
        assert_eq!(announced.answered(), None);
        arrived.answer(Err("refused".into()));
        assert_eq!(announced.answer().await, Err("refused".into()));
    }

    #[tokio::test]
    async fn expected_connections_are_forgotten_when_either_end_gives_up() {
        let expected = Expected::default();
        let first = expected.announce(ends(4000), who("web"), who("cart")).unwrap();
        let mut second = expected.announce(ends(4000), who("web"), who("cart")).unwrap();
        drop(first);
        let arrived = expected.take(ends(4000).0, ends(4000).1, &who("cart"));
        drop(arrived.expect("the later announcement of the same addresses stands"));
        assert!(second.answer().await.is_err());
        drop(expected.announce(ends(4000), who("web"), who("cart")).unwrap());
        assert!(expected.take(ends(4000).0, ends(4000).1, &who("cart")).is_none());
        assert!(expected.lock().entries.is_empty());
    }

    #[test]
    fn expected_connections_are_bounded() {
        let expected = Expected::default();
        let port = |n: usize| u16::try_from(n % 60_000).unwrap();
        let address = |n: usize| SocketAddr::from(([10, 1, u8::try_from(n / 60_000).unwrap(), 1], port(n)));
        let announce = |n: usize| expected.announce((address(n), ends(0).1), who("web"), who("cart"));
        let held: Vec<_> = (0..MAX_ANNOUNCED).map(|n| announce(n).unwrap()).collect();
        assert!(announce(MAX_ANNOUNCED).is_err());
        drop(held);
        assert!(announce(MAX_ANNOUNCED).is_ok());
    }
}
