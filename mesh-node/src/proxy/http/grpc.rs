//! gRPC, as far as a proxy must know it beside [`mesh_ir::grpc`]: how long a call may take, and how it is told that it
//! was refused. That is said in headers that are the trailers too, under HTTP's 200 (gRPC over HTTP2, "Trailers-Only").

use std::fmt::Write;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use mesh_ir::grpc::is_call;
use tokio::time::Instant;

use super::body::{Body, BodyError};
use crate::telemetry::Exchange;

pub(super) const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Of a timeout's number.
const MAX_DIGITS: usize = 8;

pub(super) const OK: u16 = 0;
const DEADLINE_EXCEEDED: u16 = 4;
const UNAVAILABLE: u16 = 14;

/// How a call ended.
#[derive(Debug)]
pub(super) struct Status {
    pub(super) code: u16,
    /// As its header has it.
    pub(super) message: String,
}

/// How a call ended, as its trailers say.
pub(super) fn status(trailers: &HeaderMap) -> Option<Status> {
    let text = |name: &HeaderName| trailers.get(name)?.to_str().ok();
    let code = text(&STATUS)?.parse().ok()?;
    Some(Status { code, message: text(&MESSAGE).unwrap_or_default().to_owned() })
}

/// How long a call may take, as its caller says; `None` where it says nothing that is a timeout.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT).filter(|_| is_call(headers))?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let valid = (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| valid)?;
    let timeout = match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    };
    // None at all is over at once, and not the absence of a limit.
    Some(timeout.max(Duration::from_nanos(1)))
}

/// Tells who is called how long there is still to answer; a limit of the route's counts as the caller's own.
pub(super) fn limit(headers: &mut HeaderMap, until: Option<Instant>) {
    let Some(until) = until.filter(|_| is_call(headers)) else { return };
    let left = until.saturating_duration_since(Instant::now());
    if let Ok(said) = HeaderValue::try_from(said(left)) {
        headers.insert(TIMEOUT, said);
    }
}

/// In the finest unit that holds it, so far as the header can say it at all.
fn said(left: Duration) -> String {
    const MOST: u128 = 10_u128.pow(MAX_DIGITS as u32) - 1;
    match (left.as_micros(), left.as_millis(), u128::from(left.as_secs())) {
        (micros, ..) if micros <= MOST => format!("{micros}u"),
        (_, millis, _) if millis <= MOST => format!("{millis}m"),
        (.., seconds) => format!("{}S", seconds.min(MOST)),
    }
}

/// The trailers of a call whose answer broke off.
pub(super) fn broken_off(error: &BodyError) -> HeaderMap {
    let code = match error {
        BodyError::Timeout => DEADLINE_EXCEEDED,
        _ => UNAVAILABLE,
    };
    let message = HeaderValue::try_from(encoded(&error.to_string())).ok();
    let status = (STATUS, HeaderValue::from(code));
    HeaderMap::from_iter([status].into_iter().chain(message.map(|message| (MESSAGE, message))))
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
    const PERMISSION_DENIED: u16 = 7;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
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
    fn grpc_timeouts_are_read() {
        let check = |text: &'static str, expected: Option<Duration>| {
            let kind = (CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            let mut headers = HeaderMap::from_iter([kind, (TIMEOUT, HeaderValue::from_static(text))]);
            assert_eq!(timeout(&headers), expected, "{text}");
            headers.remove(CONTENT_TYPE);
            assert_eq!(timeout(&headers), None);
        };
        check("2H", Some(Duration::from_secs(7200)));
        check("3M", Some(Duration::from_secs(180)));
        check("99999999S", Some(Duration::from_secs(99_999_999)));
        check("250m", Some(Duration::from_millis(250)));
        check("7u", Some(Duration::from_micros(7)));
        check("8n", Some(Duration::from_nanos(8)));
        check("0S", Some(Duration::from_nanos(1)));
        for text in ["", "S", "5", "5s", "+5S", "-1S", "123456789m", "5 S"] {
            check(text, None);
        }
    }

    #[test]
    fn grpc_timeouts_go_on_as_what_is_left() {
        assert_eq!(said(Duration::from_millis(1500)), "1500000u");
        assert_eq!(said(Duration::from_secs(100)), "100000m");
        assert_eq!(said(Duration::from_secs(200_000)), "200000S");
        assert_eq!(said(Duration::ZERO), "0u");
        assert_eq!(said(Duration::MAX), "99999999S");
        let until = Some(Instant::now() + Duration::from_secs(9));
        let mut headers = HeaderMap::from_iter([(TIMEOUT, HeaderValue::from_static("7H"))]);
        super::limit(&mut headers, until);
        assert_eq!(headers[TIMEOUT], "7H");
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        super::limit(&mut headers, None);
        assert_eq!(headers[TIMEOUT], "7H");
        super::limit(&mut headers, until);
        assert!(timeout(&headers).unwrap() <= Duration::from_secs(9));
    }

    #[test]
    fn grpc_messages_are_printable() {
        assert_eq!(encoded("50 % of \u{e4}\n"), "50 %25 of %C3%A4%0A");
    }
}
