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

/// The sender on a connection that is there, or on a new one. Those that are kept may be used only where `again` says so.
pub(super) async fn of(
    worker: &Rc<Worker>,
    view: &MeshView,
    source: &LocalPod,
    key: Key,
    tls: Option<&backend_tls::Client>,
    speech: Speech,
    again: bool,
) -> Result<Sender, DialError> {
    let found = match speech {
        Speech::Http1 if again => worker.pool.take(&key).map(|(conn, lease)| Sender::Http1(conn, lease)),
        Speech::Http2 => worker.pool.shared(&key).map(Sender::Http2),
        Speech::Http1 | Speech::Tunnel => None,
    };
    match found {
        Some(sender) => Ok(sender),
        // What it takes is large, and seldom needed.
        None => Box::pin(in_turn(worker, view, source, key, tls, speech, again)).await,
    }
}

/// Connects when it is this request's turn, unless a connection is there before.
async fn in_turn(
    worker: &Rc<Worker>,
    view: &MeshView,
    source: &LocalPod,
    key: Key,
    tls: Option<&backend_tls::Client>,
    speech: Speech,
    again: bool,
) -> Result<Sender, DialError> {
    let shared = match speech {
        Speech::Http1 => false,
        Speech::Http2 => true,
        Speech::Tunnel => return connect(worker, view, source, key, tls, speech).await,
    };
    let making = match worker.pool.turn(&key, shared, again && !shared).await {
        Ok(Turn::Make(making)) => making,
        Ok(Turn::Kept(conn, lease)) => return Ok(Sender::Http1(conn, lease)),
        Err(why) => return Err(DialError::Beside(why)),
    };
    // Whoever had the turn before has made it for all.
    if let Some(sender) = worker.pool.shared(&key).filter(|_| shared) {
        return Ok(Sender::Http2(sender));
    }
    let connected = connect(worker, view, source, key, tls, speech).await;
    match &connected {
        Ok(_) => making.made(),
        Err(error) => making.failed(error.to_string()),
    }
    connected
}

async fn connect(
    worker: &Rc<Worker>,
    view: &MeshView,
    source: &LocalPod,
    key: Key,
    tls: Option<&backend_tls::Client>,
    speech: Speech,
) -> Result<Sender, DialError> {
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
