//! Header fields: whom a request is for, and what must not pass a proxy.

use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{PathAndQuery, Uri};
use http::{Request, Version};
use mesh_ir::eval::host_of;
use mesh_ir::name::ObjectName;
use mesh_ir::resource::Service;
use mesh_ir::view::MeshView;

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

/// The host of requests that this proxy makes itself: what an XBackend calls its host outside of the cluster, or else as a Service
/// is called in the cluster.
pub(super) fn own_host(view: &MeshView, service: &ObjectName, port: u16) -> Option<HeaderValue> {
    let outside = view.service_port(service, port).and_then(|port| port.external_hostname.as_ref());
    let host = match (outside, Service::backend_of(service)) {
        (Some(hostname), _) => format!("{hostname}:{port}"),
        (None, Some(backend)) => format!("{}.{}:{port}", backend.name, backend.namespace),
        (None, None) => format!("{}.{}:{port}", service.name, service.namespace),
    };
    HeaderValue::try_from(host).ok()
}

/// Says the host in its header alone. Where the target names one, the header does not count, whatever it says
/// (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
pub(super) fn host_into_header(head: &mut Parts) {
    let Some(authority) = head.uri.authority() else { return };
    match HeaderValue::try_from(authority.as_str()) {
        Ok(host) => head.headers.insert(HOST, host),
        Err(_) => head.headers.remove(HOST),
    };
    let path = head.uri.path_and_query().cloned();
    head.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
}

/// Gives a request, whose host is in its header alone, the form of the version that goes out: HTTP/2 names the host with
/// the target.
pub(super) fn in_version(head: &mut Parts, version: Version) {
    head.version = version;
    if version != Version::HTTP_2 {
        // In HTTP/1.1 the field is for the next hop, and says so (RFC 9110 §10.1.4).
        if head.headers.contains_key(TE) {
            head.headers.append(CONNECTION, HeaderValue::from_static("te"));
        }
        return;
    }
    let host = head.headers.remove(HOST);
    let host = host.as_ref().and_then(|host| host.to_str().ok());
    let path = head.uri.path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let uri = Uri::builder().scheme("http").authority(host.unwrap_or("localhost"));
    if let Ok(uri) = uri.path_and_query(path).build() {
        head.uri = uri;
    }
}

/// Takes away what is between two neighbours only (RFC 9110 §7.6.1).
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none.
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    let trailers = accepts_trailers(headers);
    let named: Vec<HeaderName> =
        items(headers, &CONNECTION).filter_map(|name| HeaderName::try_from(name).ok()).collect();
    // Who would have the host taken away takes a request elsewhere.
    for name in named.iter().filter(|name| **name != HOST).chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP_UNREGISTERED {
        headers.remove(name);
    }
    // Of TE only `trailers` has a meaning beyond the next hop: trailers are passed on.
    headers.remove(TE);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Whether a request says that its client takes trailers (RFC 9110 §10.1.4).
pub(super) fn accepts_trailers(headers: &HeaderMap) -> bool {
    items(headers, &TE).any(|coding| coding.eq_ignore_ascii_case("trailers"))
}

/// The items of a field that is a list, over all lines that it stands in.
pub(super) fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lists = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim)
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == TE || HOP_BY_HOP.contains(name) || HOP_BY_HOP_UNREGISTERED.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh_ir::config::Delta;

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
        let mut headers = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("Host"))]);
        headers.insert(HOST, HeaderValue::from_static("a.example"));
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), [HOST]);
    }

    #[test]
    fn fields_of_te_only_trailers_pass() {
        let check = |te: &'static str, passed: Option<&str>| {
            let mut headers = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("TE"))]);
            headers.insert(TE, HeaderValue::from_static(te));
            strip_hop_by_hop(&mut headers);
            assert_eq!(headers.get(TE).map(|te| te.to_str().unwrap()), passed, "{te}");
        };
        check("trailers", Some("trailers"));
        check("deflate;q=0.5, Trailers", Some("trailers"));
        check("gzip", None);
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

    #[test]
    fn fields_host_of_a_client_goes_out_in_either_version() {
        let check = |version, target: &str, host: Option<&str>| {
            // As HTTP/2 says it, with a Host beside it that differs.
            let request = Request::get("http://a.example/b?c").header(HOST, "other.example");
            let (mut head, ()) = request.body(()).unwrap().into_parts();
            host_into_header(&mut head);
            in_version(&mut head, version);
            assert_eq!((head.uri.to_string().as_str(), head.version), (target, version));
            let said = head.headers.get(HOST).map(|host| host.to_str().unwrap());
            assert_eq!(said, host);
        };
        check(Version::HTTP_11, "/b?c", Some("a.example"));
        check(Version::HTTP_2, "http://a.example/b?c", None);
    }

    #[test]
    fn fields_host_of_own_requests_is_a_name_that_their_server_has() {
        let service = |name: &str, hostname: Option<&str>| {
            let value = serde_json::json!({
                "kind": "Service", "name": name, "addresses": [], "externalHostname": hostname,
                "ports": [{"port": 4317, "protocol": "Http2"}],
            });
            Arc::new(serde_json::from_value(value).unwrap())
        };
        let upserts = vec![
            service("shop/spans", None),
            service("shop/XBackend:spans", None),
            service("shop/XBackend:outside", Some("otlp.example")),
        ];
        let view = MeshView::default().apply(&Delta { upserts, removes: Vec::new() });
        let host = |name: &str| own_host(&view, &name.parse().unwrap(), 4317).unwrap();
        for (name, expected) in [
            ("shop/spans", "spans.shop:4317"),
            ("shop/XBackend:spans", "spans.shop:4317"),
            ("shop/XBackend:outside", "otlp.example:4317"),
        ] {
            assert_eq!(host(name), expected);
            assert!(
                Uri::builder()
                    .scheme("http")
                    .authority(host(name).as_bytes())
                    .path_and_query("/")
                    .build()
                    .is_ok()
            );
        }
    }

    #[test]
    fn fields_host_of_the_target_wins_over_the_header() {
        let said = |target: &str, hosts: &[&str]| {
            let mut request = Request::get(target);
            for host in hosts {
                request = request.header(HOST, *host);
            }
            let (mut head, ()) = request.body(()).unwrap().into_parts();
            host_into_header(&mut head);
            let hosts: Vec<_> = head.headers.get_all(HOST).iter().collect();
            assert!(hosts.len() < 2, "{hosts:?}");
            (head.uri.to_string(), hosts.first().map(|host| host.to_str().unwrap().to_owned()))
        };
        let with = |uri: &str, host: &str| (uri.to_owned(), Some(host.to_owned()));
        assert_eq!(said("/a?b", &["c:80"]), with("/a?b", "c:80"));
        assert_eq!(said("http://a.example:8080/b?c", &["d"]), with("/b?c", "a.example:8080"));
        assert_eq!(said("http://a.example", &[]), with("/", "a.example"));
        assert_eq!(said("/a", &[]), ("/a".to_owned(), None));
    }
}
