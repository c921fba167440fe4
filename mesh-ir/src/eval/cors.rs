//! Which scripts of other origins may use a response, as the CORS filter of a rule says it (HTTPCORSFilter; the protocol is
//! that of the Fetch standard): what a preflight is answered, and what is added to the response of the request itself.

use http::Method;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, VARY,
};

use crate::resource::Cors;
use crate::view::RequestHead;

/// No Content: the answer is in the headers.
pub const PREFLIGHT_STATUS: u16 = 204;

/// What a browser sends before a request that could do harm, to ask whether it may.
pub fn is_preflight(request: &RequestHead<'_>) -> bool {
    *request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The headers of a preflight's answer. For an origin that is not allowed they allow nothing, and its browser gives up.
pub fn preflight(cors: &Cors, request: &HeaderMap) -> HeaderMap {
    let mut answer = HeaderMap::new();
    share(cors, request.get(ORIGIN), &mut answer);
    if allows(cors, request.get(ORIGIN)) {
        let asked = |name: HeaderName| request.get(name).cloned();
        let methods = allowed(cors, &cors.allow_methods, || asked(ACCESS_CONTROL_REQUEST_METHOD));
        let headers = allowed(cors, &cors.allow_headers, || asked(ACCESS_CONTROL_REQUEST_HEADERS));
        answer.extend(methods.map(|methods| (ACCESS_CONTROL_ALLOW_METHODS, methods)));
        answer.extend(headers.map(|headers| (ACCESS_CONTROL_ALLOW_HEADERS, headers)));
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age));
    }
    answer
}

