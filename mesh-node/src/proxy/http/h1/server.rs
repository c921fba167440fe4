//! The server's side of a connection: one request after the other is read, answered, and its answer written, all in
//! the task of the connection. A client that hangs up meanwhile ends what is done for it, and hears of what its backend says
//! before the answer (1xx).

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode, Version, response};
use http_body::Frame;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Sleep};

use super::Error;
use super::decode::{Decoded, Decoder};
use super::encode::{self, Asked};
use super::head::{self, HeadError, HeadLimits, Length, RequestHead};
use super::outbox::Outbox;
use super::sending::{SendError, Sending};
use crate::proxy::conn::Conn;
use crate::proxy::http::body::Body;
use crate::proxy::http::fields;
use crate::proxy::http::incoming::Incoming;
use crate::proxy::http::upgrade::Side;
use crate::settings::Limits;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// What a client may send of its next requests before the one at hand is answered.
const MAX_AHEAD: usize = 16 * 1024;
/// Of interim responses that a client does not take. No more are kept for it then: what they say is of no use later.
const MAX_UNTAKEN: usize = 16 * 1024;
/// What is read of a body that nobody wants, so that the connection can go on behind it.
const MAX_SKIPPED: usize = 256 * 1024;
/// How long a client that still sends is listened to after its last answer: closing at once would reset the
/// connection, and the answer could be lost (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(1);

/// A connection, shared by its task and the body of the request at hand.
#[derive(Debug)]
struct Link {
    conn: Conn,
    /// Of the body of the request at hand.
    decoder: Decoder,
    /// What is still to be written before anything else: interim responses.
    interim: BytesMut,
    continue_owed: bool,
}

/// How a connection came to its end.
#[expect(clippy::large_enum_variant, reason = "there is one a connection, and it is not kept")]
#[derive(Debug)]
pub(in crate::proxy::http) enum End {
    /// Between two requests, or behind an answer.
    Quiet,
    /// The client sent what is no request, and was told so.
    Refused(HeadError),
    /// The client was gone, or too slow, or an answer broke off.
    Broken,
    /// Client and backend speak another protocol from here on; this is held as long as they do.
    Switched(Conn, Side, Body),
}

/// Serves requests until the client or an error ends it.
pub(in crate::proxy::http) async fn serve<F>(
    conn: Conn,
    limits: &Limits,
    respond: impl Fn(Request<Incoming>, Interim) -> F,
) -> End
where
    F: Future<Output = Response<Body>>,
{
    let decoder = Decoder::new(Length::Empty);
    let link = Rc::new(RefCell::new(Link { conn, decoder, interim: BytesMut::new(), continue_owed: false }));
    let mut patience = Patience::new(limits.header_timeout);
    loop {
        match next_head(&link, limits, &mut patience).await {
            Ok(Some(head)) => match exchange(&link, head, &respond).await {
                After::Next => {}
                After::Close => return close(&link).await,
                After::Break => return End::Broken,
                After::Switch(backend, body) => {
                    // The body of the request, which alone could hold it too, was dropped with the request.
                    let Some(link) = Rc::into_inner(link) else { return End::Broken };
                    return End::Switched(link.into_inner().conn, backend, body);
                }
            },
            Ok(None) => return close(&link).await,
            Err(Unread::Refused(error)) => {
                refuse(&link, error).await;
                return End::Refused(error);
            }
            Err(Unread::Gone) => return End::Broken,
        }
    }
}

enum Unread {
    Refused(HeadError),
    Gone,
}

/// The next request's head; `None` where the client has no more to ask, or does not ask it in time.
async fn next_head(
    link: &RefCell<Link>,
    limits: &Limits,
    patience: &mut Patience,
) -> Result<Option<RequestHead>, Unread> {
    let limits = HeadLimits::of(limits);
    let mut searched = 0;
    patience.begin();
    poll_fn(|cx| {
        let link = &mut *link.borrow_mut();
        loop {
            if !link.conn.ahead().is_empty() {
                let found = head::request(link.conn.ahead_mut(), &mut searched, limits);
                if let Some(head) = found.map_err(Unread::Refused)? {
                    return Poll::Ready(Ok(Some(head)));
                }
            }
            match link.conn.poll_ahead(cx) {
                Poll::Ready(Ok(0)) if link.conn.ahead().is_empty() => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Unread::Gone)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    ready!(patience.poll_over(cx));
                    return Poll::Ready(if link.conn.ahead().is_empty() {
                        Ok(None)
                    } else {
                        Err(Unread::Gone)
                    });
                }
            }
        }
    })
    .await
}

enum After {
    Next,
    Close,
    Break,
    Switch(Side, Body),
}

