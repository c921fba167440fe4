//! Session persistence (GEP-1619). A token in a cookie or a header says which endpoint of a backend its client had.
//!
//! Nodes share no secret and remember no session, and a client may come back to any of them. So a token proves itself by what
//! every node knows and clients do not: it is signed with the UID of the pod that it stands for. Of the UID it shows as
//! much as is needed to find it among others.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{digest, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use mesh_ir::eval::endpoints::Origin;
use mesh_ir::name::{ObjectName, Uid};
use mesh_ir::resource::{SessionCarrier, SessionPersistence};
use mesh_ir::view::PortView;

/// The tokens of so many backends fit in one cookie or header; what comes after them is not read.
const MAX_TOKENS: usize = 8;
const BETWEEN: char = '.';

/// What a client brought, for the backend that its request goes to.
#[derive(Debug)]
pub(super) struct Session<'b> {
    spec: &'b SessionPersistence,
    backend: BackendId,
    tokens: Vec<Token>,
    /// Where a rule has several backends, one name carries the tokens of all.
    others: Vec<Token>,
}

/// A Service's port, so that a token for one leads to no other.
type BackendId = [u8; 4];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    backend: BackendId,
    /// The beginning of the pod's UID.
    hint: [u8; 8],
    /// Seconds since 1970.
    begun: u32,
    tag: [u8; 16],
}

impl<'b> Session<'b> {
    pub(super) fn of(
        spec: &'b SessionPersistence,
        (service, port): (&ObjectName, u16),
        headers: &HeaderMap,
    ) -> Self {
        let digest = digest::digest(&digest::SHA256, format!("{service}:{port}").as_bytes());
        let backend = first_of(digest.as_ref());
        let brought: Vec<Token> = match &spec.carrier {
            SessionCarrier::Cookie { name, .. } => cookies(headers, name).flat_map(Token::all).collect(),
            SessionCarrier::Header { name } => {
                let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
                values.flat_map(Token::all).collect()
            }
        };
        let (tokens, others) =
            brought.into_iter().take(MAX_TOKENS).partition(|token| token.backend == backend);
        Self { spec, backend, tokens, others }
    }

    /// The endpoint that the client had, where it still serves and the session has not timed out.
    pub(super) fn endpoint(&self, port: &PortView, origin: Origin) -> Option<Uid> {
        let now = now();
        self.tokens.iter().filter(|token| self.lasts(token, now)).find_map(|token| {
            let uids = port.endpoints(origin).iter().map(|endpoint| &endpoint.workload().uid);
            uids.into_iter().find(|uid| token.is_of(uid)).cloned()
        })
    }

    fn lasts(&self, token: &Token, now: u32) -> bool {
        let age = now.checked_sub(token.begun);
        self.spec
            .absolute_timeout
            .is_none_or(|limit| age.is_some_and(|age| u64::from(age) < limit.as_secs().max(1)))
    }

    /// Tells the client of a session that begins with this response.
    pub(super) fn begin(&self, endpoint: &Uid, secure: bool, response: &mut HeaderMap) {
        let token = Token::new(self.backend, endpoint, now());
        let others = self.others.iter().take(MAX_TOKENS - 1).map(Token::to_string);
        let tokens: Vec<String> = [token.to_string()].into_iter().chain(others).collect();
        let tokens = tokens.join(&BETWEEN.to_string());
        let (name, value) = match &self.spec.carrier {
            SessionCarrier::Header { name } => (HeaderName::try_from(name), tokens),
            SessionCarrier::Cookie { name, path, permanent } => {
                let lifetime = match self.spec.absolute_timeout {
                    Some(timeout) if *permanent => format!("; Max-Age={}", timeout.as_secs().max(1)),
                    _ => String::new(),
                };
                let secure = if secure { "; Secure" } else { "" };
                let value =
                    format!("{name}={tokens}; Path={path}{lifetime}; HttpOnly; SameSite=Strict{secure}");
                (Ok(SET_COOKIE), value)
            }
        };
        // What the compiler let through is fit for both.
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            match name {
                SET_COOKIE => response.append(name, value),
                name => response.insert(name, value).is_some(),
            };
        }
    }
}

impl Token {
    fn new(backend: BackendId, endpoint: &Uid, begun: u32) -> Self {
        let hint = hint(endpoint);
        Self { backend, hint, begun, tag: tag(backend, hint, begun, endpoint) }
    }

    fn is_of(&self, endpoint: &Uid) -> bool {
        let own = || tag(self.backend, self.hint, self.begun, endpoint);
        self.hint == hint(endpoint)
            && aws_lc_rs::constant_time::verify_slices_are_equal(&own(), &self.tag).is_ok()
    }

    /// Those of a value; what is none is left out.
    fn all(value: &str) -> impl Iterator<Item = Self> {
        value.split(BETWEEN).take(MAX_TOKENS).filter_map(Self::read)
    }

