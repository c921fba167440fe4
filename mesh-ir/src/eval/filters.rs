//! What the filters of a rule do to a request or a response, as values: the proxy applies them to its messages,
//! `weir explain` prints them.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::resource::{HeaderEdit, PathRewrite, Redirect};

/// Sets, adds and removes headers, in this order. A name or value that is none is passed over: the operator has
/// refused it already.
pub fn edit_headers(edit: &HeaderEdit, headers: &mut HeaderMap) {
    let parsed = |(name, value): &(String, String)| {
        Some((HeaderName::try_from(name.as_str()).ok()?, HeaderValue::try_from(value.as_str()).ok()?))
    };
    for (name, value) in edit.set.iter().filter_map(parsed) {
        headers.insert(name, value);
    }
    for (name, value) in edit.add.iter().filter_map(parsed) {
        headers.append(name, value);
    }
    for name in &edit.remove {
        headers.remove(name.as_str());
    }
}

/// The path after a rewrite; `prefix` is what the rule's prefix match took of it.
pub fn rewritten_path(rewrite: &PathRewrite, path: &str, prefix: Option<&str>) -> String {
    match rewrite {
        PathRewrite::ReplaceFullPath(full) => {
            if full.is_empty() {
                "/".to_owned()
            } else {
                full.clone()
            }
        }
        PathRewrite::ReplacePrefixMatch(replacement) => {
            let rest = path.strip_prefix(prefix.unwrap_or_default()).unwrap_or(path);
            let replacement = replacement.trim_end_matches('/');
            match (replacement, rest) {
                ("", "") => "/".to_owned(),
                (_, "") => replacement.to_owned(),
                _ if rest.starts_with('/') => format!("{replacement}{rest}"),
                _ => format!("{replacement}/{rest}"),
            }
        }
    }
}

/// Where a request came in, as far as a redirect needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    pub scheme: &'a str,
    pub host: &'a str,
    /// The port of the listener, or of the Service.
    pub port: u16,
    pub path: &'a str,
    pub query: Option<&'a str>,
    pub prefix: Option<&'a str>,
}

/// The Location of a redirect (HTTPRequestRedirectFilter): an unset port is the scheme's own when the scheme is
/// set, else the one that the request came in by; a port that the scheme implies is left out.
pub fn redirect_location(redirect: &Redirect, arrival: &Arrival<'_>) -> String {
    let scheme = redirect.scheme.as_deref().unwrap_or(arrival.scheme);
    let implied = match scheme {
        "https" => 443,
        _ => 80,
    };
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => port,
        (None, Some(_)) => implied,
        (None, None) => arrival.port,
    };
    let host = redirect.hostname.as_deref().unwrap_or(arrival.host);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = if port == implied { String::new() } else { format!(":{port}") };
    let path = match &redirect.path {
        Some(rewrite) => rewritten_path(rewrite, arrival.path, arrival.prefix),
        None => arrival.path.to_owned(),
    };
    let query = arrival.query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_rewrites_follow_the_table_of_httppathmodifier() {
        let check = |path: &str, prefix: &str, replacement: &str, expected: &str| {
            let rewrite = PathRewrite::ReplacePrefixMatch(replacement.to_owned());
            assert_eq!(rewritten_path(&rewrite, path, Some(prefix.trim_end_matches('/'))), expected);
        };
        check("/foo/bar", "/foo", "/xyz", "/xyz/bar");
        check("/foo/bar", "/foo", "/xyz/", "/xyz/bar");
        check("/foo/bar", "/foo/", "/xyz", "/xyz/bar");
        check("/foo", "/foo", "/xyz", "/xyz");
        check("/foo/", "/foo", "/xyz", "/xyz/");
        check("/foo/bar", "/foo", "", "/bar");
        check("/foo/", "/foo", "", "/");
        check("/foo", "/foo", "", "/");
        check("/foo/", "/foo", "/", "/");
        check("/foo", "/foo", "/", "/");
    }

    #[test]
    fn redirect_names_no_port_that_the_scheme_implies() {
        let arrival = Arrival {
            scheme: "http",
            host: "example.com",
            port: 8080,
            path: "/a",
            query: Some("b=c"),
            prefix: None,
        };
        let redirect = |scheme: Option<&str>, port| Redirect {
            scheme: scheme.map(str::to_owned),
            hostname: None,
            path: None,
            port,
            status: 302,
        };
        let check = |r: Redirect, expected: &str| assert_eq!(redirect_location(&r, &arrival), expected);
        check(redirect(None, None), "http://example.com:8080/a?b=c");
        check(redirect(Some("https"), None), "https://example.com/a?b=c");
        check(redirect(Some("https"), Some(8443)), "https://example.com:8443/a?b=c");
        check(redirect(None, Some(80)), "http://example.com/a?b=c");
    }
}