async fn exchange<F>(
    link: &Rc<RefCell<Link>>,
    head: RequestHead,
    respond: impl Fn(Request<Incoming>, Interim) -> F,
) -> After
where
    F: Future<Output = Response<Body>>,
{
    let asked = Asked::of(&head.parts, head.keep_alive);
    let body = {
        let mut this = link.borrow_mut();
        this.decoder = Decoder::new(head.length);
        this.continue_owed = head.expects_continue;
        match head.length {
            Length::Empty => Incoming::Empty,
            _ => Incoming::Request(RequestBody(link.clone())),
        }
    };
    // HTTP/1.0 has none (RFC 9110 §15.2).
    let interim = Interim((asked.version == Version::HTTP_11).then(|| link.clone()));
    let response = {
        let mut responding = pin!(respond(Request::from_parts(head.parts, body), interim));
        let answered = poll_fn(|cx| match responding.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            Poll::Pending => link.borrow_mut().poll_meanwhile(cx).map(|()| None),
        });
        match answered.await {
            Some(response) => response,
            None => return After::Break,
        }
    };
    let (head, body) = response.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return switch(link, &head, body, &asked).await;
    }
    let goes_on = asked.keep_alive && skipped(link).await;
    let asked = Asked { keep_alive: goes_on, ..asked };
    let (mut sending, goes_on) = Sending::response(&head, body, &asked);
    drop(head);
    let sent = poll_fn(|cx| match sending.poll(cx, |outbox, cx| link.borrow_mut().poll_write(outbox, cx)) {
        Poll::Ready(sent) => Poll::Ready(Some(sent)),
        Poll::Pending => link.borrow_mut().poll_gone(cx).map(|()| None),
    });
    match sent.await {
        Some(Ok(())) => {}
        Some(Err(SendError::Body(_))) if asked.version == Version::HTTP_10 => {
            // Nothing but a reset would tell this client that there should have been more.
            link.borrow().conn.reset();
            return After::Break;
        }
        Some(Err(_)) | None => return After::Break,
    }
    drop(sending);
    if goes_on && link.borrow().decoder.is_done() { After::Next } else { After::Close }
}

/// Says the backend's 101, and hands both sides over.
async fn switch(link: &RefCell<Link>, head: &http::response::Parts, mut body: Body, asked: &Asked) -> After {
    let Some(backend) = body.switched() else { return After::Break };
    let (mut sending, _) = Sending::response(head, Body::whole(""), asked);
    let sent = poll_fn(|cx| sending.poll(cx, |outbox, cx| link.borrow_mut().poll_write(outbox, cx)));
    match sent.await {
        Ok(()) => After::Switch(backend, body),
        Err(_) => After::Break,
    }
}

/// Whether the request's body is at its end, or somebody reads it still. One that nobody wants is skipped as far as it
/// is there.
async fn skipped(link: &Rc<RefCell<Link>>) -> bool {
    if link.borrow().decoder.is_done() || Rc::strong_count(link) > 1 {
        return true;
    }
    // A client that was not told to go on may send the body or not: nobody knows what comes next.
    if link.borrow().continue_owed {
        return false;
    }
    let mut count = 0;
    poll_fn(|cx| {
        let link = &mut *link.borrow_mut();
        loop {
            match link.decoder.decode(link.conn.ahead_mut()) {
                Ok(Decoded::Data(data)) if count < MAX_SKIPPED => count += data.len(),
                Ok(Decoded::Trailers(_)) => {}
                Ok(Decoded::End) => return Poll::Ready(true),
                Ok(Decoded::Data(_)) | Err(_) => return Poll::Ready(false),
                Ok(Decoded::NeedsMore) => match link.conn.poll_ahead(cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(_) | Poll::Pending => return Poll::Ready(false),
                },
            }
        }
    })
    .await
}

