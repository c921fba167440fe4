//! gRPC, as far as a proxy must know it: which requests are calls, and how a call is told that it was refused. That is said in
//! headers that are the trailers too, under HTTP's 200 (gRPC over HTTP2, "Trailers-Only").

use std::fmt::Write;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::body::Body;
use crate::telemetry::Exchange;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a request is a call: its content type is `application/grpc`, which a format or parameters may follow.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The answer to a call that another request would be given with this status.
pub(super) fn refusal(status: StatusCode, reason: &str, mut exchange: Exchange) -> Response<Body> {
    exchange.answered(StatusCode::OK, Some(reason));
    let mut body = Body::whole("");
    body.held().exchange = Some(exchange);
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(STATUS, HeaderValue::from(code(status)));
    // It holds nothing that a header may not hold.
    headers.extend(HeaderValue::try_from(encoded(reason)).ok().map(|message| (MESSAGE, message)));
    response
}

/// The code that gRPC gives to HTTP's statuses (its "HTTP to gRPC Status Code Mapping"), except that a timeout of ours is the
/// deadline's, and that an error of the configuration is not the caller's to interpret.
fn code(status: StatusCode) -> u16 {
    const UNKNOWN: u16 = 2;
    const DEADLINE_EXCEEDED: u16 = 4;
    const PERMISSION_DENIED: u16 = 7;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match status.as_u16() {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        421 | 429 | 500 | 502 | 503 => UNAVAILABLE,
        504 => DEADLINE_EXCEEDED,
        _ => UNKNOWN,
    }
}

/// A message as its header has it: what is not printable ASCII, and the percent sign, by percent and hexadecimal digits.
fn encoded(message: &str) -> String {
    let mut text = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            text.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_calls_are_told_by_their_content_type() {
        let check = |kind: &'static str, expected: bool| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_call(&headers), expected, "{kind}");
        };
        check("application/grpc", true);
        check("application/grpc+proto", true);
        check("application/grpc;charset=utf-8", true);
        check("application/grpc-web", false);
        check("application/json", false);
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn grpc_messages_are_printable() {
        assert_eq!(encoded("50 % of \u{e4}\n"), "50 %25 of %C3%A4%0A");
    }
}
