//! The call `Check` of Envoy's protocol: how a request is told, and what the answer says.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode, Version};
use http_body_util::BodyExt;
use mesh_ir::eval::external_auth::{Change, Changes, told_by_call};
use prost::Message;

use super::ext_authz::{
    Address, AttributeContext, AttributeRequest, CheckRequest, CheckResponse, DeniedHttpResponse,
    HeaderValueOption, HttpRequest, HttpResponse, OkHttpResponse, Peer, SocketAddress, Timestamp,
};
use crate::proxy::http::body::Body;
use crate::proxy::http::{Inlet, grpc};

pub(super) const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Before each message of gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

#[derive(Debug)]
pub(super) enum Verdict {
    Allowed { request: Changes, response: Changes },
    Denied(Response<Body>),
}

/// The call's one message, as it is sent. `size` is that of the request's body, where it is known; `body` what is told of it.
pub(super) fn question(
    inlet: &Inlet,
    allowed: &[String],
    head: &Parts,
    size: Option<u64>,
    body: Bytes,
) -> Bytes {
    let text = |name: &HeaderName| {
        let value = head.headers.get(name).map(HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
    };
    let (body, raw_body) = match std::str::from_utf8(&body) {
        Ok(text) => (text.to_owned(), Bytes::new()),
        Err(_) => (String::new(), body),
    };
    let http = HttpRequest {
        id: text(&REQUEST_ID),
        method: head.method.to_string(),
        headers: told_by_call(allowed, &head.headers).into_iter().collect(),
        path: head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        host: text(&HOST),
        scheme: inlet.scheme().to_owned(),
        size: size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1),
        protocol: protocol(head.version).to_owned(),
        body,
        raw_body,
    };
    let request = AttributeRequest { time: Some(now()), http: Some(http) };
    let attributes = AttributeContext { source: Some(source(inlet)), request: Some(request) };
    framed(&CheckRequest { attributes: Some(attributes) })
}

fn source(inlet: &Inlet) -> Peer {
    let (address, port): (Option<IpAddr>, u16) = match inlet {
        Inlet::Service { pod, v6, .. } => (pod.address(*v6), 0),
        Inlet::Gateway { client, .. } => (Some(client.ip()), client.port()),
    };
    let socket_address =
        address.map(|address| SocketAddress { address: address.to_string(), port_value: port.into() });
    Peer {
        address: Some(Address { socket_address }),
        principal: inlet.identity().map(ToString::to_string).unwrap_or_default(),
    }
}

/// As Envoy names it.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        // Less than a thousand million.
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or(0),
    }
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    // A request's head and body are bounded far below what this holds.
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer grows, so that nothing can be missing.
    let _ = message.encode(&mut framed);
    framed.freeze()
}

/// Reads the answer; `Err` says what is wrong with it.
pub(super) async fn verdict(response: Response<Body>, max: usize) -> Result<Verdict, String> {
    let (head, mut body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("HTTP status {}", head.status.as_u16()));
    }
    let (mut data, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| error.to_string())?.into_data() {
            Ok(piece) if data.len() + piece.len() > max => {
                return Err(format!("it is longer than {max} bytes"));
            }
            Ok(piece) => data.extend_from_slice(&piece),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let status = |fields: &HeaderMap| fields.get(grpc::STATUS).cloned();
    match trailers.as_ref().and_then(status).or_else(|| status(&head.headers)) {
        Some(status) if status.as_bytes() == b"0" => {}
        Some(status) => return Err(format!("grpc-status {}", String::from_utf8_lossy(status.as_bytes()))),
        None => return Err("it has no grpc-status".into()),
    }
    let message = unframed(&data)?;
    read(CheckResponse::decode(message).map_err(|error| error.to_string())?)
}

/// The one message of an answer.
fn unframed(data: &[u8]) -> Result<&[u8], String> {
    match data.split_first_chunk::<PREFIX>() {
        Some(([0, length @ ..], message)) if u32::from_be_bytes(*length) as usize == message.len() => {
            Ok(message)
        }
        Some(([0, ..], _)) | None => Err("it is not one message".into()),
        Some(_) => Err("it is compressed, which nobody asked for".into()),
    }
}

