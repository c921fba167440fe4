//! What spans say of a request, by OpenTelemetry's semantic conventions for HTTP.

use http::header::USER_AGENT;
use http::request::Parts;
use http::{Method, Version};
use mesh_ir::resource::{AttributeValue, KnownAttribute as Known, SpanAttribute};
use mesh_ir::view::ListenerView;

use super::otlp::{KeyValue, Value};
use crate::proxy::Arrived;

/// A value longer than this is cut: what waits to be exported takes room.
const MAX_VALUE: usize = 1024;

/// A request as it came in.
pub(super) struct Incoming<'r> {
    pub(super) head: &'r Parts,
    pub(super) host: &'r str,
    pub(super) arrived: &'r Arrived,
    pub(super) listener: &'r ListenerView,
}

/// What the span of every request says beside what its response adds.
const STANDARD: [Known; 7] = [
    Known::HttpRequestMethod,
    Known::UrlScheme,
    Known::UrlPath,
    Known::ServerAddress,
    Known::ServerPort,
    Known::ClientAddress,
    Known::NetworkProtocolVersion,
];

pub(super) fn standard(incoming: &Incoming<'_>) -> Vec<KeyValue> {
    let with_value = |known: Known| Some(KeyValue::new(known.key(), value(known, incoming)?));
    STANDARD.into_iter().filter_map(with_value).collect()
}

/// What a policy asks for, but for what only the response tells; and the names under which it wants the response's status.
pub(super) fn asked(attributes: &[SpanAttribute], incoming: &Incoming<'_>) -> (Vec<KeyValue>, Vec<String>) {
    let (mut asked, mut statuses) = (Vec::new(), Vec::new());
    for SpanAttribute { name, value: source } in attributes {
        let value = match source {
            AttributeValue::Known(Known::HttpResponseStatusCode) => {
                statuses.push(name.clone());
                continue;
            }
            AttributeValue::Known(known) => value(*known, incoming),
            AttributeValue::Literal(text) => Some(Value::Text(text.clone())),
            AttributeValue::Header(name) => header(incoming, name),
        };
        asked.extend(value.map(|value| KeyValue::new(name.as_str(), value)));
    }
    (asked, statuses)
}

/// The method as spans say it: one that is not a common one might have any name.
pub(super) fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "CONNECT" => "CONNECT",
        "DELETE" => "DELETE",
        "GET" => "GET",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "POST" => "POST",
        "PUT" => "PUT",
        "TRACE" => "TRACE",
        _ => "_OTHER",
    }
}

pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => text[..end].to_owned(),
        None => text.to_owned(),
    }
}

fn value(known: Known, incoming: &Incoming<'_>) -> Option<Value> {
    let Incoming { head, host, arrived, listener } = incoming;
    let client = match arrived {
        Arrived::Gateway { client, .. } => Some(client),
        Arrived::Service { .. } => None,
    };
    let text = |text: &str| Some(Value::Text(cut(text)));
    match known {
        Known::ClientAddress | Known::NetworkPeerAddress => text(&client?.ip().to_string()),
        Known::ClientPort | Known::NetworkPeerPort => Some(Value::Number(client?.port().into())),
        Known::HttpRequestMethod => text(method(&head.method)),
        Known::NetworkProtocolName => text("http"),
        Known::NetworkProtocolVersion => text(match head.version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        }),
        Known::NetworkTransport => text("tcp"),
        Known::ServerAddress => text(host),
        Known::ServerPort => Some(Value::Number(listener.port.into())),
        Known::UrlPath => text(head.uri.path()),
        Known::UrlQuery => text(head.uri.query()?),
        Known::UrlScheme => text(arrived.scheme()),
        Known::UserAgentOriginal => header(incoming, USER_AGENT.as_str()),
        Known::HttpResponseStatusCode => None,
    }
}

fn header(incoming: &Incoming<'_>, name: &str) -> Option<Value> {
    let value = incoming.head.headers.get(name)?;
    Some(Value::Text(cut(&String::from_utf8_lossy(value.as_bytes()))))
}
