//! A backend in HTTP/2 is asked for another protocol by extended CONNECT (RFC 8441).

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_LENGTH, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body::Body as _;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;

use super::{Side, is_websocket, say};
use crate::proxy::http::body::Body;
use crate::proxy::http::incoming::Incoming;

/// What a server of WebSocket puts behind a client's key before it shows that it has understood it (RFC 6455 §1.3).
const UNDERSTOOD: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A request for another protocol, while it is an extended CONNECT.
#[derive(Debug)]
pub(in crate::proxy::http) struct Connect {
    protocol: HeaderValue,
    /// The client's, for WebSocket. HTTP/2 has none, and so it is for us to show that we have understood.
    key: Option<HeaderValue>,
}

impl Connect {
    /// Makes a request one. `None`, and the request as it was, where that could not say all of it: where it has a body or another
    /// method than GET, or is for WebSocket and has no key. Then the wish is passed over, as it may be (RFC 9110 §7.8).
    pub(in crate::proxy::http) fn of(wished: &HeaderValue, head: &mut Parts, body: &Body) -> Option<Self> {
        // Of several, the first is the one that the client would like best.
        let name = wished.to_str().ok()?.split(',').next().unwrap_or_default().trim();
        if head.method != Method::GET || !body.is_end_stream() || name.is_empty() {
            return None;
        }
        let websocket = is_websocket(name.as_bytes());
        // HTTP/1.1 takes it in any case of letters.
        let name = if websocket { "websocket" } else { name };
        let protocol = HeaderValue::from_str(name).ok()?;
        let key = if websocket { Some(head.headers.remove(SEC_WEBSOCKET_KEY)?) } else { None };
        head.method = Method::CONNECT;
        head.headers.remove(CONTENT_LENGTH);
        head.extensions.insert(Protocol::from(name));
        Some(Self { protocol, key })
    }

    /// What the backend answers, as a server of HTTP/1.1 would: its consent is a 101, and anything else goes on as it is.
    pub(in crate::proxy::http) async fn answer(
        self,
        mut response: Response<Incoming>,
    ) -> hyper::Result<Response<Incoming>> {
        if !response.status().is_success() {
            return Ok(response);
        }
        if response.status() != StatusCode::OK {
            // It would be consent too (RFC 9110 §9.3.6), which hyper knows only as a 200: there is no stream to go on with.
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            return Ok(response.map(|_| Incoming::Empty));
        }
        let stream = TokioIo::new(hyper::upgrade::on(&mut response).await?);
        let headers = response.headers_mut();
        headers.remove(CONTENT_LENGTH);
        say(&self.protocol, headers);
        if let Some(accept) = self.key.as_ref().and_then(accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        Ok(response.map(|_| Incoming::Switched(Box::new(Side::Stream(stream)))))
    }
}

/// What shows that a key has been understood (RFC 6455 §4.2.2).
fn accept(key: &HeaderValue) -> Option<HeaderValue> {
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key.as_bytes());
    digest.update(UNDERSTOOD);
    HeaderValue::try_from(STANDARD.encode(digest.finish())).ok()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use http::{Request, Version};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::timeout;

