//! Names, parsed once at the edge. Past it no identifier is a bare string, and a value of one of these types is
//! known to be well formed.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::shared;

/// A name that could not be read: which kind of name it should have been, the text, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}: {problem}")]
pub struct NameError {
    pub kind: &'static str,
    pub text: String,
    pub problem: &'static str,
}

impl NameError {
    fn new(kind: &'static str, text: &str, problem: &'static str) -> Self {
        Self { kind, text: text.chars().take(256).collect(), problem }
    }
}

/// Kubernetes allows at most 253 bytes in a name (RFC 1123 subdomain).
const MAX_NAME: usize = 253;

fn check_name(kind: &'static str, text: &str) -> Result<(), NameError> {
    let error = |problem| Err(NameError::new(kind, text, problem));
    if text.is_empty() {
        return error("it is empty");
    }
    if text.len() > MAX_NAME {
        return error("it is longer than 253 bytes");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':')) {
        return error("it holds a character other than letters, digits, `-`, `.`, `_` and `:`");
    }
    Ok(())
}

macro_rules! string_name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $keep:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: &str) -> Result<Self, NameError> {
                check_name($kind, text)?;
                Ok(Self($keep(text)))
            }

            /// The same of a text that is shared with others.
            pub fn shared(text: Arc<str>) -> Result<Self, NameError> {
                check_name($kind, &text)?;
                Ok(Self(text))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

string_name!(
    /// A Kubernetes namespace.
    Namespace, "namespace", shared::text);
string_name!(
    /// A node's name.
    NodeName, "node name", shared::text);
string_name!(
    /// A zone, as the nodes' label `topology.kubernetes.io/zone` names it.
    Zone, "zone", shared::text);
string_name!(
    /// A workload's unique id: a Pod's UID, or a name made up for an endpoint that is no Pod.
    Uid, "uid", Arc::from);
string_name!(
    /// A service account's name within its namespace.
    ServiceAccount, "service account", shared::text);
string_name!(
    /// The SPIFFE trust domain of the mesh.
    TrustDomain, "trust domain", shared::text);

/// Namespace and name of an object, shown as `namespace/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName {
    pub namespace: Namespace,
    pub name: Arc<str>,
}

impl ObjectName {
    pub fn new(namespace: &str, name: &str) -> Result<Self, NameError> {
        check_name("object name", name)?;
        Ok(Self { namespace: Namespace::new(namespace)?, name: name.into() })
    }

    /// The same of texts that are shared with others.
    pub fn shared(namespace: Arc<str>, name: Arc<str>) -> Result<Self, NameError> {
        check_name("object name", &name)?;
        Ok(Self { namespace: Namespace::shared(namespace)?, name })
    }
}

impl FromStr for ObjectName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, name) = text
            .split_once('/')
            .ok_or_else(|| NameError::new("object name", text, "it has no `/` between namespace and name"))?;
        Self::new(namespace, name)
    }
}

impl TryFrom<String> for ObjectName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The name of a listener among all that a Gateway serves: `http` of its own, `shop/extra/http` of a ListenerSet, which may
/// call its listeners as the Gateway and other ListenerSets call theirs (GEP-1713).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenerName {
    set: Option<ObjectName>,
    section: Arc<str>,
}

impl ListenerName {
    /// A Gateway's own listener, or one of a ListenerSet.
    pub fn new(set: Option<ObjectName>, section: &str) -> Result<Self, NameError> {
        check_name("listener name", section)?;
        Ok(Self { set, section: section.into() })
    }

    /// What the object that it comes from calls it.
    pub fn section(&self) -> &str {
        &self.section
    }
}

impl FromStr for ListenerName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.rsplit_once('/') {
            Some((set, section)) => Self::new(Some(set.parse()?), section),
            None => Self::new(None, text),
        }
    }
}

impl TryFrom<String> for ListenerName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ListenerName> for String {
    fn from(name: ListenerName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(set) = &self.set {
            write!(f, "{set}/")?;
        }
        f.write_str(&self.section)
    }
}

impl fmt::Debug for ListenerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Who a workload is: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity {
    pub trust_domain: TrustDomain,
    pub namespace: Namespace,
    pub service_account: ServiceAccount,
}

