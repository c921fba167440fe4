//! What filters do to this request, in words.

use mesh_ir::eval::filters::rewritten_path;
use mesh_ir::resource::{
    AuthProtocol, BackendTarget, ExternalAuth, Filter, HeaderEdit, HttpMatch, PathMatch, Service, ValueMatch,
};

/// The effects of filters one after another; `path` is the request's, and afterwards what they made of it.
pub(super) fn effects(
    filters: &[Filter],
    path: &mut String,
    host: &str,
    prefix: Option<&str>,
) -> Vec<String> {
    let mut effects = Vec::new();
    for filter in filters {
        match filter {
            Filter::RequestHeaders(edit) => effects.extend(edits("request", edit)),
            Filter::ResponseHeaders(edit) => effects.extend(edits("response", edit)),
            Filter::Rewrite(rewrite) => {
                if let Some(rewrite) = &rewrite.path {
                    let rewritten = rewritten_path(rewrite, path, prefix);
                    effects.push(format!("path rewritten: {path} becomes {rewritten}"));
                    *path = rewritten;
                }
                if let Some(hostname) = &rewrite.hostname {
                    effects.push(format!("host rewritten: {host} becomes {hostname}"));
                }
            }
            Filter::Mirror(mirror) => {
                let fraction = mirror.fraction;
                let share = percent(100.0 * f64::from(fraction.numerator) / f64::from(fraction.denominator));
                effects.push(match &mirror.target {
                    BackendTarget::Service { service, port } => {
                        let title = Service::titled(service);
                        format!(
                            "{share} of the requests copied to {title} port {port}; its responses are dropped"
                        )
                    }
                    BackendTarget::Invalid { reason } => format!("mirror that leads nowhere: {reason}"),
                });
            }
            Filter::ExternalAuth(auth) => effects.push(authorizer(auth)),
            // It is what the request is answered with.
            Filter::Redirect(_) => {}
            Filter::Cors(cors) => {
                let with = if cors.allow_credentials { "with" } else { "without" };
                effects.push(match cors.allow_origins.as_slice() {
                    [] => "scripts of no other origin may use the response".into(),
                    origins => {
                        format!("scripts of {} may use the response, {with} credentials", origins.join(", "))
                    }
                });
            }
        }
    }
    effects
}

/// A server that is asked first.
pub(super) fn authorizer(auth: &ExternalAuth) -> String {
    let protocol = match auth.protocol {
        AuthProtocol::Http { .. } => "HTTP",
        AuthProtocol::Grpc { .. } => "gRPC (Envoy's ext_authz)",
    };
    let body = match auth.max_body {
        0 => String::new(),
        max => format!(", with its body; one of more than {max} bytes is refused with 413"),
    };
    match &auth.target {
        BackendTarget::Service { service, port } => {
            format!(
                "Service {service} port {port} is asked by {protocol} whether the request may go on{body}"
            )
        }
        BackendTarget::Invalid { reason } => {
            format!(
                "a server that cannot be resolved is to be asked, so that every request is answered 500: {reason}"
            )
        }
    }
}

fn edits(of: &str, edit: &HeaderEdit) -> Vec<String> {
    let set = edit.set.iter().map(|(name, value)| format!("{of} header {name} set to {value:?}"));
    let add = edit.add.iter().map(|(name, value)| format!("{of} header {name} added: {value:?}"));
    let remove = edit.remove.iter().map(|name| format!("{of} header {name} removed"));
    set.chain(add).chain(remove).collect()
}

/// A match of a rule.
pub(super) fn match_words(spec: &HttpMatch) -> String {
    let path = match &spec.path {
        PathMatch::Exact(path) => Some(format!("path exactly {path}")),
        PathMatch::Prefix(path) if path.trim_end_matches('/').is_empty() => None,
        PathMatch::Prefix(path) => Some(format!("path prefix {path}")),
        PathMatch::Regex(pattern) => Some(format!("path regex {pattern}")),
    };
    let method = spec.method.as_ref().map(|method| format!("method {method}"));
    let value = |value: &ValueMatch| match value {
        ValueMatch::Exact(text) => format!("exact {text:?}"),
        ValueMatch::Regex(pattern) => format!("regex {pattern:?}"),
    };
    let headers =
        spec.headers.iter().map(|header| format!("header {} {}", header.name, value(&header.value)));
    let query =
        spec.query.iter().map(|query| format!("query parameter {} {}", query.name, value(&query.value)));
    let parts: Vec<String> = path.into_iter().chain(method).chain(headers).chain(query).collect();
    if parts.is_empty() { "a match of every request".into() } else { parts.join(", ") }
}

/// `33.3 %`, without zeros that say nothing.
pub(super) fn percent(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "0" && value > 0.0 { "under 0.1 %".into() } else { format!("{text} %") }
}
