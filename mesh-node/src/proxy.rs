//! The proxy: one thread a worker, each with a current-thread runtime, its own accept sockets, pools and buffers. A
//! connection stays with the worker that accepted it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use mesh_ir::name::Uid;
use mesh_ir::resource::Transport;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::datapath::ConnectionMaps;
use crate::sockets;
use crate::state::{LocalPod, State};
use crate::telemetry::Meter;

pub mod affinity;
mod backend_tls;
pub mod breaker;
mod buffers;
mod choice;
mod conn;
mod detect;
mod dial;
pub mod expected;
pub mod gateway;
mod http;
mod inbound;
mod limited;
mod load;
mod outbound;
#[cfg(test)]
mod pki;
pub mod retry_budget;
mod rolls;
mod tcp;
mod tls;
mod udp;

pub(crate) use dial::Way as Via;
pub(crate) use http::Inlet as Arrived;
pub(crate) use http::export::Exporter;
pub use http::relayed_head;

use http::HeldBodies;
use http::export::Exporters;
use http::pool::Pool;
use load::Loads;
use rolls::Rolls;

/// Commands that a worker has not taken yet.
const COMMANDS: usize = 1024;

/// What the control side tells every worker.
#[derive(Debug)]
pub enum Command {
    Serve(Source, Vec<TcpListener>),
    Stop(Source),
    /// A UDP port of Gateways.
    ServeDatagrams(u16, UdpSocket),
    StopDatagrams(u16),
    /// The node ends: spans that are queued for collectors are to be sent. Whoever waits for that holds the other end, which
    /// closes when they are.
    EndExports(mpsc::Sender<()>),
}

/// Whose listeners they are.
#[derive(Clone, Debug)]
pub enum Source {
    Outbound(Arc<LocalPod>),
    Inbound(Arc<LocalPod>),
    Gateway(u16),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum SourceKey {
    Outbound(Uid),
    Inbound(Uid),
    Gateway(u16),
}

impl Source {
    fn key(&self) -> SourceKey {
        match self {
            Self::Outbound(pod) => SourceKey::Outbound(pod.uid.clone()),
            Self::Inbound(pod) => SourceKey::Inbound(pod.uid.clone()),
            Self::Gateway(port) => SourceKey::Gateway(*port),
        }
    }
}

/// What the connections of one worker share.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) state: Arc<State>,
    maps: RefCell<ConnectionMaps>,
    pool: Pool,
    loads: Loads,
    udp_loads: Loads,
    udp: udp::Shared,
    gateway_tls: RefCell<gateway::TlsConfigs>,
    backend_tls: backend_tls::Clients,
    connections: Cell<usize>,
    rolls: Rolls,
    held_bodies: HeldBodies,
    pub(crate) meter: Meter,
    pub(crate) exporters: Exporters,
}

