//! HTTP/2 on a connection, for clients and for servers. The protocol is hyper's; here is what a connection may hold, where
//! its tasks run, and how its writes are gathered.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2 as client;
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use super::body::Body;
use crate::proxy::conn::Conn;

mod gathered;
mod joined;

use gathered::Gathered;
pub(super) use joined::Joined;

/// Streams that one client may have open at once.
const MAX_STREAMS: u32 = 256;
/// What of one body may have come and not gone on: more than a fast network holds between two turns of a worker, so that a
/// body whose reader keeps up never waits.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same of all bodies of a connection to a backend, which requests of many clients share: so many that nobody reads stand
/// beside others that go on.
const BACKEND_WINDOW: u32 = 64 * STREAM_WINDOW;
/// And of one from a client.
const CLIENT_WINDOW: u32 = 16 * STREAM_WINDOW;
/// What of one body may have been taken and not been sent.
const SEND_BUFFER: usize = 128 * 1024;
/// Streams that a server allows before it has said how many, and what else its first SETTINGS say: a number that none can say.
const UNHEARD: usize = usize::MAX - 1;

/// Serves requests until the client or an error ends it.
pub(super) async fn serve<F>(
    conn: Conn,
    max_head: usize,
    respond: impl Fn(Request<Incoming>) -> F,
) -> hyper::Result<()>
where
    F: Future<Output = Response<Body>> + 'static,
{
    let service = service_fn(move |request| {
        let response = respond(request);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let conn = Gathered::new(conn);
    let serving = server::Builder::new(Beside(None))
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CLIENT_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .enable_connect_protocol()
        .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
        .auto_date_header(false)
        .serve_connection(TokioIo::new(conn.clone()), service);
    conn.run(serving).await
}

/// Begins to send requests on a connection, which lasts for as long as there is a sender.
pub(super) async fn connect(conn: Conn) -> hyper::Result<client::SendRequest<Body>> {
    let conn = Gathered::new(conn);
    let handshake = builder(&conn).handshake(TokioIo::new(conn.clone()));
    let (sender, connection) = conn.run(handshake).await?;
    tokio::task::spawn_local(connection);
    Ok(sender)
}

/// The same for one stream that is to carry another protocol. `None` where the server says that it takes none, or nothing of it: a
/// client must have heard before it asks (RFC 8441 §3).
pub(super) async fn connect_for_tunnel(conn: Conn) -> io::Result<Option<client::SendRequest<Body>>> {
    let conn = Gathered::new(conn);
    let mut builder = builder(&conn);
    let handshake = builder.initial_max_send_streams(UNHEARD).handshake(TokioIo::new(conn.clone()));
    let (sender, mut connection) = conn.clone().run(handshake).await.map_err(io::Error::other)?;
    let takes_tunnels = poll_fn(|cx| {
        conn.look_on(cx);
        if connection.current_max_send_streams() != UNHEARD {
            return Poll::Ready(Ok(connection.is_extended_connect_protocol_enabled()));
        }
        ready!(Pin::new(&mut connection).poll(cx)).map_err(io::Error::other)?;
        Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof)))
    });
    let takes_tunnels = takes_tunnels.await?;
    tokio::task::spawn_local(connection);
    Ok(takes_tunnels.then_some(sender))
}

fn builder(conn: &Gathered) -> client::Builder<Beside> {
    let mut builder = client::Builder::new(Beside(Some(conn.clone())));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(BACKEND_WINDOW)
        .max_send_buf_size(SEND_BUFFER);
    builder
}

/// Runs hyper's tasks beside the connection, on its worker. One of a client's tasks writes to the connection.
#[derive(Clone, Debug)]
struct Beside(Option<Gathered>);

