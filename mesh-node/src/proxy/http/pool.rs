//! Connections to backends, kept for the next request: of HTTP/1 the idle ones, last in first out, so that what a
//! quiet time leaves over goes cold and is closed; of HTTP/2 one a way, shared. None is used beyond its age: what the
//! peer proved when the connection was made is proved anew.
//!
//! Connections are made a few at a time: of many requests at once most go by what others have made and given back, at a small
//! part of what as many handshakes cost.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hyper::client::conn::http2;
use mesh_ir::name::Uid;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::body::Body;
use crate::proxy::conn::Conn;
use crate::proxy::dial::Way;
use crate::settings::Limits;

/// Connections of one way that are made at once. If none of so many could be, another one need not be tried.
const TURNS: u32 = 16;
/// The same of those that are made one at a time.
const FAILURES_OF_SHARED: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Whose identity the connection shows.
    pub(super) source: Uid,
    pub(super) way: Way,
    /// The number of the client that speaks TLS to the application, where one does.
    pub(super) tls: Option<u64>,
}

/// Its keys come from the configuration, not from a peer that could choose them to collide: a fast hasher will do.
#[derive(Debug)]
pub(in crate::proxy) struct Pool {
    idle: RefCell<HashMap<Key, Rc<Shelf>, RandomState>>,
    shared: RefCell<HashMap<Key, Shared, RandomState>>,
    max_idle: usize,
    timeout: Duration,
    max_age: Duration,
}

/// Where the idle connections of one way are, and those who wait for one.
#[derive(Debug)]
struct Shelf {
    idle: RefCell<Vec<Idle>>,
    most: usize,
    turns: Arc<Semaphore>,
    given_back: Notify,
    /// Connections that could not be made since the last one that could, and why the last of them could not.
    failures: Cell<u32>,
    why: RefCell<Arc<str>>,
}

impl Shelf {
    fn new(most: usize) -> Self {
        Self {
            idle: RefCell::default(),
            most,
            turns: Arc::new(Semaphore::new(TURNS as usize)),
            given_back: Notify::new(),
            failures: Cell::new(0),
            why: RefCell::new("".into()),
        }
    }
}

/// What becomes of the wait for a connection.
#[derive(Debug)]
pub(super) enum Turn {
    Make(Making),
    /// Another request has given this one back.
    Kept(Conn, Lease),
}

/// Held while a connection is made.
#[derive(Debug)]
pub(super) struct Making {
    shelf: Rc<Shelf>,
    _turn: OwnedSemaphorePermit,
}

impl Making {
    pub(super) fn made(self) {
        self.shelf.failures.set(0);
    }

    /// Is told to those who wait, where it goes on.
    pub(super) fn failed(self, why: String) {
        self.shelf.failures.set(self.shelf.failures.get().saturating_add(1));
        *self.shelf.why.borrow_mut() = why.into();
    }
}

/// The use of an HTTP/1 connection, until it is given back.
#[derive(Debug)]
pub(super) struct Lease {
    /// Gone if nobody may use the connection again.
    shelf: Weak<Shelf>,
    /// When the connection was made.
    made: Instant,
    used: bool,
}

impl Lease {
    /// Whether the connection was kept from an earlier exchange: its peer may have closed it since.
    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    pub(super) fn give_back(self, conn: Conn) {
        let Some(shelf) = self.shelf.upgrade() else { return };
        let mut idle = shelf.idle.borrow_mut();
        if idle.len() < shelf.most {
            idle.push(Idle { conn, made: self.made, since: Instant::now() });
            if shelf.turns.available_permits() == 0 {
                shelf.given_back.notify_one();
            }
        }
    }
}

#[derive(Debug)]
struct Idle {
    conn: Conn,
    made: Instant,
    since: Instant,
}

#[derive(Debug)]
struct Shared {
    sender: http2::SendRequest<Body>,
    made: Instant,
}

impl Pool {
    pub(in crate::proxy) fn new(limits: &Limits) -> Self {
        Self {
            idle: RefCell::default(),
            shared: RefCell::default(),
            max_idle: limits.max_idle_connections,
            timeout: limits.idle_timeout,
            max_age: limits.max_connection_age,
        }
    }

    pub(super) fn take(&self, key: &Key) -> Option<(Conn, Lease)> {
        let shelves = self.idle.borrow();
        let shelf = shelves.get(key)?;
        let mut idle = shelf.idle.borrow_mut();
        while let Some(Idle { mut conn, made, .. }) = idle.pop() {
            if conn.is_quiet() && made.elapsed() < self.max_age {
                return Some((conn, Lease { shelf: Rc::downgrade(shelf), made, used: true }));
            }
        }
        None
    }

    /// Of a connection that was made just now.
    pub(super) fn lease(&self, key: Key) -> Lease {
        Lease { shelf: Rc::downgrade(&self.shelf(key)), made: Instant::now(), used: false }
    }

    fn shelf(&self, key: Key) -> Rc<Shelf> {
        self.idle.borrow_mut().entry(key).or_insert_with(|| Rc::new(Shelf::new(self.max_idle))).clone()
    }

