//! What of gRPC decides about a request.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Whether a request is a call: its content type is `application/grpc`, which a format or parameters may follow.
pub fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.as_bytes().strip_prefix(b"application/grpc"));
    kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

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
}
