//! One node's subscription: carries messages between its stream and its `OperatorSession`.

use std::net::SocketAddr;
use std::time::Duration;

use mesh_wire::proto::{NodeMessage, OperatorMessage};
use mesh_wire::{OperatorSession, ProtocolError};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::Publisher;
use super::nodes::Registration;
use crate::compile::Revision;

/// How long the reason for an end waits behind the message before it.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

type Outgoing = mpsc::Sender<Result<OperatorMessage, Status>>;

pub(super) struct Subscription {
    publisher: Publisher,
    address: SocketAddr,
    session: OperatorSession,
    incoming: Streaming<NodeMessage>,
    outgoing: Outgoing,
    registration: Registration,
}

/// Why a session is over.
enum End {
    /// The node has gone, or the operator goes.
    Closed,
    Protocol(ProtocolError),
    Stalled,
}

impl Subscription {
    pub(super) fn new(
        publisher: Publisher,
        address: SocketAddr,
        incoming: Streaming<NodeMessage>,
        outgoing: Outgoing,
    ) -> Self {
        let registration = publisher.nodes.register(address);
        publisher.metrics.nodes.inc();
        Self { publisher, address, session: OperatorSession::new(), incoming, outgoing, registration }
    }

    pub(super) async fn run(mut self) {
        let end = self.carry().await;
        let node = self.session.node().map(tracing::field::display);
        let (peer, stall) = (self.address, self.publisher.stall_timeout);
        let status = match end {
            End::Closed => {
                tracing::info!(node, %peer, sent = self.session.sent(), "a node's session ended");
                Status::unavailable("the operator is ending; connect again")
            }
            End::Protocol(error) => {
                self.publisher.metrics.sessions_failed.inc();
                tracing::warn!(node, %peer, %error, "a node's session failed");
                Status::failed_precondition(error.to_string())
            }
            End::Stalled => {
                self.publisher.metrics.sessions_failed.inc();
                tracing::warn!(node, %peer, limit = ?stall, "a node made no progress");
                Status::deadline_exceeded(format!("no progress in {stall:?}"))
            }
        };
        // A node that does not take it is told no more than that the stream is over.
        _ = tokio::time::timeout(FAREWELL_TIMEOUT, self.outgoing.send(Err(status))).await;
        self.publisher.metrics.nodes.dec();
    }

    async fn carry(&mut self) -> End {
        let mut revisions = self.publisher.revisions.clone();
        let mut ending = self.publisher.ending.clone();
        let outgoing = self.outgoing.clone();
        self.take_config(&mut revisions);
        let mut next: Option<OperatorMessage> = None;
        let mut progress = Instant::now();
        loop {
            next = next.or_else(|| self.session.poll_message());
            self.registration.update(&self.session);
            tokio::select! {
                permit = outgoing.reserve(), if next.is_some() => {
                    let (Ok(permit), Some(message)) = (permit, next.take()) else { return End::Closed };
                    permit.send(Ok(message));
                    self.publisher.metrics.messages_sent.inc();
                    progress = Instant::now();
                }
                message = self.incoming.message() => {
                    let Ok(Some(message)) = message else { return End::Closed };
                    let known = self.session.node().is_some();
                    if let Err(error) = self.session.handle_message(message) {
                        return End::Protocol(error);
                    }
                    if let (false, Some(node)) = (known, self.session.node()) {
                        let version = self.session.program_version();
                        tracing::info!(%node, peer = %self.address, version, "a node connected");
                    }
                    progress = Instant::now();
                }
                changed = revisions.changed() => {
                    if changed.is_err() {
                        return End::Closed;
                    }
                    self.take_config(&mut revisions);
                }
                () = tokio::time::sleep_until(progress + self.publisher.stall_timeout), if self.session.waits() => {
                    return End::Stalled;
                }
                () = outgoing.closed() => return End::Closed,
                _ = ending.wait_for(|ending| *ending) => return End::Closed,
            }
            if !self.session.waits() {
                progress = Instant::now();
            }
        }
    }

    fn take_config(&mut self, revisions: &mut watch::Receiver<Option<Revision>>) {
        if let Some(revision) = &*revisions.borrow_and_update() {
            self.session.handle_config(revision.encoded.clone());
        }
    }
}