impl FromStr for Identity {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = |problem| NameError::new("workload identity", text, problem);
        let rest = text.strip_prefix("spiffe://").ok_or_else(|| error("it does not begin with spiffe://"))?;
        let mut parts = rest.split('/');
        let mut next = || parts.next().unwrap_or_default();
        let (trust_domain, ns, namespace, sa, account) = (next(), next(), next(), next(), next());
        if ns != "ns" || sa != "sa" || parts.next().is_some() {
            return Err(error("it is not of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT"));
        }
        Ok(Self {
            trust_domain: trust_domain.parse()?,
            namespace: namespace.parse()?,
            service_account: account.parse()?,
        })
    }
}

impl TryFrom<String> for Identity {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.to_string()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A hostname as the Gateway API knows it: exact, or a wildcard for one or more leading labels (`*.example.com`).
/// Kept in lower case, without a trailing dot.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Hostname {
    Exact(Arc<str>),
    /// Holds what follows the `*`, leading dot included: `.example.com`.
    Wildcard(Arc<str>),
}

impl Hostname {
    /// Whether a request for `host` (lower case, without port) is for this hostname.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
        }
    }

    /// The narrower of two hostnames that some host satisfies both, or `None` where no host can.
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Exact(name), _) => other.matches(name).then(|| self.clone()),
            (_, Self::Exact(name)) => self.matches(name).then(|| other.clone()),
            (Self::Wildcard(a), Self::Wildcard(b)) => {
                if a.ends_with(&**b) {
                    Some(self.clone())
                } else {
                    b.ends_with(&**a).then(|| other.clone())
                }
            }
        }
    }
}

impl FromStr for Hostname {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let lower = text.to_ascii_lowercase();
        let plain = lower.strip_suffix('.').unwrap_or(&lower);
        let (rest, wildcard) = match plain.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (plain, false),
        };
        check_name("hostname", rest)?;
        if rest.contains([':', '_']) || rest.split('.').any(str::is_empty) {
            return Err(NameError::new("hostname", text, "it is not a DNS name"));
        }
        Ok(if wildcard { Self::Wildcard(plain[1..].into()) } else { Self::Exact(plain.into()) })
    }
}

impl TryFrom<String> for Hostname {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Hostname> for String {
    fn from(hostname: Hostname) -> Self {
        hostname.to_string()
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
        }
    }
}

impl fmt::Debug for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_reads_what_it_writes_and_nothing_else() {
        let text = "spiffe://cluster.local/ns/shop/sa/cart";
        assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        for bad in [
            "",
            "https://cluster.local/ns/a/sa/b",
            "spiffe://td/ns/a/sa/b/c",
            "spiffe://td/ns//sa/b",
            "spiffe:///ns/a/sa/b",
            "spiffe://td/ns/a/sa/",
            "spiffe://td/sa/a/ns/b",
        ] {
            assert!(bad.parse::<Identity>().is_err(), "{bad}");
        }
    }

    #[test]
    fn listener_name_reads_what_it_writes_and_nothing_else() {
        for (text, section) in [("http", "http"), ("shop/extra/http", "http")] {
            let name: ListenerName = text.parse().unwrap();
            assert_eq!((name.to_string().as_str(), name.section()), (text, section));
        }
        for bad in ["", "/http", "extra/http", "shop/extra/", "shop//http", "a/b/c/d"] {
            assert!(bad.parse::<ListenerName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hostname_intersections_are_the_narrower_name() {
        let check = |a: &str, b: &str, expected: Option<&str>| {
            let (a, b): (Hostname, Hostname) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(a.intersect(&b).map(|h| h.to_string()).as_deref(), expected, "{a} {b}");
            assert_eq!(b.intersect(&a).map(|h| h.to_string()).as_deref(), expected, "{b} {a}");
        };
        check("*.example.com", "foo.example.com", Some("foo.example.com"));
        check("*.example.com", "example.com", None);
        check("*.example.com", "*.foo.example.com", Some("*.foo.example.com"));
        check("*.example.com", "*.ample.com", None);
        check("a.com", "b.com", None);
        check("*.example.com", "a.b.example.com", Some("a.b.example.com"));
    }
}
