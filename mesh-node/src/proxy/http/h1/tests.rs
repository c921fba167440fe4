//! A client, this proxy's two sides of HTTP/1 and a backend, on sockets.

use clap::Parser;
use http::{Response, StatusCode};
use mesh_ir::eval::reach::Reach;
use mesh_ir::name::Uid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::proxy::dial::Way;
use crate::proxy::http::body::Body;
use crate::proxy::http::pool::{Key, Pool};
use crate::settings::Limits;

const ANSWER: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    limits: Limits,
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Passes one request of a client on to a backend, while the two do this.
async fn relayed(talk: impl AsyncFnOnce(&mut TcpStream, &mut TcpStream)) {
    let limits = Only::parse_from(["limits"]).limits;
    let ((mut client, ours), (to_backend, mut backend)) = (pair().await, pair().await);
    let way = Way { address: to_backend.peer_addr().unwrap(), reach: Reach::Plaintext };
    let lease = Pool::new(&limits).lease(Key { source: Uid::new("client").unwrap(), way, tls: None });
    let once = std::cell::RefCell::new(Some((to_backend, lease)));
    let respond = async |request: http::Request<_>, interim| {
        let (conn, lease) = once.take().expect("one request");
        let (head, body) = request.into_parts();
        let mut body = Body::peer(body);
        match send(conn.into(), lease, &head, &mut body, HeadLimits::of(&limits), &interim).await {
            Ok(response) => response.map(Body::peer),
            Err(failed) => {
                let mut response = Response::new(Body::whole(failed.error.to_string()));
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                response
            }
        }
    };
    let serving = async {
        serve(ours.into(), &limits, respond).await;
        // What was written before the end is still to be read.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = serving => {}
        () = talk(&mut client, &mut backend) => {}
    }
}

async fn says(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// Reads as much as is expected.
async fn hears(stream: &mut TcpStream, expected: &str) {
    let mut heard = vec![0; expected.len()];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(String::from_utf8(heard).unwrap(), expected);
}

/// One request for all of these, as far as a backend has it.
async fn asks(client: &mut TcpStream, backend: &mut TcpStream, version: &str) {
    says(client, &format!("GET / {version}\r\nhost: a\r\n\r\n")).await;
    hears(backend, "GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
}

#[tokio::test]
async fn h1_interim_responses_come_while_the_answer_is_not_there() {
    relayed(async |client, backend| {
        asks(client, backend, "HTTP/1.1").await;
        says(backend, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-own\r\nX-Own: 1\r\n\r\n")
            .await;
        hears(client, "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").await;
        // Nobody asked for this one; of those that come at once each goes on.
        says(backend, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Still at it\r\n\r\n").await;
        hears(client, "HTTP/1.1 102 Still at it\r\n\r\n").await;
        says(backend, &format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\n{ANSWER}")).await;
        hears(client, &format!("HTTP/1.1 103 Early Hints\r\n\r\n{ANSWER}")).await;
    })
    .await;
}

#[tokio::test]
async fn h1_interim_responses_come_before_the_body_of_the_request_is_whole() {
    relayed(async |client, backend| {
        let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";
        says(client, head).await;
        hears(backend, head).await;
        says(backend, "HTTP/1.1 103 Early Hints\r\n\r\n").await;
        hears(client, "HTTP/1.1 103 Early Hints\r\n\r\n").await;
        says(client, "hello").await;
        hears(backend, "hello").await;
        says(backend, ANSWER).await;
        hears(client, ANSWER).await;
    })
    .await;
}

#[tokio::test]
async fn h1_interim_responses_are_not_for_clients_of_http_1_0() {
    relayed(async |client, backend| {
        asks(client, backend, "HTTP/1.0").await;
        says(backend, &format!("HTTP/1.1 103 Early Hints\r\n\r\n{ANSWER}")).await;
        hears(client, "HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").await;
    })
    .await;
}

#[tokio::test]
async fn h1_interim_responses_without_end_are_no_answer() {
    relayed(async |client, backend| {
        asks(client, backend, "HTTP/1.1").await;
        let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
        says(backend, &hint.repeat(17)).await;
        hears(client, &hint.repeat(16)).await;
        hears(client, "HTTP/1.1 502 Bad Gateway\r\n").await;
    })
    .await;
}