/// Starts a worker's thread. It ends when the sender is dropped.
pub fn start(index: usize, state: Arc<State>, maps: ConnectionMaps) -> io::Result<mpsc::Sender<Command>> {
    let (sender, commands) = mpsc::channel(COMMANDS);
    let (begun, beginning) = std::sync::mpsc::sync_channel(1);
    thread::Builder::new().name(format!("proxy-{index}")).spawn(move || {
        // It belongs to the thread, and its tasks with it.
        let made = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let (runtime, made) = match made {
            Ok(runtime) => (Some(runtime), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // Whoever started it waits for this.
        let _ = begun.send(made);
        let Some(runtime) = runtime else { return };
        let worker = Rc::new(Worker {
            pool: Pool::new(&state.settings.limits),
            meter: state.telemetry.meter(),
            state,
            maps: RefCell::new(maps),
            loads: Loads::default(),
            udp_loads: Loads::default(),
            udp: udp::Shared::default(),
            gateway_tls: RefCell::default(),
            backend_tls: backend_tls::Clients::default(),
            connections: Cell::new(0),
            rolls: Rolls::default(),
            exporters: Exporters::default(),
            held_bodies: HeldBodies::default(),
        });
        runtime.block_on(worker.run(commands));
    })?;
    beginning.recv().map_err(io::Error::other)??;
    Ok(sender)
}

impl Worker {
    async fn run(self: Rc<Self>, mut commands: mpsc::Receiver<Command>) {
        tokio::task::spawn_local(self.clone().sweep());
        // Dropping the sender of a source ends its listeners and connections.
        let mut sources: HashMap<SourceKey, watch::Sender<()>> = HashMap::new();
        let mut udp_ports: HashMap<u16, watch::Sender<()>> = HashMap::new();
        while let Some(command) = commands.recv().await {
            match command {
                Command::Serve(source, listeners) => {
                    let (alive, _) = watch::channel(());
                    for listener in listeners {
                        match tokio::net::TcpListener::from_std(listener) {
                            Ok(listener) => {
                                let accepting =
                                    self.clone().accept(listener, source.clone(), alive.subscribe());
                                tokio::task::spawn_local(accepting);
                            }
                            Err(error) => tracing::error!(?source, %error, "cannot serve a listener"),
                        }
                    }
                    sources.insert(source.key(), alive);
                }
                Command::ServeDatagrams(port, socket) => {
                    let (alive, ended) = watch::channel(());
                    tokio::task::spawn_local(udp::serve(self.clone(), socket, port, ended));
                    udp_ports.insert(port, alive);
                }
                Command::StopDatagrams(port) => _ = udp_ports.remove(&port),
                Command::EndExports(done) => _ = tokio::task::spawn_local(self.clone().end_exports(done)),
                Command::Stop(source) => {
                    sources.remove(&source.key());
                    match source {
                        Source::Outbound(pod) => self.pool.forget(&pod.uid),
                        Source::Inbound(_) => {}
                        Source::Gateway(port) => self.gateway_tls.borrow_mut().forget(port),
                    }
                }
            }
        }
    }

    async fn accept(
        self: Rc<Self>,
        listener: tokio::net::TcpListener,
        source: Source,
        mut alive: watch::Receiver<()>,
    ) {
        // Its connections end with it.
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                _ = alive.changed() => return,
            };
            match accepted {
                Ok((stream, _)) if self.connections.get() >= self.state.settings.limits.max_connections => {
                    self.state.telemetry.refused("max-connections");
                    sockets::reset(stream);
                }
                Ok((stream, _)) => {
                    connections.spawn_local(self.clone().serve(stream, source.clone()));
                }
                Err(error) => {
                    // Out of descriptors or memory: accepting again at once would only spin. The wait is the
                    // only thing to do until some connection ends.
                    tracing::error!(%error, "accept failed");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn serve(self: Rc<Self>, stream: TcpStream, source: Source) {
        let _counted = Counted::new(self.clone());
        if sockets::accepted(&stream).is_err() {
            return;
        }
        // Each is as large as the most that it may come to: boxed, a connection holds its own kind's alone.
        match source {
            Source::Outbound(pod) => Box::pin(outbound::serve(self, stream, pod)).await,
            Source::Inbound(pod) => Box::pin(inbound::serve(self, stream, pod)).await,
            Source::Gateway(port) => Box::pin(gateway::serve(self, stream, port)).await,
        }
    }

    /// What its endpoints have to do, by what they are reached.
    fn loads(&self, transport: Transport) -> &Loads {
        match transport {
            Transport::Tcp => &self.loads,
            Transport::Udp => &self.udp_loads,
        }
    }

    async fn end_exports(self: Rc<Self>, _done: mpsc::Sender<()>) {
        self.exporters.end().await;
    }

    async fn sweep(self: Rc<Self>) {
        let mut ticks = tokio::time::interval(self.state.settings.limits.idle_timeout / 4);
        loop {
            ticks.tick().await;
            self.pool.sweep();
            self.loads.sweep();
            self.udp_loads.sweep();
            self.exporters.sweep();
        }
    }
}

/// A connection among those that a worker serves.
struct Counted(Rc<Worker>);

impl Counted {
    fn new(worker: Rc<Worker>) -> Self {
        worker.connections.set(worker.connections.get() + 1);
        Self(worker)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn proxy_tasks_of_waiting_connections_are_small() {
        let task = size(Worker::serve);
        for (kind, size) in [("outbound", size(outbound::serve)), ("inbound", size(inbound::serve))] {
            assert!(task + size < 2560, "{kind}: {task} and {size} bytes");
        }
    }
}
