//! UDP of Gateways' clients. What a client sends to one port of the node's is a session: it has one backend, chosen at its
//! first datagram, and a socket of its own that is connected to that, until neither side has sent anything for
//! `--udp-idle-timeout`. The kernel gives a client's datagrams to one worker, which has the session to itself. Datagrams
//! are passed on or dropped, and every drop is counted; nothing is queued but in the kernel's sockets.
//!
//! UDP carries no identity and is not captured in pods: it goes to the application in clear, whatever the mode of the pod.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mesh_ir::eval::balance::by_weight;
use mesh_ir::eval::datagrams::goes_on;
use mesh_ir::eval::endpoints::Origin;
use mesh_ir::eval::{self, ConnectionDecision, Target};
use mesh_ir::name::Uid;
use mesh_ir::resource::BackendTarget;
use mesh_ir::view::MeshView;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

use super::Worker;
use crate::sockets::datagrams::{self, Buffer, Ends};
use crate::telemetry::Session as Record;
use session::{Receiver, Session};
use sessions::Sessions;

mod session;
mod sessions;

/// Datagrams that are passed on before the worker looks after others.
const BATCH: usize = 32;
/// How soon at the latest a session ends that has been idle for too long, or that the configuration no longer has.
const SWEEP: Duration = Duration::from_secs(1);

/// What the ports of one worker share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    clients: RefCell<Sessions<Key, Client>>,
    swept: Cell<Option<Instant>>,
    buffer: RefCell<Buffer>,
}

/// A client of a port of the node's.
type Key = (u16, Ends);

#[derive(Debug)]
struct Port {
    worker: Rc<Worker>,
    target_port: u16,
    socket: UdpSocket,
    overflown: Cell<u32>,
}

#[derive(Debug)]
struct Client {
    /// Where it falls among the weights of its rule, whatever else changes; `None` as long as it had no rule.
    roll: Option<u64>,
    fate: Fate,
}

/// What becomes of a client's datagrams.
#[derive(Debug)]
enum Fate {
    Forward(Forwarded),
    /// The backend that it falls on is none, or there is no rule: so it is in this version of the view.
    Drop {
        reason: &'static str,
        version: u64,
    },
    /// Its backend is not there: the next datagram goes around it.
    Anew {
        avoid: Uid,
    },
}

#[derive(Debug)]
struct Forwarded {
    session: Rc<Session>,
    answering: AbortHandle,
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// Serves a port until `alive` ends, and with it all sessions.
pub(super) async fn serve(
    worker: Rc<Worker>,
    socket: std::net::UdpSocket,
    target_port: u16,
    mut alive: watch::Receiver<()>,
) {
    let socket = match UdpSocket::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => return tracing::error!(target_port, %error, "cannot serve a UDP port"),
    };
    let port = Rc::new(Port { worker, target_port, socket, overflown: Cell::new(0) });
    let idle = port.worker.state.settings.limits.udp_idle_timeout;
    let mut ticks = tokio::time::interval(SWEEP.min(idle / 4).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ready = port.socket.readable() => match ready {
                Ok(()) => {
                    if port.receive() {
                        // It may never be empty, and others wait too.
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) => {
                    tracing::error!(target_port, %error, "a UDP port can no longer be served");
                    break;
                }
            },
            _ = ticks.tick() => port.sweep(Instant::now()),
            _ = alive.changed() => break,
        }
    }
    // The tasks of the sessions hold the port.
    let clients = &port.worker.udp.clients;
    let ended =
        clients.borrow_mut().sweep(Instant::now(), Duration::MAX, |(port, _), _| *port != target_port);
    drop(ended);
}