/// Status OK alone lets the request go on. One that is not said counts as OK with what belongs to that only: an empty message
/// is no consent.
fn read(response: CheckResponse) -> Result<Verdict, String> {
    let code = response.status.map(|status| status.code);
    match (code, response.http_response) {
        (Some(0), None) => Ok(Verdict::Allowed { request: Changes::default(), response: Changes::default() }),
        (None | Some(0), Some(HttpResponse::Ok(ok))) => allowed(ok),
        (None, None) => Err("it says neither yes nor no".into()),
        (Some(0), Some(HttpResponse::Denied(_) | HttpResponse::Error(_))) => {
            Err("it says both yes and no".into())
        }
        (_, Some(HttpResponse::Denied(denied) | HttpResponse::Error(denied))) => {
            Ok(Verdict::Denied(answer(denied)?))
        }
        (Some(_), None | Some(HttpResponse::Ok(_))) => {
            Ok(Verdict::Denied(answer(DeniedHttpResponse::default())?))
        }
    }
}

fn allowed(ok: OkHttpResponse) -> Result<Verdict, String> {
    let mut request = Changes::default();
    for option in ok.headers {
        if let Some((name, change)) = change(option, Change::Set)? {
            request.push(name, change);
        }
    }
    for name in ok.headers_to_remove {
        if let Some(name) = header_name(&name)? {
            request.push(name, Change::Remove);
        }
    }
    let mut response = Changes::default();
    for option in ok.response_headers_to_add {
        if let Some((name, change)) = change(option, Change::Append)? {
            response.push(name, change);
        }
    }
    Ok(Verdict::Allowed { request, response })
}

fn answer(denied: DeniedHttpResponse) -> Result<Response<Body>, String> {
    let mut headers = Changes::default();
    for option in denied.headers {
        // Several of one name are several lines, as cookies are.
        if let Some((name, change)) = change(option, Change::Append)? {
            headers.push(name, change);
        }
    }
    let status = denied.status.and_then(|status| StatusCode::from_u16(u16::try_from(status.code).ok()?).ok());
    let mut answer = Response::new(Body::whole(denied.body));
    // What is interim is no answer.
    let status = status.filter(|status| !status.is_informational());
    *answer.status_mut() = status.unwrap_or(StatusCode::FORBIDDEN);
    headers.apply(answer.headers_mut());
    Ok(answer)
}

/// `usual` is what is done where the option does not say. `None` for what no server may change.
fn change(
    option: HeaderValueOption,
    usual: fn(HeaderValue) -> Change,
) -> Result<Option<(HeaderName, Change)>, String> {
    let header = option.header.unwrap_or_default();
    let Some(name) = header_name(&header.key)? else { return Ok(None) };
    let bytes = if header.raw_value.is_empty() { header.value.as_bytes() } else { &header.raw_value };
    let value = HeaderValue::from_bytes(bytes).map_err(|_| format!("the value of header {name} is none"))?;
    let change = match (option.append, option.append_action) {
        (Some(append), _) if append.value => Change::Append(value),
        (Some(_), _) => Change::Set(value),
        (None, 0) => usual(value),
        (None, 1) => Change::AddIfAbsent(value),
        (None, 2) => Change::Set(value),
        (None, 3) => Change::OverwriteIfPresent(value),
        (None, other) => return Err(format!("{other} is no append action")),
    };
    Ok(Some((name, change)))
}

/// `None` for pseudo headers, which are not changed.
fn header_name(key: &str) -> Result<Option<HeaderName>, String> {
    if key.starts_with(':') {
        return Ok(None);
    }
    HeaderName::try_from(key).map(Some).map_err(|_| format!("`{key}` is not the name of a header"))
}

#[cfg(test)]
mod tests {
    use super::super::ext_authz::{BoolValue, HeaderField, HttpStatus, Status};
    use super::*;

    fn option(key: &str, value: &str, append: Option<bool>, append_action: i32) -> HeaderValueOption {
        let header = HeaderField { key: key.into(), value: value.into(), raw_value: Bytes::new() };
        let append = append.map(|value| BoolValue { value });
        HeaderValueOption { header: Some(header), append, append_action }
    }

