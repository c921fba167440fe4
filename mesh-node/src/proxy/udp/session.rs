//! One client and its backend.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use mesh_ir::eval::{datagrams, reach};
use mesh_ir::name::{ObjectName, Uid};
use mesh_ir::view::Endpoint;
use tokio::net::UdpSocket;

use super::Unsent;
use crate::proxy::Worker;
use crate::proxy::breaker::Permit;
use crate::proxy::load::UnderWay;
use crate::sockets::datagrams::{Ends, connected, send};
use crate::telemetry::{Session as Record, SessionOpen};

/// The workload that a client's datagrams go to.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) to: datagrams::Receiver,
    address: SocketAddr,
    under_way: UnderWay,
}

#[derive(Debug)]
pub(super) struct Session {
    worker: Rc<Worker>,
    pub(super) receiver: Receiver,
    pub(super) upstream: UdpSocket,
    /// The version of the view that has it.
    pub(super) checked: Cell<u64>,
    record: RefCell<Record>,
    _permit: Permit,
    _open: SessionOpen,
}

impl Receiver {
    /// `None` where the workload cannot be reached from this node.
    pub(super) fn new(
        worker: &Worker,
        (service, port): (&ObjectName, u16),
        endpoint: &Endpoint,
        ends: &Ends,
        now: Instant,
    ) -> Option<Self> {
        let workload = endpoint.workload();
        let has = |v6| worker.state.node.address(v6).is_some();
        let address = reach::address(workload, has, ends.client().is_ipv6())?;
        Some(Self {
            to: datagrams::Receiver {
                service: service.clone(),
                port,
                workload: workload.uid.clone(),
                target: endpoint.port,
            },
            address: SocketAddr::new(address, endpoint.port),
            under_way: worker.udp_loads.begin(endpoint, now),
        })
    }
}

impl Session {
    pub(super) fn open(
        worker: &Rc<Worker>,
        ends: &Ends,
        receiver: Receiver,
        permit: Permit,
        version: u64,
    ) -> io::Result<Self> {
        let upstream = UdpSocket::from_std(connected(receiver.address)?)?;
        let mut record = Record::new(&worker.state.node.name, ends, receiver.address.to_string());
        record.service(&receiver.to.service);
        Ok(Self {
            worker: worker.clone(),
            receiver,
            upstream,
            checked: Cell::new(version),
            record: RefCell::new(record),
            _permit: permit,
            _open: worker.state.telemetry.session_open(),
        })
    }

    pub(super) fn send(&self, datagram: &[u8], now: Instant) -> Result<(), Unsent> {
        let mut sent = send(&self.upstream, datagram);
        if is_too_large(&sent) {
            // An error of an earlier one is told here: the path takes less at once. The kernel knows now, and cuts.
            sent = send(&self.upstream, datagram);
        }
        match sent {
            Ok(()) => {
                self.record.borrow_mut().sent(datagram.len(), now);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(Unsent::Dropped("backend-buffer-full"))
            }
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => Err(Unsent::Dropped("too-large")),
            Err(error) => Err(Unsent::Gone(error)),
        }
    }

    /// An answer was sent on to the client.
    pub(super) fn answered(&self, length: usize, now: Instant) {
        self.record.borrow_mut().received(length, now);
    }

    /// Its backend is not there. Gives the workload, which is to be gone around.
    pub(super) fn failed(&self, error: &io::Error) -> Uid {
        self.receiver.under_way.refused(Instant::now());
        self.record.borrow_mut().failed(format!("{}: {error}", self.receiver.address));
        self.receiver.to.workload.clone()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.worker.state.telemetry.session(self.record.borrow().clone());
    }
}

fn is_too_large(sent: &io::Result<()>) -> bool {
    sent.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EMSGSIZE))
}