impl Port {
    /// Passes on what has come; true where there may be more.
    fn receive(self: &Rc<Self>) -> bool {
        let now = Instant::now();
        let mut buffer = self.worker.udp.buffer.borrow_mut();
        for _ in 0..BATCH {
            let receive = || datagrams::receive(&self.socket, &mut buffer);
            let arrived = match self.socket.try_io(Interest::READABLE, receive) {
                Ok(arrived) => arrived,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    tracing::warn!(target_port = self.target_port, %error, "a datagram cannot be read");
                    self.dropped("unreadable", 1);
                    continue;
                }
            };
            let before = self.overflown.replace(arrived.overflown);
            if arrived.overflown != before {
                self.dropped("receive-buffer-full", arrived.overflown.wrapping_sub(before).into());
            }
            self.pass_on(&buffer.datagram[..arrived.length], arrived.ends, now);
        }
        true
    }

    fn pass_on(self: &Rc<Self>, datagram: &[u8], ends: Ends, now: Instant) {
        let version = *self.worker.state.view_version.borrow();
        let (mut roll, mut avoid) = (None, None);
        let key = (self.target_port, ends);
        let mut clients = self.worker.udp.clients.borrow_mut();
        if let Some(client) = clients.asks(&key, now) {
            match &client.fate {
                Fate::Forward(Forwarded { session, .. })
                    if self.stays(self.target_port, session, version) =>
                {
                    match session.send(datagram, now) {
                        Ok(()) => return,
                        Err(Unsent::Dropped(reason)) => return self.dropped(reason, 1),
                        Err(Unsent::Gone(error)) => avoid = Some(session.failed(&error)),
                    }
                }
                Fate::Forward(_) => {}
                Fate::Drop { reason, version: decided } if *decided == version => {
                    return self.dropped(reason, 1);
                }
                Fate::Drop { .. } => {}
                Fate::Anew { avoid: gone } => avoid = Some(gone.clone()),
            }
            roll = client.roll;
            clients.remove(&key);
        }
        drop(clients);
        let fate = self.begin(datagram, &ends, (&mut roll, avoid.as_ref()), version, now);
        match fate {
            None => {}
            Some(Begun::Decided(fate)) => {
                self.worker.udp.clients.borrow_mut().insert(key, now, |_| Client { roll, fate });
            }
            Some(Begun::Session(session)) => {
                self.worker.udp.clients.borrow_mut().insert(key, now, |id| {
                    let answering = self.clone().answer(session.clone(), ends, id);
                    let answering = tokio::task::spawn_local(answering).abort_handle();
                    let fate = Fate::Forward(Forwarded { session, answering });
                    Client { roll, fate }
                });
            }
        }
    }

    /// Decides for a client that has no backend, and sends its datagram there; `None` where the next one is to be decided for
    /// like the first.
    fn begin(
        &self,
        datagram: &[u8],
        ends: &Ends,
        (roll, avoid): (&mut Option<u64>, Option<&Uid>),
        version: u64,
        now: Instant,
    ) -> Option<Begun> {
        if !self.has_room() {
            self.dropped("max-udp-sessions", 1);
            return None;
        }
        let view = self.worker.state.view.load_full();
        let receiver = match self.choose(&view, ends, (roll, avoid), now) {
            Ok(receiver) => receiver,
            Err(Undecided { destination, reason, why }) => {
                self.dropped(reason, 1);
                let mut record = Record::new(&self.worker.state.node.name, ends, destination);
                record.failed(why);
                self.worker.state.telemetry.session(record);
                return Some(Begun::Decided(Fate::Drop { reason, version }));
            }
        };
        // What is under way already may end at any time.
        let Ok(permit) = self.worker.state.breakers.connection(&view, &receiver.to.service) else {
            self.dropped("circuit-breaker", 1);
            return None;
        };
        let session = match Session::open(&self.worker, ends, receiver, permit, version) {
            Ok(session) => Rc::new(session),
            Err(error) => {
                tracing::warn!(%error, "no socket for a UDP session");
                self.dropped("no-socket", 1);
                return None;
            }
        };
        match session.send(datagram, now) {
            Ok(()) => {}
            Err(Unsent::Dropped(reason)) => self.dropped(reason, 1),
            Err(Unsent::Gone(error)) => {
                self.dropped("backend-unreachable", 1);
                return Some(Begun::Decided(Fate::Anew { avoid: session.failed(&error) }));
            }
        }
        Some(Begun::Session(session))
    }

    /// A place for one more session, if need be that of one which has had its answer.
    fn has_room(&self) -> bool {
        let settings = &self.worker.state.settings;
        let most = settings.limits.max_udp_sessions.div_ceil(settings.workers.max(1));
        let mut clients = self.worker.udp.clients.borrow_mut();
        // One whose datagrams are dropped takes no socket, and yet memory.
        clients.len() < most || clients.give_way().is_some()
    }

    /// The workload for a client.
    fn choose(
        &self,
        view: &MeshView,
        ends: &Ends,
        (roll, avoid): (&mut Option<u64>, Option<&Uid>),
        now: Instant,
    ) -> Result<Receiver, Undecided> {
        let worker = &self.worker;
        let rule = match eval::connection(view, Target::Gateway { target_port: self.target_port, sni: None })
        {
            ConnectionDecision::Forward(rule) => rule,
            ConnectionDecision::ForwardToService(service, port) => {
                let why = "a Gateway's port leads to no Service without a route".to_owned();
                return Err(Undecided { destination: format!("{service}:{port}"), reason: "no-route", why });
            }
            ConnectionDecision::Refuse(answer) => {
                let destination = format!("gateway port {}", self.target_port);
                return Err(Undecided { destination, reason: "no-route", why: answer.reason().to_owned() });
            }
        };
        let roll = *roll.get_or_insert_with(|| worker.rolls.next(rule));
        let backend = by_weight(&rule.rule.backends, roll);
        let (service, port) = match backend.map(|backend| &backend.target) {
            Some(BackendTarget::Service { service, port }) => (service, *port),
            Some(BackendTarget::Invalid { reason }) => {
                let destination = rule.route.to_string();
                return Err(Undecided { destination, reason: "invalid-backend", why: reason.clone() });
            }
            None => {
                let why = "no backend of the route has a weight above zero".to_owned();
                return Err(Undecided { destination: rule.route.to_string(), reason: "no-backend", why });
            }
        };
        let destination = || service.to_string();
        let Some(view_of_port) = view.service_udp_port(service, port) else {
            let why = format!("Service {service} no longer exists or has no UDP port {port}");
            return Err(Undecided { destination: destination(), reason: "no-backend", why });
        };
        let address = Some(ends.client().ip());
        let client = super::choice::Client { address, origin: Origin::Gateway, persistent: None };
        let Some(endpoint) = super::choice::endpoint(worker, view_of_port, client, avoid, now) else {
            let why = format!("Service {service} {}", view_of_port.why_none(Origin::Gateway));
            return Err(Undecided { destination: destination(), reason: "no-endpoint", why });
        };
        Receiver::new(worker, (service, port), endpoint, ends, now).ok_or_else(|| Undecided {
            destination: endpoint.workload().name.to_string(),
            reason: "no-endpoint",
            why: "the workload has no address of a family that the node has".to_owned(),
        })
    }

    /// Whether a session is what the configuration still wants it to be.
    fn stays(&self, target_port: u16, session: &Session, version: u64) -> bool {
        session.checked.get() == version || {
            let view = self.worker.state.view.load();
            let stays = goes_on(&view, target_port, &session.receiver.to);
            if stays {
                session.checked.set(version);
            }
            stays
        }
    }

    /// Passes a backend's datagrams on to the client.
    async fn answer(self: Rc<Self>, session: Rc<Session>, ends: Ends, id: u64) {
        let gone = loop {
            // One at a time: of two together readiness is told, and never taken back.
            let what = match session.upstream.ready(Interest::READABLE | Interest::ERROR).await {
                Ok(ready) if ready.is_error() => Interest::ERROR,
                Ok(_) => Interest::READABLE,
                Err(error) => break error,
            };
            match self.pass_back(&session, what, &ends, id) {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => {}
                Err(error) => break error,
            }
        };
        let fate = Fate::Anew { avoid: session.failed(&gone) };
        let mut clients = self.worker.udp.clients.borrow_mut();
        if let Some(client) = clients.get_mut(&(self.target_port, ends), id) {
            // It ends this very task, which has nothing more to do.
            client.fate = fate;
        }
    }

    /// Passes on what a backend has sent; true where there may be more. `Err` is that what was sent did not get there.
    fn pass_back(&self, session: &Session, what: Interest, ends: &Ends, id: u64) -> io::Result<bool> {
        let now = Instant::now();
        let mut buffer = self.worker.udp.buffer.borrow_mut();
        for _ in 0..BATCH {
            let receive = || datagrams::recv(&session.upstream, &mut buffer.datagram);
            let length = match session.upstream.try_io(what, receive) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // The path's MTU is known now; that is no failure of the backend's.
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => continue,
                Err(error) => return Err(error),
            };
            match datagrams::answer(&self.socket, &buffer.datagram[..length], ends) {
                Ok(()) => session.answered(length, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.dropped("send-buffer-full", 1)
                }
                Err(_) => self.dropped("client-unreachable", 1),
            }
            self.worker.udp.clients.borrow_mut().answer(&(self.target_port, *ends), id, now);
        }
        Ok(true)
    }

    fn sweep(&self, now: Instant) {
        let version = *self.worker.state.view_version.borrow();
        let idle = self.worker.state.settings.limits.udp_idle_timeout;
        let shared = &self.worker.udp;
        // Whichever of the ports comes first does it for all.
        if shared
            .swept
            .get()
            .is_some_and(|last| now.saturating_duration_since(last) < SWEEP.min(idle / 4) / 2)
        {
            return;
        }
        shared.swept.set(Some(now));
        let ended = shared.clients.borrow_mut().sweep(now, idle, |(port, _), client| match &client.fate {
            Fate::Forward(Forwarded { session, .. }) => self.stays(*port, session, version),
            Fate::Drop { version: decided, .. } => *decided == version,
            Fate::Anew { .. } => true,
        });
        drop(ended);
    }

    fn dropped(&self, reason: &'static str, count: u64) {
        self.worker.state.telemetry.datagrams_dropped(reason, count);
    }
}

/// What has become of a client's first datagram.
enum Begun {
    Decided(Fate),
    Session(Rc<Session>),
}

/// Why a client has no backend.
struct Undecided {
    destination: String,
    /// For the metrics.
    reason: &'static str,
    why: String,
}

/// What became of a datagram that was not sent.
enum Unsent {
    Dropped(&'static str),
    Gone(io::Error),
}