    use super::*;
    use crate::proxy::http::upgrade::join;
    use crate::proxy::http::{fields, h2};

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn wish(protocol: &'static str, key: Option<&'static str>) -> (HeaderValue, Parts) {
        let mut request =
            Request::get("/chat").header("host", "shop.example").header("sec-websocket-version", 13);
        if let Some(key) = key {
            request = request.header(SEC_WEBSOCKET_KEY, key);
        }
        (HeaderValue::from_static(protocol), request.body(()).unwrap().into_parts().0)
    }

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    /// What a client of HTTP/1.1 is answered that wishes for WebSocket, by a backend that answers this to a stream.
    async fn asked<F>(answer: impl Fn(Request<hyper::body::Incoming>) -> F + 'static) -> Response<Incoming>
    where
        F: Future<Output = Response<Body>> + 'static,
    {
        let (near, far) = connected().await;
        spawn_local(h2::serve(far.into(), 16 * 1024, answer));
        let (protocol, mut head) = wish("WebSocket", Some(KEY));
        let connect = Connect::of(&protocol, &mut head, &Body::default()).unwrap();
        fields::in_version(&mut head, Version::HTTP_2);
        let mut sender = h2::connect_for_tunnel(near.into()).await.unwrap().expect("it takes streams");
        let response = sender.send_request(Request::from_parts(head, Body::default())).await.unwrap();
        connect.answer(response.map(Incoming::http2)).await.unwrap()
    }

    /// A client's end of what a backend makes of the stream.
    async fn joined<F>(talk: impl Fn(TokioIo<hyper::upgrade::Upgraded>) -> F + Clone + 'static) -> TcpStream
    where
        F: Future<Output = ()> + 'static,
    {
        let response = asked(move |request| {
            let talk = talk.clone();
            spawn_local(async move { talk(TokioIo::new(hyper::upgrade::on(request).await.unwrap())).await });
            async { Response::new(Body::default()) }
        });
        let Incoming::Switched(side) = response.await.into_body() else { panic!("the backend agreed") };
        let (client, ours) = connected().await;
        spawn_local(join(Side::Connection(ours.into()), *side));
        client
    }

    #[test]
    fn upgrade_key_is_answered_as_its_rfc_does() {
        assert_eq!(accept(&HeaderValue::from_static(KEY)).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn upgrade_becomes_a_connect_where_that_says_all_of_it() {
        let check = |protocol, key, method: Method, body: &'static str, expected: Option<&str>| {
            let (protocol, mut head) = wish(protocol, key);
            head.method = method.clone();
            let made = Connect::of(&protocol, &mut head, &Body::whole(body));
            let said = head.extensions.get::<Protocol>().map(Protocol::as_str);
            assert_eq!(
                (made.is_some(), said),
                (expected.is_some(), expected),
                "{protocol:?} {method} {body:?}"
            );
            let (as_method, kept) = match expected {
                Some(_) => (Method::CONNECT, false),
                None => (method, key.is_some()),
            };
            assert_eq!((head.method, head.headers.contains_key(SEC_WEBSOCKET_KEY)), (as_method, kept));
        };
        check("websocket", Some(KEY), Method::GET, "", Some("websocket"));
        check("WebSocket, other", Some(KEY), Method::GET, "", Some("websocket"));
        check("connect-udp", None, Method::GET, "", Some("connect-udp"));
        check("websocket", None, Method::GET, "", None);
        check("websocket", Some(KEY), Method::POST, "", None);
        check("websocket", Some(KEY), Method::GET, "a body", None);
        check(" , websocket", Some(KEY), Method::GET, "", None);
    }

    #[tokio::test]
    async fn upgrade_is_granted_by_a_backend_in_http2_as_by_one_in_http1() {
        let seen: Rc<Cell<Option<Parts>>> = Rc::default();
        let sees = seen.clone();
        let granted = asked(move |request| {
            sees.set(Some(request.into_parts().0));
            async { Response::builder().header("sec-websocket-protocol", "a").body(Body::default()).unwrap() }
        });
        let response = LocalSet::new().run_until(granted).await;
        let Parts { uri, headers, extensions, .. } = seen.take().unwrap();
        assert_eq!((uri.path(), uri.host()), ("/chat", Some("shop.example")));
        assert_eq!(extensions.get().map(Protocol::as_str), Some("websocket"));
        assert_eq!(headers["sec-websocket-version"], "13");
        assert!(!headers.contains_key(SEC_WEBSOCKET_KEY), "{headers:?}");
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        let said = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((said("connection"), said("upgrade")), ("upgrade".into(), "websocket".into()));
        assert_eq!(said("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(said("sec-websocket-protocol"), "a");
    }

    #[tokio::test]
    async fn upgrade_that_a_backend_in_http2_refuses_is_answered_as_it_does() {
        let check = async |status: u16, expected: u16, said: &str| {
            let response = asked(move |_| async move {
                Response::builder().status(status).body(Body::whole("why not")).unwrap()
            });
            let response = response.await;
            assert_eq!(response.status(), expected);
            let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
            assert_eq!(body.to_bytes(), said, "{status}");
        };
        LocalSet::new()
            .run_until(async {
                check(403, 403, "why not").await;
                check(302, 302, "why not").await;
            })
            .await;
    }

    #[tokio::test]
    async fn upgrade_to_http2_is_a_stream_of_which_either_side_may_end_its_half() {
        LocalSet::new()
            .run_until(async {
                // It sends back what comes, and says so when nothing comes any more.
                let mut client = joined(async |stream| {
                    let (mut from, mut to) = split(stream);
                    copy(&mut from, &mut to).await.unwrap();
                    to.write_all(b"that was all").await.unwrap();
                    to.shutdown().await.unwrap();
                })
                .await;
                let sent: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
                let (mut from, mut to) = client.split();
                let writing = async {
                    to.write_all(&sent).await.unwrap();
                    to.shutdown().await.unwrap();
                };
                let mut received = Vec::new();
                let (_, read) = tokio::join!(writing, from.read_to_end(&mut received));
                read.unwrap();
                assert!(received == [&sent[..], b"that was all"].concat(), "{} bytes", received.len());
                // The backend's half may be the first to end.
                let mut client = joined(async |stream| {
                    let (mut from, mut to) = split(stream);
                    to.shutdown().await.unwrap();
                    let mut heard = String::new();
                    from.read_to_string(&mut heard).await.unwrap();
                    assert_eq!(heard, "still there");
                })
                .await;
                assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
                client.write_all(b"still there").await.unwrap();
                client.shutdown().await.unwrap();
            })
            .await;
    }

    #[tokio::test]
    async fn upgrade_to_http2_has_its_backend_wait_for_a_client_that_does_not_read() {
        const ALL: usize = 64 * 1024 * 1024;
        LocalSet::new()
            .run_until(async {
                let written = Rc::new(Cell::new(0));
                let counted = written.clone();
                let client = joined(move |mut stream| {
                    let written = counted.clone();
                    async move {
                        while written.get() < ALL {
                            stream.write_all(&[7; 16 * 1024]).await.unwrap();
                            written.set(written.get() + 16 * 1024);
                        }
                        stream.shutdown().await.unwrap();
                    }
                });
                let mut client = client.await;
                let mut first = [0];
                client.read_exact(&mut first).await.unwrap();
                let ended = timeout(Duration::from_millis(300), async {
                    while written.get() < ALL {
                        tokio::task::yield_now().await;
                    }
                });
                // The kernel's sockets hold the most of it.
                assert!(ended.await.is_err() && written.get() < ALL / 2, "{} bytes", written.get());
                let mut rest = Vec::new();
                client.read_to_end(&mut rest).await.unwrap();
                assert_eq!(rest.len() + 1, ALL);
            })
            .await;
    }
}