/// Tells a client that it sent no request.
async fn refuse(link: &Rc<RefCell<Link>>, error: HeadError) {
    let status = match error {
        HeadError::TooLarge(_) | HeadError::TooManyFields(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        HeadError::Malformed(_) => StatusCode::BAD_REQUEST,
        HeadError::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
    };
    let mut response = Response::new(Body::whole(format!("{error}\n")));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    let asked = Asked { head: false, version: Version::HTTP_11, trailers: false, keep_alive: false };
    let (head, body) = response.into_parts();
    let (mut sending, _) = Sending::response(&head, body, &asked);
    let answering = poll_fn(|cx| sending.poll(cx, |outbox, cx| link.borrow_mut().poll_write(outbox, cx)));
    if let Ok(Ok(())) = tokio::time::timeout(LINGER, answering).await {
        // What else it sends is no request either.
        link.borrow_mut().decoder = Decoder::new(Length::UntilClose);
        close(link).await;
    }
}

/// Ends a connection behind its last answer.
async fn close(link: &RefCell<Link>) -> End {
    let closing = poll_fn(|cx| {
        let conn = &mut link.borrow_mut().conn;
        pin!(conn.shutdown()).poll(cx)
    });
    let closing = async {
        if closing.await.is_ok() && !link.borrow().decoder.is_done() {
            poll_fn(|cx| {
                let conn = &mut link.borrow_mut().conn;
                loop {
                    conn.ahead_mut().clear();
                    match ready!(conn.poll_ahead(cx)) {
                        Ok(1..) => {}
                        Ok(0) | Err(_) => return Poll::Ready(()),
                    }
                }
            })
            .await;
        }
    };
    // One that goes on sending is cut off.
    let _ = tokio::time::timeout(LINGER, closing).await;
    End::Quiet
}

impl Link {
    fn poll_write(&mut self, outbox: &mut Outbox, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // An answer makes it unnecessary.
        self.continue_owed = false;
        ready!(self.poll_interim(cx))?;
        outbox.poll_write(&mut self.conn, cx)
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let conn = Pin::new(&mut self.conn);
            let written = ready!(tokio::io::AsyncWrite::poll_write(conn, cx, &self.interim))?;
            self.interim.advance(written);
            if self.interim.is_empty() {
                self.interim = BytesMut::new();
                return tokio::io::AsyncWrite::poll_flush(Pin::new(&mut self.conn), cx);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What is done for a client that waits for its answer. Ready when it has hung up.
    fn poll_meanwhile(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(Err(_)) = self.poll_interim(cx) {
            return Poll::Ready(());
        }
        self.poll_gone(cx)
    }

    /// Ready when the client has hung up. Looks only behind the request's body: what is before that is for whoever
    /// reads the body.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.decoder.is_done() {
            return Poll::Pending;
        }
        while self.conn.ahead().len() < MAX_AHEAD {
            match ready!(self.conn.poll_ahead(cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

/// The way of interim responses (1xx) to the client of a request, where it takes any. It ends with the request's own response.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy::http) struct Interim(Option<Rc<RefCell<Link>>>);

impl Interim {
    /// They leave as soon as whoever passes them on rests.
    pub(super) fn pass_on(&self, mut head: response::Parts) {
        let Some(link) = &self.0 else { return };
        let link = &mut *link.borrow_mut();
        if link.interim.len() <= MAX_UNTAKEN {
            fields::strip_hop_by_hop(&mut head.headers);
            encode::interim(&head, &mut link.interim);
        }
    }
}

/// The body of a request while it comes in.
#[derive(Debug)]
pub(in crate::proxy::http) struct RequestBody(Rc<RefCell<Link>>);

impl RequestBody {
    pub(in crate::proxy::http) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let link = &mut *self.0.borrow_mut();
        loop {
            match link.decoder.decode(link.conn.ahead_mut())? {
                Decoded::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Decoded::Trailers(fields) => return Poll::Ready(Some(Ok(Frame::trailers(fields)))),
                Decoded::End => return Poll::Ready(None),
                Decoded::NeedsMore => {}
            }
            if std::mem::take(&mut link.continue_owed) && link.conn.ahead().is_empty() {
                link.interim.extend_from_slice(CONTINUE);
                // What the connection does not take now goes before the answer.
                let _ = link.poll_interim(cx)?;
            }
            if ready!(link.conn.poll_ahead(cx))? == 0 {
                return Poll::Ready(Some(Err(Error::CutOff)));
            }
        }
    }

    /// How many bytes are still to come, where that is known.
    pub(in crate::proxy::http) fn left(&self) -> Option<u64> {
        self.0.borrow().decoder.left()
    }
}

/// How long the next head may take. The timer is moved only when it is due, not with every request.
struct Patience {
    limit: Duration,
    until: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { limit, until: Instant::now() + limit, timer: None }
    }

    fn begin(&mut self) {
        self.until = Instant::now() + self.limit;
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(self.until)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= self.until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn h1_interim_responses_that_nobody_takes_are_bounded() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let conn = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (conn, decoder) = (conn.into(), Decoder::new(Length::Empty));
        let link = Link { conn, decoder, interim: BytesMut::new(), continue_owed: false };
        let link = Rc::new(RefCell::new(link));
        let hint = || Response::builder().status(103).header("link", "x".repeat(1000)).body(()).unwrap();
        for _ in 0..100 {
            Interim(Some(link.clone())).pass_on(hint().into_parts().0);
        }
        let kept = link.borrow().interim.len();
        assert!((MAX_UNTAKEN..MAX_UNTAKEN + 2000).contains(&kept), "{kept} bytes");
    }
}