    /// Waits for a turn to make a connection, or until one is given back that may be used again. One that is to be `shared` is
    /// made by nobody else meanwhile. Fails where all who had a turn while this waited for its own have failed: of an address
    /// that does not answer nobody learns one after the other.
    pub(super) async fn turn(&self, key: &Key, shared: bool, again: bool) -> Result<Turn, Arc<str>> {
        let shelf = self.shelf(key.clone());
        let before = shelf.failures.get();
        let (turns, enough) = if shared { (TURNS, FAILURES_OF_SHARED) } else { (1, TURNS) };
        let mut turn = pin!(shelf.turns.clone().acquire_many_owned(turns));
        loop {
            tokio::select! {
                biased;
                turn = &mut turn => {
                    let failed = || shelf.why.borrow().clone();
                    let is_of_use = |_: &_| shelf.failures.get().saturating_sub(before) < enough;
                    let turn = turn.ok().filter(is_of_use).ok_or_else(failed)?;
                    return Ok(Turn::Make(Making { shelf: shelf.clone(), _turn: turn }));
                }
                () = shelf.given_back.notified(), if again => {
                    if let Some((conn, lease)) = self.take(key) {
                        return Ok(Turn::Kept(conn, lease));
                    }
                }
            }
        }
    }

    pub(super) fn shared(&self, key: &Key) -> Option<http2::SendRequest<Body>> {
        let mut shared = self.shared.borrow_mut();
        match shared.get(key) {
            Some(Shared { sender, made }) if !sender.is_closed() && made.elapsed() < self.max_age => {
                Some(sender.clone())
            }
            Some(_) => {
                shared.remove(key);
                None
            }
            None => None,
        }
    }

    pub(super) fn share(&self, key: Key, sender: &http2::SendRequest<Body>) {
        // Of two that were opened at once the first stays; the other serves its request and is closed.
        if let Entry::Vacant(entry) = self.shared.borrow_mut().entry(key) {
            entry.insert(Shared { sender: sender.clone(), made: Instant::now() });
        }
    }

    /// Closes what is cold or closed already.
    pub(in crate::proxy) fn sweep(&self) {
        let now = Instant::now();
        self.idle.borrow_mut().retain(|_, shelf| {
            let mut idle = shelf.idle.borrow_mut();
            idle.retain_mut(|idle| idle.conn.is_quiet() && now.duration_since(idle.since) < self.timeout);
            !idle.is_empty() || Rc::weak_count(shelf) > 0 || Rc::strong_count(shelf) > 1
        });
        self.shared.borrow_mut().retain(|_, shared| !shared.sender.is_closed());
    }

    /// Closes what a pod that is gone had, what is in use when it is given back.
    pub(in crate::proxy) fn forget(&self, source: &Uid) {
        self.idle.borrow_mut().retain(|key, _| key.source != *source);
        self.shared.borrow_mut().retain(|key, _| key.source != *source);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures_util::future::join_all;
    use mesh_ir::eval::reach::Reach;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const MANY: usize = 200;

    async fn pool() -> (Pool, Key, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let way = Way { address: listener.local_addr().unwrap(), reach: Reach::Plaintext };
        let key = Key { source: Uid::new("pod").unwrap(), way, tls: None };
        let long = Duration::from_secs(60);
        let pool = Pool {
            idle: RefCell::default(),
            shared: RefCell::default(),
            max_idle: MANY,
            timeout: long,
            max_age: long,
        };
        (pool, key, listener)
    }

    async fn dial(address: SocketAddr) -> Conn {
        TcpStream::connect(address).await.unwrap().into()
    }

    #[tokio::test]
    async fn pool_serves_many_requests_at_once_by_few_connections() {
        let (pool, key, _listener) = pool().await;
        let made = Cell::new(0);
        let request = async || {
            let (conn, lease) = match pool.turn(&key, false, true).await.unwrap() {
                Turn::Kept(conn, lease) => (conn, lease),
                Turn::Make(making) => {
                    made.set(made.get() + 1);
                    let conn = dial(key.way.address).await;
                    making.made();
                    (conn, pool.lease(key.clone()))
                }
            };
            tokio::task::yield_now().await;
            lease.give_back(conn);
        };
        join_all((0..MANY).map(|_| request())).await;
        assert!((1..MANY / 2).contains(&made.get()), "{} connections", made.get());
    }

    #[tokio::test]
    async fn pool_makes_one_connection_for_all_who_share_it() {
        let (pool, key, _listener) = pool().await;
        let made = Cell::new(0);
        let request = async || {
            let Turn::Make(_making) = pool.turn(&key, true, true).await.unwrap() else { unreachable!() };
            if made.get() == 0 {
                dial(key.way.address).await;
                made.set(made.get() + 1);
            }
        };
        join_all((0..MANY).map(|_| request())).await;
        assert_eq!(made.get(), 1);
    }

    /// How many of those who want a connection at once have a turn to make one, where these turns fail.
    async fn tried(shared: bool, fails: impl Fn(u32) -> bool) -> u32 {
        let (pool, key, _listener) = pool().await;
        let turns = Cell::new(0);
        let request = async || match pool.turn(&key, shared, false).await {
            Ok(Turn::Make(making)) => {
                turns.set(turns.get() + 1);
                let fails = fails(turns.get());
                tokio::task::yield_now().await;
                if fails { making.failed("nobody is there".into()) } else { making.made() }
            }
            Ok(Turn::Kept(..)) => unreachable!("nothing is given back"),
            Err(why) => assert_eq!(&*why, "nobody is there"),
        };
        join_all((0..MANY).map(|_| request())).await;
        assert!(
            matches!(pool.turn(&key, shared, false).await, Ok(Turn::Make(_))),
            "who comes later tries anew"
        );
        turns.get()
    }

    #[tokio::test]
    async fn pool_tells_all_who_wait_that_an_address_does_not_answer() {
        assert_eq!(tried(false, |_| true).await, TURNS);
        assert_eq!(tried(true, |_| true).await, FAILURES_OF_SHARED);
    }

    #[tokio::test]
    async fn pool_tells_nobody_of_single_failures() {
        for shared in [false, true] {
            assert_eq!(tried(shared, |turn| turn % 3 == 1).await as usize, MANY);
        }
    }
}
