//! What is asked: the client, and its request.

use std::net::IpAddr;

use anyhow::{Context, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use mesh_ir::eval::host_of;
use mesh_ir::resource::Transport;
use mesh_ir::view::RequestHead;

#[derive(Debug)]
pub(super) struct Question {
    pub(super) from: From,
    /// As it was given.
    pub(super) url: String,
    pub(super) spoken: Spoken,
    /// The client begins TLS.
    pub(super) tls: bool,
    /// Of the URL, in lower case, a trailing dot kept.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// The headers as they were given.
    pub(super) given: Vec<(String, String)>,
    uri: Uri,
    /// The host that the request names, which a Host header may set apart from the URL's.
    pub(super) asked_host: String,
}

/// What the client sends, in TLS or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    Http,
    /// Bytes of something else.
    Bytes,
    Datagrams,
}

#[derive(Debug, PartialEq)]
pub(super) enum From {
    Outside,
    Pod { namespace: String, name: String },
    Deployment { namespace: String, name: String },
}

impl Question {
    pub(super) fn parse(from: &str, url: &str, method: &str, headers: &[String]) -> anyhow::Result<Self> {
        let whole = url.split('#').next().unwrap_or_default();
        let uri: Uri = whole.parse().with_context(|| format!("{url:?} is not a URL"))?;
        let example = "write it as the client does, like http://reviews:9080/path";
        let (spoken, tls) = match uri.scheme_str() {
            Some("http") => (Spoken::Http, false),
            Some("https") => (Spoken::Http, true),
            Some("tcp") => (Spoken::Bytes, false),
            Some("tls") => (Spoken::Bytes, true),
            Some("udp") => (Spoken::Datagrams, false),
            Some(other) => {
                bail!("{url:?}: the scheme is {other}; http, https, tcp, tls and udp can be explained")
            }
            None => bail!("{url:?} has no scheme: {example}"),
        };
        let authority = uri.authority().with_context(|| format!("{url:?} names no host: {example}"))?;
        let after_user = authority.as_str().rsplit('@').next().unwrap_or_default();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_ascii_lowercase();
        let number = after_user
            .strip_prefix('[')
            .map_or(after_user, |v6| v6.split_once(']').map_or("", |(_, rest)| rest));
        let port = match (uri.port_u16(), number.rsplit_once(':')) {
            (Some(0), _) => bail!("{url:?}: 0 is no port"),
            (Some(port), _) => port,
            (None, Some((_, text))) if !text.is_empty() => {
                bail!("{url:?}: {text} is no port; ports are numbers from 1 to 65535")
            }
            (None, _) => match (spoken, tls) {
                (_, true) => 443,
                (Spoken::Http, false) => 80,
                (Spoken::Bytes | Spoken::Datagrams, false) => {
                    bail!("{url:?} names no port, and its scheme has none of its own")
                }
            },
        };
        if host.is_empty() {
            bail!("{url:?} names no host: {example}");
        }
        let given = headers.iter().map(|text| header(text)).collect::<anyhow::Result<Vec<_>>>()?;
        let mut map = HeaderMap::new();
        for (name, value) in &given {
            let wrong = || format!("-H {name}:{value}: no HTTP header can be called or hold that");
            map.append(
                HeaderName::try_from(name.as_str()).with_context(wrong)?,
                HeaderValue::try_from(value.as_str()).with_context(wrong)?,
            );
        }
        if !map.contains_key(http::header::HOST) {
            map.insert(http::header::HOST, HeaderValue::try_from(after_user)?);
        }
        let named = map.get(http::header::HOST).and_then(|value| value.to_str().ok()).unwrap_or(after_user);
        Ok(Self {
            from: From::parse(from)?,
            url: url.to_owned(),
            spoken,
            tls,
            port,
            method: method.parse().with_context(|| format!("-X {method}: not an HTTP method"))?,
            asked_host: host_of(named),
            headers: map,
            given,
            host,
            uri,
        })
    }

    pub(super) fn head(&self) -> RequestHead<'_> {
        RequestHead {
            method: &self.method,
            path: self.uri.path(),
            query: self.uri.query(),
            host: &self.asked_host,
            headers: &self.headers,
        }
    }

    pub(super) fn transport(&self) -> Transport {
        match self.spoken {
            Spoken::Http | Spoken::Bytes => Transport::Tcp,
            Spoken::Datagrams => Transport::Udp,
        }
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl From {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        Ok(match parts.as_slice() {
            ["outside"] => Self::Outside,
            [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
                Self::Pod { namespace: (*namespace).into(), name: (*name).into() }
            }
            [namespace, "deploy" | "deployment", name] if !namespace.is_empty() && !name.is_empty() => {
                Self::Deployment { namespace: (*namespace).into(), name: (*name).into() }
            }
            _ => bail!("--from {text}: write NS/POD, NS/deploy/NAME, or outside"),
        })
    }
}

fn header(text: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = text.split_once(':').with_context(|| format!("-H {text:?}: write NAME:VALUE"))?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> anyhow::Result<Question> {
        Question::parse("shop/web-1", url, "GET", &[])
    }

    #[test]
    fn question_reads_urls_as_clients_write_them() {
        for (url, host, port, tls) in [
            ("http://reviews:9080/a?b=c#d", "reviews", 9080, false),
            ("http://Reviews.Shop", "reviews.shop", 80, false),
            ("https://[fd77::1]/", "fd77::1", 443, true),
            ("http://[fd77::1]:81/", "fd77::1", 81, false),
            ("http://user@10.0.0.1:8080", "10.0.0.1", 8080, false),
        ] {
            let question = parse(url).unwrap();
            assert_eq!((question.host.as_str(), question.port, question.tls), (host, port, tls), "{url}");
        }
        assert_eq!(parse("http://reviews:9080").unwrap().head().path, "/");
        for (url, spoken, tls, port) in [
            ("tcp://db:5432", Spoken::Bytes, false, 5432),
            ("tls://db.example", Spoken::Bytes, true, 443),
            ("udp://192.0.2.1:53", Spoken::Datagrams, false, 53),
        ] {
            let question = parse(url).unwrap();
            assert_eq!((question.spoken, question.tls, question.port), (spoken, tls, port), "{url}");
        }
    }

    #[test]
    fn question_says_what_is_wrong_with_its_parts() {
        let wrong = |url: &str| parse(url).unwrap_err().to_string();
        assert!(wrong("reviews").contains("has no scheme"), "{}", wrong("reviews"));
        assert!(wrong("ftp://reviews").contains("the scheme is ftp"));
        assert!(wrong("udp://dns").contains("names no port"));
        assert!(
            wrong("http://reviews:99999/").contains("99999 is no port"),
            "{}",
            wrong("http://reviews:99999/")
        );
        assert!(wrong("http://a b/").contains("is not a URL"));
        let with = |from: &str, method: &str, header: &str| {
            Question::parse(from, "http://a", method, &[header.to_owned()]).unwrap_err().to_string()
        };
        assert!(with("web", "GET", "a:b").contains("--from web: write NS/POD"));
        assert!(with("a/b", "G T", "a:b").contains("-X G T"));
        assert!(with("a/b", "GET", "ab").contains("write NAME:VALUE"));
        assert!(with("a/b", "GET", "a b:c").contains("-H a b:c"));
    }

    #[test]
    fn question_takes_the_host_of_a_host_header() {
        let headers = ["Host: Shop.example:80".to_owned(), "X: 1".to_owned()];
        let question = Question::parse("outside", "http://192.0.2.1/", "GET", &headers).unwrap();
        assert_eq!((question.asked_host.as_str(), question.from), ("shop.example", From::Outside));
    }
}
