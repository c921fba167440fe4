//! What a request is sent by: a connection to its backend, in the version of HTTP that is spoken there.

use std::error::Error as _;
use std::io;
use std::mem;
use std::rc::Rc;

use http::request::Parts;
use http::{Request, Response};
use hyper::client::conn::http2;
use mesh_ir::view::MeshView;
use tokio::time::timeout;

use super::body::{Body, BodyError};
use super::h1::{self, HeadLimits, Interim, SendError};
use super::h2;
use super::incoming::{Incoming, PeerError};
use super::pool::{Key, Lease, Turn};
use crate::proxy::Worker;
use crate::proxy::backend_tls;
use crate::proxy::conn::Conn;
use crate::proxy::dial::{self, DialError};
use crate::state::LocalPod;

pub(super) enum Sender {
    Http1(Conn, Lease),
    Http2(http2::SendRequest<Body>),
}

/// What a backend is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    Http1,
    /// On a connection that requests share.
    Http2,
    /// HTTP/2, on a connection of its own: of those that a backend allows at once on one that is shared, a stream that lasts
    /// as long as those of WebSocket do would take one from the requests.
    Tunnel,
}

/// What a sender is wanted for.
pub(super) struct Wanted<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) view: &'a MeshView,
    pub(super) source: &'a LocalPod,
    pub(super) key: Key,
    pub(super) tls: Option<&'a backend_tls::Client>,
    pub(super) speech: Speech,
    /// Whether a connection that was kept may be used.
    pub(super) again: bool,
}

impl Wanted<'_> {
    /// The sender on a connection that is there, or on a new one.
    pub(super) async fn get(self) -> Result<Sender, DialError> {
        let pool = &self.worker.pool;
        let found = match self.speech {
            Speech::Http1 if self.again => {
                pool.take(&self.key).map(|(conn, lease)| Sender::Http1(conn, lease))
            }
            Speech::Http2 => pool.shared(&self.key).map(Sender::Http2),
            Speech::Http1 | Speech::Tunnel => None,
        };
        match found {
            Some(sender) => Ok(sender),
            // What it takes is large, and seldom needed.
            None => Box::pin(self.in_turn()).await,
        }
    }

    /// Connects when it is this request's turn, unless a connection is there before.
    async fn in_turn(self) -> Result<Sender, DialError> {
        let shared = match self.speech {
            Speech::Http1 => false,
            Speech::Http2 => true,
            Speech::Tunnel => return self.connect().await,
        };
        let pool = &self.worker.pool;
        let making = match pool.turn(&self.key, shared, self.again && !shared).await {
            Ok(Turn::Make(making)) => making,
            Ok(Turn::Kept(conn, lease)) => return Ok(Sender::Http1(conn, lease)),
            Err(why) => return Err(DialError::Beside(why)),
        };
        // Whoever had the turn before has made it for all.
        if shared && let Some(sender) = pool.shared(&self.key) {
            return Ok(Sender::Http2(sender));
        }
        let connected = self.connect().await;
        match &connected {
            Ok(_) => making.made(),
            Err(error) => making.failed(error.to_string()),
        }
        connected
    }

    async fn connect(self) -> Result<Sender, DialError> {
        let Self { worker, view, source, key, tls, speech, .. } = self;
        let protocol: &[u8] = if speech == Speech::Http1 { b"http/1.1" } else { b"h2" };
        let conn = dial::dial_application(worker, view, source, &key.way, tls, Some(protocol)).await?;
        let address = key.way.address;
        let broken = |source| DialError::Connect { address, source };
        match speech {
            Speech::Http1 => Ok(Sender::Http1(conn, worker.pool.lease(key))),
            Speech::Http2 => {
                let sender = h2::connect(conn).await.map_err(|error| broken(io::Error::other(error)))?;
                worker.pool.share(key, &sender);
                Ok(Sender::Http2(sender))
            }
            Speech::Tunnel => {
                let limit = worker.state.settings.limits.connect_timeout;
                let late = || format!("it sent no SETTINGS of HTTP/2 within {} ms", limit.as_millis());
                let sender = timeout(limit, h2::connect_for_tunnel(conn)).await;
                let sender = sender.unwrap_or_else(|_| Err(io::Error::other(late()))).map_err(broken)?;
                sender.map(Sender::Http2).ok_or(DialError::NoTunnels { address })
            }
        }
    }
}

pub(super) enum SendFailure {
    /// The body that was to be sent could not be read.
    Body(BodyError),
    Peer(PeerError),
}

impl Sender {
    /// On failure says whether the request may be sent again; then head and body are what they were.
    pub(super) async fn send(
        self,
        head: &mut Parts,
        body: &mut Body,
        limits: HeadLimits,
        interim: &Interim,
    ) -> Result<Response<Incoming>, (SendFailure, bool)> {
        let mut sender = match self {
            Self::Http1(conn, lease) => {
                return h1::send(conn, lease, head, body, limits, interim).await.map_err(|failed| {
                    let error = match failed.error {
                        SendError::Body(error) => SendFailure::Body(error),
                        SendError::Connection(error) => SendFailure::Peer(error.into()),
                    };
                    (error, failed.again)
                });
            }
            Self::Http2(sender) => sender,
        };
        let (nothing, ()) = Request::new(()).into_parts();
        let request = Request::from_parts(mem::replace(head, nothing), mem::take(body));
        match sender.try_send_request(request).await {
            Ok(response) => Ok(response.map(Incoming::http2)),
            Err(mut error) => {
                let again = error.take_message().map(|request| (*head, *body) = request.into_parts());
                let error = error.into_error();
                let error = match error.source().and_then(|source| source.downcast_ref::<BodyError>()) {
                    Some(_) => SendFailure::Body(BodyError::Peer(error.into())),
                    None => SendFailure::Peer(error.into()),
                };
                Err((error, again.is_some()))
            }
        }
    }
}
