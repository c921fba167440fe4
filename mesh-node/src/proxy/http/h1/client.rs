//! The client's side of a connection: a request goes out, and its response comes back, in the task of whoever asks.
//! The response may begin before the request has gone out whole; what remains of the request then goes on while the
//! response is read. Interim responses go on as they come.

use std::future::poll_fn;
use std::mem;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::UPGRADE;
use http::request::Parts;
use http::{Response, StatusCode};
use http_body::{Body as _, Frame};

use super::Error;
use super::decode::{Decoded, Decoder};
use super::head::{self, HeadLimits, Length};
use super::sending::{SendError, Sending};
use super::server::Interim;
use crate::proxy::conn::Conn;
use crate::proxy::http::body::Body;
use crate::proxy::http::incoming::Incoming;
use crate::proxy::http::pool::Lease;
use crate::proxy::http::upgrade::Side;

/// Interim responses (1xx) before the one that counts.
const MAX_INTERIM: usize = 16;
/// For how long a server is waited for that does not say whether it wants a body (RFC 9110 §10.1.1 has no more to say than that
/// it must not be for ever; curl waits as long).
const PATIENCE: Duration = Duration::from_secs(1);

/// An exchange that failed.
#[derive(Debug)]
pub(in crate::proxy::http) struct Failed {
    pub(in crate::proxy::http) error: SendError,
    /// Whether the request may be sent again: the server closed a connection that was kept before it answered
    /// anything, and would not mind to see the request twice (RFC 9112 §9.3.1).
    pub(in crate::proxy::http) again: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Going,
    Whole,
    Broken,
}

/// Takes the body, and puts it back where the request may be sent again.
pub(in crate::proxy::http) async fn send(
    mut conn: Conn,
    lease: Lease,
    request: &Parts,
    body: &mut Body,
    limits: HeadLimits,
    interim: &Interim,
) -> Result<Response<Incoming>, Box<Failed>> {
    let repeatable = lease.is_used() && request.method.is_idempotent() && body.is_end_stream();
    let mut sending = Sending::request(request, mem::take(body));
    let mut progress = Progress::Going;
    let (mut searched, mut heard) = (0, 0);
    let mut patience = sending.holds_body().then(|| Box::pin(tokio::time::sleep(PATIENCE)));
    let received = poll_fn(|cx| {
        'sending: loop {
            if patience.as_mut().is_some_and(|patience| patience.as_mut().poll(cx).is_ready()) {
                patience = None;
                sending.go_on();
            }
            if progress == Progress::Going {
                match sending.poll(cx, |outbox, cx| outbox.poll_write(&mut conn, cx)) {
                    Poll::Ready(Ok(())) => progress = Progress::Whole,
                    Poll::Ready(Err(SendError::Body(error))) => return Poll::Ready(Err(error.into())),
                    // The server may have said why before it closed.
                    Poll::Ready(Err(SendError::Connection(_))) => progress = Progress::Broken,
                    Poll::Pending => {}
                }
            }
            loop {
                if !conn.ahead().is_empty() {
                    let found = head::response(conn.ahead_mut(), &mut searched, limits, &request.method);
                    match found.map_err(Error::from)? {
                        Some(head) if is_interim(head.parts.status) => {
                            heard += 1;
                            if heard > MAX_INTERIM {
                                return Poll::Ready(Err(Error::Interim(MAX_INTERIM).into()));
                            }
                            if head.parts.status != StatusCode::CONTINUE {
                                interim.pass_on(head.parts);
                            } else if sending.holds_body() {
                                sending.go_on();
                                continue 'sending;
                            }
                            continue;
                        }
                        Some(head) => return Poll::Ready(Ok(head)),
                        None => {}
                    }
                }
                if ready!(conn.poll_ahead(cx)).map_err(Error::from)? == 0 {
                    return Poll::Ready(Err(Error::CutOff.into()));
                }
            }
        }
    });
    let head = match received.await {
        Ok(head) => head,
        Err(error) => {
            let unanswered = heard == 0 && conn.ahead().is_empty();
            let again = repeatable && unanswered;
            if again {
                *body = sending.into_body();
            }
            return Err(Box::new(Failed { error, again }));
        }
    };
    if head.parts.status == StatusCode::SWITCHING_PROTOCOLS {
        if !request.headers.contains_key(UPGRADE) {
            let error = Error::Unasked.into();
            return Err(Box::new(Failed { error, again: false }));
        }
        return Ok(Response::from_parts(head.parts, Incoming::Switched(Box::new(Side::Connection(conn)))));
    }
    // A body that was kept back does not go any more, and nothing else can go in its place.
    let unsent = progress == Progress::Going && sending.holds_body();
    let lease = Some(lease).filter(|_| head.keep_alive && progress != Progress::Broken && !unsent);
    let upload = (progress == Progress::Going && !unsent).then_some(sending);
    let body = receive(conn, head.length, upload, lease);
    Ok(Response::from_parts(head.parts, body))
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

