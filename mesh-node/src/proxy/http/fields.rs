//! Header fields: whom a request is for, and what must not pass a proxy.

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::{Request, Uri, Version};
use mesh_ir::eval::host_of;

const HOP_BY_HOP: [HeaderName; 3] = [CONNECTION, TRANSFER_ENCODING, UPGRADE];
const HOP_BY_HOP_UNREGISTERED: [&str; 2] = ["keep-alive", "proxy-connection"];

/// The host asked for, as routes compare it; what is wrong where there is none or more than one (RFC 9112 §3.2).
pub(super) fn host<B>(request: &Request<B>) -> Result<String, &'static str> {
    let mut fields = request.headers().get_all(HOST).iter();
    let (first, second) = (fields.next(), fields.next());
    if second.is_some() {
        return Err("the request has more than one Host header");
    }
    if let Some(authority) = request.uri().authority() {
        return Ok(host_of(authority.as_str()));
    }
    match first {
        Some(value) => {
            let text = value.to_str().map_err(|_| "the Host header is not text")?;
            let valid = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'@' | b'?' | b'#'));
            if valid { Ok(host_of(text)) } else { Err("the Host header is not a host") }
        }
        None if request.version() == Version::HTTP_10 => Ok(String::new()),
        None => Err("the request has no Host header"),
    }
}

/// The Host header as the client gave it, or made from the request's authority.
pub(super) fn set_host(headers: &mut HeaderMap, name: HeaderName, host: &str, uri: &Uri) {
    if let Some(authority) = uri.authority().and_then(|a| HeaderValue::try_from(a.as_str()).ok()) {
        headers.insert(name, authority);
    } else if !headers.contains_key(&name)
        && let Ok(value) = HeaderValue::try_from(host)
    {
        headers.insert(name, value);
    }
}

/// Takes away what is between two neighbours only (RFC 9110 §7.6.1).
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none.
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP_UNREGISTERED {
        headers.remove(name);
    }
    // Of TE only `trailers` has a meaning beyond the next hop.
    let trailers = headers.get(TE).is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    if !trailers {
        headers.remove(TE);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == TE || HOP_BY_HOP.contains(name) || HOP_BY_HOP_UNREGISTERED.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_named_by_connection_do_not_pass() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("connection", "close, X-Secret"), ("x-secret", "1"), ("te", "gzip"), ("x-kept", "1")]
        {
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_static(value));
        }
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
    }

    #[test]
    fn fields_host_is_one_and_a_host() {
        let request = |hosts: &[&str], uri: &str| {
            let mut request = Request::get(uri);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            host(&request.body(()).unwrap())
        };
        assert_eq!(request(&["Reviews:9080"], "/"), Ok("reviews".into()));
        assert_eq!(request(&["a"], "http://b.example/x"), Ok("b.example".into()));
        assert!(request(&["a", "b"], "/").is_err());
        assert!(request(&[], "/").is_err());
        assert!(request(&["a/b"], "/").is_err());
    }
}
