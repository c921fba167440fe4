//! HTTP/1.1 Upgrade (WebSocket): when the backend agrees, the two connections become one stream.

use http::header::{CONNECTION, HeaderMap, HeaderValue, UPGRADE};
use http::{Version, request};

/// The protocol that a client would rather speak.
pub(super) fn requested(head: &request::Parts) -> Option<HeaderValue> {
    if head.version != Version::HTTP_11 {
        return None;
    }
    let protocol = head.headers.get(UPGRADE)?;
    let asked = head.headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut options = asked.flat_map(|list| list.split(','));
    options.any(|option| option.trim().eq_ignore_ascii_case("upgrade")).then(|| protocol.clone())
}

/// Says the wish to the backend.
pub(super) fn say(protocol: &HeaderValue, headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol.clone());
}