impl<F: Future + 'static> hyper::rt::Executor<F> for Beside
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        match &self.0 {
            Some(conn) => tokio::task::spawn_local(conn.clone().run(future)),
            None => tokio::task::spawn_local(future),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::{StreamExt, stream};
    use http::HeaderMap;
    use http_body::Frame;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::LocalSet;

    use super::super::incoming;
    use super::*;

    const HEAD: usize = 16 * 1024;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    }

    /// A connection to a server that sends every request's body back.
    async fn echo() -> TcpStream {
        let (near, far) = pair().await;
        let answer = |request: Request<Incoming>| async {
            Response::new(Body::peer(incoming::Incoming::http2(request.into_body())))
        };
        tokio::task::spawn_local(serve(far.into(), HEAD, answer));
        near
    }

    #[tokio::test]
    async fn h2_streams_of_small_messages_pass_whole_with_their_trailers() {
        LocalSet::new()
            .run_until(async {
                let near = TokioIo::new(echo().await);
                let (sender, connection) = client::handshake(Beside(None), near).await.unwrap();
                tokio::task::spawn_local(connection);
                let message = |number: usize| Bytes::from(vec![number as u8; 1029]);
                let ask = |count: usize| {
                    let data = (0..count).map(move |number| Frame::data(message(number)));
                    let trailers = HeaderMap::from_iter([(
                        http::HeaderName::from_static("grpc-status"),
                        http::HeaderValue::from_static("0"),
                    )]);
                    let frames = data.chain([Frame::trailers(trailers)]).map(Ok::<_, Infallible>);
                    let request = Request::post("http://echo/").body(StreamBody::new(stream::iter(frames)));
                    let mut sender = sender.clone();
                    async move {
                        let response = sender.send_request(request.unwrap()).await.unwrap();
                        let collected = response.into_body().collect().await.unwrap();
                        let status = collected.trailers().and_then(|fields| fields.get("grpc-status"));
                        assert_eq!(status.map(|status| status.as_bytes()), Some(&b"0"[..]), "of {count}");
                        let expected: Vec<u8> = (0..count).flat_map(message).collect();
                        assert!(collected.to_bytes() == expected, "{count} messages came back as others");
                    }
                };
                // More than the windows and buffers on the way hold, so that every one of them has to wait.
                stream::iter([0, 1, 10, 3000, 1, 3000, 50])
                    .map(ask)
                    .buffer_unordered(7)
                    .collect::<Vec<_>>()
                    .await;
            })
            .await;
    }

    #[tokio::test]
    async fn h2_bodies_that_nobody_reads_leave_the_others_of_their_connection_alone() {
        LocalSet::new()
            .run_until(async {
                let mut sender = connect(echo().await.into()).await.unwrap();
                let mut unread = Vec::new();
                let ask =
                    |size: usize| Request::post("http://echo/").body(Body::whole(vec![7; size])).unwrap();
                for _ in 0..8 {
                    unread.push(sender.send_request(ask(5_000_000)).await.unwrap());
                }
                let response = sender.send_request(ask(1_000_000)).await.unwrap();
                let whole = response.into_body().collect();
                let whole = tokio::time::timeout(Duration::from_secs(20), whole).await.expect("it goes on");
                assert_eq!(whole.unwrap().to_bytes().len(), 1_000_000);
                drop(unread);
            })
            .await;
    }

    #[tokio::test]
    async fn h2_requests_to_a_server_go_out_and_their_answers_come_back() {
        LocalSet::new()
            .run_until(async {
                let mut sender = connect(echo().await.into()).await.unwrap();
                for size in [0, 1, 16_384, 5_000_000] {
                    let request = Request::post("http://echo/").body(Body::whole(vec![7; size])).unwrap();
                    let response = sender.send_request(request).await.unwrap();
                    let bytes = response.into_body().collect().await.unwrap().to_bytes();
                    assert!(bytes == vec![7; size], "{size} bytes came back as {}", bytes.len());
                }
            })
            .await;
    }

    #[tokio::test]
    async fn h2_server_that_takes_no_tunnels_is_asked_for_none() {
        let check = async |mut server: server::Builder<Beside>, takes_tunnels: bool| {
            let (near, far) = pair().await;
            let service = service_fn(|_| async { Ok::<_, Infallible>(Response::new(Body::default())) });
            server.timer(TokioTimer::new());
            tokio::task::spawn_local(server.serve_connection(TokioIo::new(far), service));
            let sender = connect_for_tunnel(near.into()).await.unwrap();
            assert_eq!(sender.is_some(), takes_tunnels);
        };
        LocalSet::new()
            .run_until(async {
                let plain = server::Builder::new(Beside(None));
                check(plain.clone(), false).await;
                // What else a server may say first.
                let mut streams = plain.clone();
                streams.max_concurrent_streams(None);
                check(streams, false).await;
                let mut enabled = plain;
                enabled.enable_connect_protocol();
                check(enabled, true).await;
            })
            .await;
    }

    #[tokio::test]
    async fn h2_server_that_ends_before_its_settings_is_not_waited_for() {
        LocalSet::new()
            .run_until(async {
                let (near, far) = pair().await;
                drop(far);
                assert!(connect_for_tunnel(near.into()).await.is_err());
            })
            .await;
    }
}
