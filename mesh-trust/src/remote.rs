//! Where another program of the mesh is: `HOST:PORT`, as a flag says it and as it is dialled. A name is resolved anew for
//! each attempt to connect, because the addresses behind it change while programs run.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;

/// How long the system's resolver may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(2);

/// No name of a program has more addresses; the rest would not get their turn within a connection's time.
const MAX_ADDRESSES: usize = 16;

/// RFC 1035, 2.3.4, without the root's dot.
const MAX_NAME: usize = 253;

/// Where a program is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Remote {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Ip(IpAddr),
    Name(Arc<str>),
}

/// The text is no `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    #[error(
        "`{0}` names no port; write HOST:PORT, where HOST is a name, an IPv4 address or [an IPv6 address]"
    )]
    NoPort(String),
    #[error("`{port}` in `{text}` is no port; it must be a number from 1 to 65535")]
    BadPort { text: String, port: String },
    #[error(
        "`{host}` in `{text}` is neither a DNS name nor an IP address; an IPv6 address stands in brackets"
    )]
    BadHost { text: String, host: String },
}

impl Remote {
    /// Its addresses now, at least one.
    pub(crate) async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let name = match &self.host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(name) => name,
        };
        let found = tokio::time::timeout(RESOLVE_TIMEOUT, lookup_host((&**name, self.port)));
        let found = found.await.map_err(|_| {
            let text = format!("the resolver did not answer within {} s", RESOLVE_TIMEOUT.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, text)
        })??;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found.take(MAX_ADDRESSES) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        match addresses.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
            false => Ok(addresses),
        }
    }
}

impl FromStr for Remote {
    type Err = RemoteError;

    fn from_str(text: &str) -> Result<Self, RemoteError> {
        let (host, port) = match text.rsplit_once(':') {
            // Colons before the last one are an IPv6 address's: outside of brackets nothing says where it ends.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
            Some((host, _)) if host.starts_with('[') => return Err(RemoteError::NoPort(text.into())),
            Some(_) => return Err(RemoteError::BadHost { text: text.into(), host: text.into() }),
            None => return Err(RemoteError::NoPort(text.into())),
        };
        let number = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok()).flatten();
        let Some(port) = number.filter(|port| *port != 0) else {
            return Err(RemoteError::BadPort { text: text.into(), port: port.into() });
        };
        let bad_host = || RemoteError::BadHost { text: text.into(), host: host.into() };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => Host::Ip(IpAddr::V6(inner.parse().map_err(|_| bad_host())?)),
            None => match host.parse() {
                Ok(ip) => Host::Ip(IpAddr::V4(ip)),
                Err(_) if is_name(host) => Host::Name(host.into()),
                Err(_) => return Err(bad_host()),
            },
        };
        Ok(Self { host, port })
    }
}

impl From<SocketAddr> for Remote {
    fn from(address: SocketAddr) -> Self {
        Self { host: Host::Ip(address.ip()), port: address.port() }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => write!(f, "{}", SocketAddr::new(*ip, self.port)),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

fn is_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A name whose last label is a number is a mistyped IPv4 address: no top-level domain is one.
    let last_is_number =
        || name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    name.len() <= MAX_NAME && name.split('.').all(is_label) && !last_is_number()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_reads_names_and_addresses_and_shows_them_as_they_were() {
        for text in
            ["mesh-operator.weir-system.svc:15010", "ca:1", "10.0.0.1:65535", "[fd00::1]:80", "a.b.:8"]
        {
            assert_eq!(text.parse::<Remote>().unwrap().to_string(), text);
        }
        let address: SocketAddr = "[::1]:5".parse().unwrap();
        assert_eq!(Remote::from(address), "[::1]:5".parse().unwrap());
    }

    #[test]
    fn remote_says_what_is_wrong() {
        let check = |text: &str, words: &str| {
            let shown = text.parse::<Remote>().unwrap_err().to_string();
            assert!(shown.contains(words) && shown.contains(text), "{text}: {shown}");
        };
        check("mesh-operator", "names no port");
        check("[::1]", "names no port");
        check("", "names no port");
        check("host:", "`` in `host:` is no port");
        check("host:0", "from 1 to 65535");
        check("host:65536", "from 1 to 65535");
        check("host:+80", "is no port");
        check("host:http", "is no port");
        check("::1:80", "stands in brackets");
        check("[1.2.3.4]:80", "neither a DNS name nor an IP address");
        check(":80", "neither a DNS name nor an IP address");
        check("10.0.0.256:80", "neither a DNS name nor an IP address");
        check("http://host:80", "brackets");
        check("a..b:80", "neither a DNS name nor an IP address");
        check("-a:80", "neither a DNS name nor an IP address");
    }

    #[tokio::test]
    async fn remote_is_resolved_by_the_system() {
        let addresses = "localhost:7".parse::<Remote>().unwrap().addresses().await.unwrap();
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 7));
        let error = "nothing.invalid:7".parse::<Remote>().unwrap().addresses().await.unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}
