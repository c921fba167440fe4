//! Connections to backends, kept for the next request: of HTTP/1 the idle ones, last in first out, so that what a
//! quiet time leaves over goes cold and is closed; of HTTP/2 one a way, shared. None is used beyond its age: what the
//! peer proved when the connection was made is proved anew.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hyper::client::conn::http2;
use mesh_ir::name::Uid;

use super::body::Body;
use crate::proxy::conn::Conn;
use crate::proxy::dial::Way;
use crate::settings::Limits;

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

/// Where the idle connections of one way are.
#[derive(Debug)]
struct Shelf {
    idle: RefCell<Vec<Idle>>,
    most: usize,
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
        let shelf = || Rc::new(Shelf { idle: RefCell::default(), most: self.max_idle });
        let mut shelves = self.idle.borrow_mut();
        let shelf = shelves.entry(key).or_insert_with(shelf);
        Lease { shelf: Rc::downgrade(shelf), made: Instant::now(), used: false }
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
            !idle.is_empty() || Rc::weak_count(shelf) > 0
        });
        self.shared.borrow_mut().retain(|_, shared| !shared.sender.is_closed());
    }

    /// Closes what a pod that is gone had, what is in use when it is given back.
    pub(in crate::proxy) fn forget(&self, source: &Uid) {
        self.idle.borrow_mut().retain(|key, _| key.source != *source);
        self.shared.borrow_mut().retain(|key, _| key.source != *source);
    }
}