fn receive(mut conn: Conn, length: Length, upload: Option<Sending>, lease: Option<Lease>) -> Incoming {
    // Most often all of it is there already, and the connection is free at once.
    let whole = match length {
        Length::Empty => Some(0),
        Length::Sized(length) => usize::try_from(length).ok().filter(|length| conn.ahead().len() >= *length),
        Length::Chunked | Length::UntilClose => None,
    };
    match whole {
        Some(whole) => {
            let bytes = conn.ahead_mut().split_to(whole).freeze();
            // A server that answers before it has heard all does not want the rest.
            settle(conn, lease.filter(|_| upload.is_none()));
            Incoming::whole(bytes)
        }
        None => Incoming::Response(Box::new(ResponseBody {
            conn: Some(conn),
            decoder: Decoder::new(length),
            upload,
            lease,
        })),
    }
}

/// What becomes of a connection behind a response.
fn settle(conn: Conn, lease: Option<Lease>) {
    // What a server says beyond its response is for nobody.
    if let Some(lease) = lease.filter(|_| conn.ahead().is_empty()) {
        lease.give_back(conn);
    }
}

/// The body of a response while it comes in.
#[derive(Debug)]
pub(in crate::proxy::http) struct ResponseBody {
    /// Gone once the body is at its end.
    conn: Option<Conn>,
    decoder: Decoder,
    /// What has not gone out yet of the request.
    upload: Option<Sending>,
    /// Present if the connection can go on behind the response.
    lease: Option<Lease>,
}

impl ResponseBody {
    pub(in crate::proxy::http) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_upload(cx);
        loop {
            let Some(conn) = &mut self.conn else { return Poll::Ready(None) };
            let frame = match self.decoder.decode(conn.ahead_mut())? {
                Decoded::Data(data) => Some(Frame::data(data)),
                Decoded::Trailers(fields) => Some(Frame::trailers(fields)),
                Decoded::End => None,
                Decoded::NeedsMore => {
                    if ready!(conn.poll_ahead(cx))? == 0 {
                        self.decoder.end_of_stream()?;
                    }
                    continue;
                }
            };
            if self.decoder.is_done()
                && let Some(conn) = self.conn.take()
            {
                let whole = self.upload.take().is_none();
                settle(conn, self.lease.take().filter(|_| whole));
            }
            return Poll::Ready(frame.map(Ok));
        }
    }

    /// Sends on what remains of the request.
    pub(in crate::proxy::http) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        let (Some(upload), Some(conn)) = (&mut self.upload, &mut self.conn) else { return };
        match upload.poll(cx, |outbox, cx| outbox.poll_write(conn, cx)) {
            Poll::Ready(Ok(())) => self.upload = None,
            Poll::Ready(Err(_)) => {
                self.upload = None;
                self.lease = None;
            }
            Poll::Pending => {}
        }
    }

    /// How many bytes are still to come, where that is known.
    pub(in crate::proxy::http) fn left(&self) -> Option<u64> {
        self.decoder.left()
    }
}
