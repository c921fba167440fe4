//! `bookinfo get`: one request, printed as `curl -i` prints it. Any HTTP answer is a success.

use std::io::Write;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};

use crate::cli::GetArgs;
use crate::client::{self, Protocol};

const BODY_LIMIT: usize = 16 * 1024 * 1024;

pub(crate) async fn run(args: &GetArgs) -> Result<(), String> {
    let timeout = args.request.timeout();
    let printed = match tokio::time::timeout(timeout, exchange(args)).await {
        Ok(printed) => printed,
        Err(_) => Err(format!("timeout: no complete answer within {} s", timeout.as_secs())),
    };
    let printed = printed.map_err(|reason| format!("{} {}: {reason}", args.method, args.request.url))?;
    std::io::stdout().write_all(&printed).map_err(|error| format!("cannot print the answer: {error}"))
}

async fn exchange(args: &GetArgs) -> Result<Vec<u8>, String> {
    let protocol = if args.request.http2 { Protocol::Http2 } else { Protocol::Http1 };
    let client = client::client(protocol, args.request.timeout(), 1);
    let mut request = Request::builder()
        .method(args.method.clone())
        .uri(args.request.url.uri().clone())
        .body(Full::<Bytes>::from(args.data.clone()))
        .map_err(|error| error.to_string())?;
    for header in &args.request.headers {
        request.headers_mut().append(&header.name, header.value.clone());
    }

    let failed = |error: &(dyn std::error::Error + 'static)| {
        format!("{}: {}", client::kind(error), client::describe(error))
    };
    let response = client.request(request).await.map_err(|error| failed(&error))?;
    let (head, body) = response.into_parts();
    let mut printed = Vec::new();
    let reason = head.status.canonical_reason().unwrap_or_default();
    printed.extend_from_slice(format!("{:?} {} {reason}\n", head.version, head.status.as_u16()).as_bytes());
    for (name, value) in &head.headers {
        printed.extend_from_slice(name.as_str().as_bytes());
        printed.extend_from_slice(b": ");
        printed.extend_from_slice(value.as_bytes());
        printed.push(b'\n');
    }
    printed.push(b'\n');
    let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|error| failed(error.as_ref()))?;
    printed.extend_from_slice(&body.to_bytes());
    Ok(printed)
}