    fn read(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()? != bytes.len() {
            return None;
        }
        Some(Self {
            backend: bytes[..4].try_into().ok()?,
            hint: bytes[4..12].try_into().ok()?,
            begun: u32::from_be_bytes(bytes[12..16].try_into().ok()?),
            tag: bytes[16..].try_into().ok()?,
        })
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = [&self.backend[..], &self.hint, &self.begun.to_be_bytes(), &self.tag].concat();
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

fn hint(endpoint: &Uid) -> [u8; 8] {
    first_of(endpoint.as_str().as_bytes())
}

/// The first bytes, filled up with zeros.
fn first_of<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut first = [0; N];
    first.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    first
}

fn tag(backend: BackendId, hint: [u8; 8], begun: u32, endpoint: &Uid) -> [u8; 16] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, endpoint.as_str().as_bytes());
    let signed = [&b"weir session"[..], &backend, &hint, &begun.to_be_bytes()].concat();
    first_of(hmac::sign(&key, &signed).as_ref())
}

/// The values of a cookie, of which a client may send several.
fn cookies<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(found, _)| *found == name).map(|(_, value)| value)
}

fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cookie(timeout: Option<u64>) -> SessionPersistence {
        SessionPersistence {
            carrier: SessionCarrier::Cookie { name: "sid".into(), path: "/shop".into(), permanent: true },
            absolute_timeout: timeout.map(Duration::from_secs),
        }
    }

    fn uid(text: &str) -> Uid {
        text.parse().unwrap()
    }

    fn session<'b>(spec: &'b SessionPersistence, service: &str, cookie: &str) -> Session<'b> {
        let service = ObjectName::new("shop", service).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::try_from(cookie).unwrap());
        Session::of(spec, (&service, 80), &headers)
    }

    /// The value that a client gives back.
    fn begun(session: &Session<'_>, endpoint: &Uid) -> (String, String) {
        let mut response = HeaderMap::new();
        session.begin(endpoint, true, &mut response);
        let set = response[SET_COOKIE].to_str().unwrap().to_owned();
        let (pair, attributes) = set.split_once("; ").unwrap();
        (pair.to_owned(), attributes.to_owned())
    }

    #[test]
    fn session_cookie_keeps_to_its_path_and_from_scripts() {
        let spec = cookie(Some(60));
        let (pair, attributes) = begun(&session(&spec, "cart", "a=b"), &uid("0b6c19ff-1"));
        assert!(pair.starts_with("sid="));
        assert_eq!(attributes, "Path=/shop; Max-Age=60; HttpOnly; SameSite=Strict; Secure");
    }

    #[test]
    fn session_tokens_are_of_one_endpoint_and_one_backend_and_cannot_be_altered() {
        let spec = cookie(None);
        // Both begin alike, so that the tag decides.
        let (own, other) = (uid("0b6c19ff-1"), uid("0b6c19ff-2"));
        let (pair, _) = begun(&session(&spec, "cart", "a=b"), &own);
        let brought = session(&spec, "cart", &format!("x=1; {pair}; sid=nonsense"));
        let [token] = &brought.tokens[..] else { panic!("{brought:?}") };
        assert!(token.is_of(&own) && !token.is_of(&other));
        let later = Token { begun: token.begun + 1, ..token.clone() };
        assert!(!later.is_of(&own), "its time is signed too");

        let elsewhere = session(&spec, "search", &pair);
        assert!(elsewhere.tokens.is_empty());
        let (both, _) = begun(&elsewhere, &other);
        let back = session(&spec, "cart", &both);
        assert!(back.tokens[0].is_of(&own), "the session with the first backend goes on");
        assert!(session(&spec, "search", &both).tokens[0].is_of(&other));
    }

    #[test]
    fn session_ends_at_its_absolute_timeout() {
        let (spec, without) = (cookie(Some(60)), cookie(None));
        let token = Token::new(BackendId::default(), &uid("0b6c19ff-1"), 1000);
        let session_of = |spec| session(spec, "cart", "a=b").lasts(&token, 1059);
        assert!(session_of(&spec) && session_of(&without));
        assert!(!session(&spec, "cart", "a=b").lasts(&token, 1060));
        assert!(!session(&spec, "cart", "a=b").lasts(&token, 999), "it is of a time to come");
        assert!(session(&without, "cart", "a=b").lasts(&token, u32::MAX));
    }

    #[test]
    fn session_reads_so_many_tokens_and_no_more() {
        let spec = cookie(None);
        let token = |at: u8| Token::new([at; 4], &uid("0b6c19ff-1"), 7).to_string();
        let many: Vec<String> = (0..100).map(token).collect();
        let session = session(&spec, "cart", &format!("sid={}; sid={}", many.join("."), many.join(".")));
        assert_eq!(session.others.len(), MAX_TOKENS);
        let (pair, _) = begun(&session, &uid("x"));
        assert_eq!(pair.split(BETWEEN).count(), MAX_TOKENS);
    }
}
