//! A server that says what reached it: over HTTP as JSON, over raw TCP byte for byte.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::instance::Instance;
use crate::reply;
use crate::serve::{Ends, Stopping};

const MAX_BODY: usize = 64 * 1024;

/// Every method and path is answered 200.
pub(crate) fn router(instance: &Instance) -> Router {
    let instance = instance.clone();
    let answer = move |request: Request| echo(instance.clone(), request);
    Router::new().route("/", axum::routing::any(answer.clone())).route("/{*path}", axum::routing::any(answer))
}

async fn echo(instance: Instance, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = match axum::body::to_bytes(Body::new(body), MAX_BODY).await {
        Ok(body) => body,
        Err(_) => return reply::error(StatusCode::PAYLOAD_TOO_LARGE, "only bodies up to 64 KiB are echoed"),
    };
    let ends = head.extensions.get::<Ends>();
    Json(json!({
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
    }))
    .into_response()
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
    let _: std::io::Result<()> = converse.await;
}