/// Says in a response to a request of this origin whether its scripts may read it. The filter alone decides: what a backend
/// says of origins is replaced.
pub fn share(cors: &Cors, origin: Option<&HeaderValue>, response: &mut HeaderMap) {
    for name in [ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_EXPOSE_HEADERS]
    {
        response.remove(name);
    }
    let same_for_all = is_any(&cors.allow_origins) && !cors.allow_credentials;
    if !same_for_all {
        // Also where nothing is allowed: a cache must not give this response to an origin that may read it.
        response.append(VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = origin.filter(|origin| allows(cors, Some(origin))) else { return };
    let named = if same_for_all { HeaderValue::from_static("*") } else { origin.clone() };
    response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, named);
    if cors.allow_credentials {
        response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    // With credentials `*` would be the name of a header, and there is nothing else to say.
    let exposed = allowed(cors, &cors.expose_headers, || None);
    response.extend(exposed.map(|exposed| (ACCESS_CONTROL_EXPOSE_HEADERS, exposed)));
}

/// Whether scripts of this origin may use the response.
pub fn allows(cors: &Cors, origin: Option<&HeaderValue>) -> bool {
    let Some(origin) = origin.and_then(|origin| origin.to_str().ok()) else { return false };
    let parsed = Origin::parse(origin);
    cors.allow_origins.iter().any(|pattern| {
        // Among all origins is that of a sandboxed document, `null`, which has no parts.
        pattern == "*"
            || Origin::parse(pattern)
                .zip(parsed.as_ref())
                .is_some_and(|(pattern, origin)| pattern.covers(origin))
    })
}

/// Whether this is an origin that `allowOrigins` can hold.
pub fn is_origin_pattern(text: &str) -> bool {
    text == "*" || Origin::parse(text).is_some_and(|origin| matches!(origin.scheme, "http" | "https"))
}

/// A list as its header has it. With credentials the wildcard has no meaning to browsers: what was asked for is said instead.
fn allowed(cors: &Cors, list: &[String], asked: impl FnOnce() -> Option<HeaderValue>) -> Option<HeaderValue> {
    if list.is_empty() {
        return None;
    }
    if !is_any(list) {
        return HeaderValue::try_from(list.join(", ")).ok();
    }
    if cors.allow_credentials { asked() } else { Some(HeaderValue::from_static("*")) }
}

fn is_any(list: &[String]) -> bool {
    list.iter().any(|text| text == "*")
}

#[derive(Debug)]
struct Origin<'a> {
    scheme: &'a str,
    host: &'a str,
    port: u16,
}

impl<'a> Origin<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let has_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if has_port(port) => (host, Some(port.parse().ok()?)),
            _ => (authority, None),
        };
        let implied = if scheme == "https" { 443 } else { 80 };
        (!host.is_empty()).then_some(Self { scheme, host, port: port.unwrap_or(implied) })
    }

    /// Whether an origin is one of those that this one, a pattern, stands for.
    fn covers(&self, origin: &Origin<'_>) -> bool {
        let host = match self.host.strip_prefix('*') {
            Some(suffix) => {
                let split = origin.host.len().checked_sub(suffix.len());
                // A wildcard stands for at least one character, and for any number of labels.
                split.is_some_and(|at| {
                    at > 0 && origin.host.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
                })
            }
            None => self.host.eq_ignore_ascii_case(origin.host),
        };
        host && self.scheme == origin.scheme && self.port == origin.port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str], credentials: bool) -> Cors {
        let list = |items: &[&str]| items.iter().map(ToString::to_string).collect();
        Cors {
            allow_origins: list(origins),
            allow_credentials: credentials,
            allow_methods: list(&["*"]),
            allow_headers: list(&["x-one", "x-two"]),
            expose_headers: list(&["*"]),
            max_age: 5,
        }
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn cors_origins_are_compared_by_scheme_host_and_port() {
        let check = |pattern: &str, origin: &str, expected: bool| {
            let origin = HeaderValue::from_str(origin).unwrap();
            assert_eq!(allows(&cors(&[pattern], false), Some(&origin)), expected, "{pattern} and {origin:?}");
        };
        check("https://www.foo.com", "https://www.foo.com", true);
        check("https://www.foo.com", "https://WWW.foo.com:443", true);
        check("https://www.foo.com", "http://www.foo.com", false);
        check("https://www.foo.com", "https://www.foo.com:8443", false);
        check("http://www.foo.com:8080", "http://www.foo.com:8080", true);
        check("https://*.bar.com", "https://www.bar.com", true);
        check("https://*.bar.com", "https://a.b.bar.com", true);
        check("https://*.bar.com", "https://bar.com", false);
        check("https://*.bar.com", "https://foobar.com", false);
        check("https://*.bar.com", "https://www.bar.com.evil.org", false);
        check("https://*", "https://anything.example", true);
        check("https://*", "https://anything.example:8443", false);
        check("http://*", "http://[::1]", true);
        check("*", "null", true);
        check("https://*", "null", false);
        check("https://www.foo.com", "https://", false);
    }

    #[test]
    fn cors_wildcards_are_said_without_credentials_and_echoed_with_them() {
        let request = headers(&[
            ("origin", "https://a.example"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "x-one"),
        ]);
        let expected = [
            ("access-control-allow-origin", "*"),
            ("access-control-expose-headers", "*"),
            ("access-control-allow-methods", "*"),
            ("access-control-allow-headers", "x-one, x-two"),
            ("access-control-max-age", "5"),
        ];
        assert_eq!(preflight(&cors(&["*"], false), &request), headers(&expected));
        let expected = [
            ("vary", "Origin"),
            ("access-control-allow-origin", "https://a.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", "PUT"),
            ("access-control-allow-headers", "x-one, x-two"),
            ("access-control-max-age", "5"),
        ];
        assert_eq!(preflight(&cors(&["*"], true), &request), headers(&expected));
        let refused = preflight(&cors(&["https://b.example"], true), &request);
        assert_eq!(refused, headers(&[("vary", "Origin")]));
    }

    #[test]
    fn cors_of_the_rule_replaces_the_backends() {
        let of_the_backend = [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("vary", "Accept"),
        ];
        let mut response = headers(&of_the_backend);
        let origin = HeaderValue::from_static("https://a.example");
        share(&cors(&["https://b.example"], false), Some(&origin), &mut response);
        assert_eq!(response, headers(&[("vary", "Accept"), ("vary", "Origin")]));
        share(&cors(&["*"], false), Some(&origin), &mut response);
        assert_eq!(response[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }
}