    #[test]
    fn check_lets_go_on_by_status_ok_alone() {
        let verdict = |code: Option<i32>, http_response: Option<HttpResponse>| {
            let status = code.map(|code| Status { code });
            match read(CheckResponse { status, http_response }) {
                Ok(Verdict::Allowed { .. }) => "allowed".to_owned(),
                Ok(Verdict::Denied(answer)) => answer.status().as_u16().to_string(),
                Err(problem) => problem,
            }
        };
        let ok = || Some(HttpResponse::Ok(OkHttpResponse::default()));
        let denied = |code: i32| {
            let status = Some(HttpStatus { code });
            Some(HttpResponse::Denied(DeniedHttpResponse { status, ..Default::default() }))
        };
        assert_eq!(verdict(Some(0), None), "allowed");
        assert_eq!(verdict(Some(0), ok()), "allowed");
        assert_eq!(verdict(None, ok()), "allowed");
        assert_eq!(verdict(None, None), "it says neither yes nor no");
        assert_eq!(verdict(Some(0), denied(401)), "it says both yes and no");
        assert_eq!(verdict(Some(16), denied(401)), "401");
        assert_eq!(verdict(None, denied(302)), "302");
        assert_eq!(verdict(Some(7), None), "403");
        assert_eq!(verdict(Some(7), ok()), "403");
        assert_eq!(verdict(Some(7), denied(0)), "403");
        assert_eq!(verdict(Some(7), denied(101)), "403");
    }

    #[test]
    fn check_changes_headers_as_the_answer_says() {
        let ok = OkHttpResponse {
            headers: vec![
                option("X-User", "jason", None, 0),
                option("x-group", "a", Some(true), 0),
                option(":authority", "evil", None, 0),
                option("host", "evil", None, 2),
            ],
            headers_to_remove: vec!["authorization".into(), ":path".into()],
            response_headers_to_add: vec![
                option("set-cookie", "a", None, 0),
                option("set-cookie", "b", None, 0),
            ],
        };
        let Ok(Verdict::Allowed { request, response }) = allowed(ok) else { panic!("refused") };
        let map = |lines: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in lines {
                map.append(*name, HeaderValue::from_static(value));
            }
            map
        };
        let mut headers =
            map(&[("x-user", "admin"), ("x-group", "b"), ("host", "a.example"), ("authorization", "secret")]);
        request.apply(&mut headers);
        assert_eq!(
            headers,
            map(&[("x-user", "jason"), ("x-group", "b"), ("x-group", "a"), ("host", "a.example")])
        );
        let mut headers = HeaderMap::new();
        response.apply(&mut headers);
        assert_eq!(headers, map(&[("set-cookie", "a"), ("set-cookie", "b")]));
        assert!(change(option("a b", "c", None, 0), Change::Set).is_err());
        assert!(change(option("a", "c\n", None, 0), Change::Set).is_err());
        assert!(change(option("a", "c", None, 9), Change::Set).is_err());
    }

    #[tokio::test]
    async fn check_reads_one_message_and_no_other() {
        let message = CheckResponse { status: Some(Status { code: 0 }), http_response: None };
        let good = framed(&message);
        let of = |status: &'static str, data: &[u8]| {
            let mut response = Response::new(Body::whole(data.to_vec()));
            response.headers_mut().insert(grpc::STATUS, HeaderValue::from_static(status));
            response
        };
        assert!(matches!(verdict(of("0", &good), 100).await, Ok(Verdict::Allowed { .. })));
        assert_eq!(verdict(of("13", &good), 100).await.unwrap_err(), "grpc-status 13");
        assert_eq!(verdict(of("0", &good), 3).await.unwrap_err(), "it is longer than 3 bytes");
        assert_eq!(verdict(of("0", &good[1..]), 100).await.unwrap_err(), "it is not one message");
        assert_eq!(verdict(of("0", b""), 100).await.unwrap_err(), "it is not one message");
        assert!(verdict(of("0", &[1, 0, 0, 0, 0]), 100).await.unwrap_err().starts_with("it is compressed"));
        assert!(verdict(of("0", &[0, 0, 0, 0, 1, 0xff]), 100).await.is_err());
    }
}
