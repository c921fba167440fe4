//! Connections to backends, kept for the next request: of HTTP/1 the idle ones, last in first out, so that what a
//! quiet time leaves over goes cold and is closed; of HTTP/2 one a way, shared. None is used beyond its age: what the
//! peer proved when the connection was made is proved anew.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hyper::client::conn::http2;
use mesh_ir::name::Uid;

use super::body::Body;
use crate::proxy::Worker;
use crate::proxy::conn::Conn;
use crate::proxy::dial::Way;
use crate::settings::Limits;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Whose identity the connection shows.
    pub(super) source: Uid,
    pub(super) way: Way,
}

#[derive(Debug)]
pub(in crate::proxy) struct Pool {
    idle: RefCell<HashMap<Key, Vec<Idle>>>,
    shared: RefCell<HashMap<Key, Shared>>,
    max_idle: usize,
    timeout: Duration,
    max_age: Duration,
}

/// The use of an HTTP/1 connection, until it is given back.
#[derive(Debug)]
pub(super) struct Lease {
    worker: Rc<Worker>,
    key: Key,
    /// When the connection was made.
    made: Instant,
    used: bool,
}

impl Lease {
    /// Of a connection that was made just now.
    pub(super) fn new(worker: Rc<Worker>, key: Key) -> Self {
        Self { worker, key, made: Instant::now(), used: false }
    }

    /// Whether the connection was kept from an earlier exchange: its peer may have closed it since.
    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    pub(super) fn give_back(self, conn: Conn) {
        let Self { worker, key, made, .. } = self;
        worker.pool.keep(key, conn, made);
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

    pub(super) fn take(&self, worker: &Rc<Worker>, key: &Key) -> Option<(Conn, Lease)> {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.get_mut(key)?;
        while let Some(Idle { mut conn, made, .. }) = connections.pop() {
            if conn.is_quiet() && made.elapsed() < self.max_age {
                return Some((conn, Lease { worker: worker.clone(), key: key.clone(), made, used: true }));
            }
        }
        None
    }

    fn keep(&self, key: Key, conn: Conn, made: Instant) {
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry(key).or_default();
        if connections.len() < self.max_idle {
            connections.push(Idle { conn, made, since: Instant::now() });
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
        self.idle.borrow_mut().retain(|_, connections| {
            connections
                .retain_mut(|idle| idle.conn.is_quiet() && now.duration_since(idle.since) < self.timeout);
            !connections.is_empty()
        });
        self.shared.borrow_mut().retain(|_, shared| !shared.sender.is_closed());
    }

    /// Closes what a pod that is gone had.
    pub(in crate::proxy) fn forget(&self, source: &Uid) {
        self.idle.borrow_mut().retain(|key, _| key.source != *source);
        self.shared.borrow_mut().retain(|key, _| key.source != *source);
    }
}
