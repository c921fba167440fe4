//! A server that says what reached it: over HTTP as JSON, over raw TCP byte for byte.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::instance::Instance;
use crate::reply;
use crate::serve::{Ends, Stopping};

const MAX_BODY: usize = 64 * 1024;

/// Paths of which it is remembered how often they have failed; one more forgets them all.
const MAX_FAILING: usize = 1024;

/// How often a path has been answered with a failure.
type Failures = Arc<Mutex<BTreeMap<String, u32>>>;

/// Every method and path is answered 200, except that the header `fail-first: 2` has the first two requests to a path
/// answered 503. An extended CONNECT of HTTP/2 (RFC 8441) is answered by a stream that says in its first line what arrived, and
/// then sends every byte back.
pub(crate) fn router(instance: &Instance) -> Router {
    let (instance, failures) = (instance.clone(), Failures::default());
    let answer = move |request: Request| echo(instance.clone(), failures.clone(), request);
    Router::new().route("/", axum::routing::any(answer.clone())).route("/{*path}", axum::routing::any(answer))
}

async fn echo(instance: Instance, failures: Failures, mut request: Request) -> Response {
    let stream = (request.method() == Method::CONNECT).then(|| hyper::upgrade::on(&mut request));
    let (head, body) = request.into_parts();
    if fails(&failures, &head) {
        return reply::error(StatusCode::SERVICE_UNAVAILABLE, "this one fails, as asked");
    }
    let body = match axum::body::to_bytes(Body::new(body), MAX_BODY).await {
        Ok(body) => body,
        Err(_) => return reply::error(StatusCode::PAYLOAD_TOO_LARGE, "only bodies up to 64 KiB are echoed"),
    };
    let ends = head.extensions.get::<Ends>();
    let seen = json!({
        "service": instance.name(),
        "pod": instance.pod(),
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "authority": head.uri.authority().map(|authority| authority.as_str()),
        "version": format!("{:?}", head.version),
        "headers": headers(&head.headers),
        "peer": ends.map(|ends| ends.peer.to_string()),
        "local": ends.map(|ends| ends.local.to_string()),
        "body": String::from_utf8_lossy(&body),
        "protocol": head.extensions.get::<Protocol>().map(Protocol::as_str),
    });
    match stream {
        Some(stream) => {
            tokio::spawn(send_back(stream, format!("{seen}\n")));
            StatusCode::OK.into_response()
        }
        None => Json(seen).into_response(),
    }
}

async fn send_back(stream: OnUpgrade, first: String) {
    let converse = async {
        let mut stream = TokioIo::new(stream.await.map_err(io::Error::other)?);
        stream.write_all(first.as_bytes()).await?;
        let (mut from, mut to) = tokio::io::split(stream);
        tokio::io::copy(&mut from, &mut to).await?;
        to.shutdown().await
    };
    // A reset is the client's to notice.
    let _: io::Result<()> = converse.await;
}

fn fails(failures: &Failures, head: &Parts) -> bool {
    let wanted = head.headers.get("fail-first").and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    let Some(wanted) = wanted else { return false };
    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
    if failures.len() >= MAX_FAILING {
        failures.clear();
    }
    let failed = failures.entry(head.uri.path().to_owned()).or_default();
    *failed += 1;
    *failed <= wanted
}

/// Values of a header that came more than once are joined by a comma, as HTTP allows.
fn headers(map: &HeaderMap) -> BTreeMap<&str, String> {
    map.keys()
        .map(|name| {
            let values = map.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            (name.as_str(), values.collect::<Vec<_>>().join(", "))
        })
        .collect()
}

/// Greets before the client has said anything, sends every byte back, and ends its side once the client has ended its
/// own and has got everything. A stop does not interrupt it: who connected may finish within the drain time.
pub(crate) async fn tcp_connection(mut stream: TcpStream, ends: Ends, _stopping: Stopping) {
    let converse = async {
        stream.write_all(format!("hello {}\n", ends.peer).as_bytes()).await?;
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await?;
        to.shutdown().await
    };
    // A reset is the client's to notice.
    let _: io::Result<()> = converse.await;
}
