//! Names, ports and hostnames as the API server takes them.

use super::Problem;
use crate::object::{Kind, ObjectId};

/// RFC 1123 subdomain: labels of lower-case letters, digits and `-`, joined by dots.
pub(super) fn is_subdomain(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.split('.').all(is_label)
}

pub(super) fn check_object(id: &ObjectId) -> Result<(), Problem> {
    let rule =
        "it must be lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit";
    // A ClusterTrustBundle's name begins with its signer's, of which each slash is a colon.
    let may_have_colons = id.kind == Kind::ClusterTrustBundle;
    let is_name = match may_have_colons {
        true => id.name.split(':').all(is_subdomain),
        false => is_subdomain(&id.name),
    };
    if !is_name {
        return Err(Problem::at("metadata.name", format!("`{}` is not a name: {rule}", shown(&id.name))));
    }
    match &id.namespace {
        Some(namespace) if !(is_label(namespace) && namespace.len() <= 63) => Err(Problem::at(
            "metadata.namespace",
            format!(
                "`{}` is not a namespace: it must be at most 63 lower-case letters, digits and `-`",
                shown(namespace)
            ),
        )),
        _ => Ok(()),
    }
}

pub(super) fn check_port(field: &str, port: i32) -> Result<(), Problem> {
    match port {
        1..=65535 => Ok(()),
        _ => Err(Problem::at(field, format!("{port} is not a port; ports are 1 to 65535"))),
    }
}

/// A DNS name in lower case; `*.` may stand before it where `wildcard` says so.
pub(super) fn check_hostname(field: &str, text: &str, wildcard: bool) -> Result<(), Problem> {
    let name = text.strip_prefix("*.").filter(|_| wildcard).unwrap_or(text);
    if !is_subdomain(name) {
        let form = if wildcard { "DNS name, or one after `*.`" } else { "DNS name without wildcard" };
        return Err(Problem::at(
            field,
            format!("`{}` is not a hostname: it must be a lower-case {form}", shown(text)),
        ));
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        return Err(Problem::at(field, format!("`{text}` is an address; a hostname must be a DNS name")));
    }
    Ok(())
}

/// A header's name is a token (RFC 9110 section 5.6.2).
pub(super) fn check_header_name(field: &str, name: &str) -> Result<(), Problem> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    match !name.is_empty() && name.len() <= 256 && name.bytes().all(token) {
        true => Ok(()),
        false => Err(Problem::at(field, format!("`{}` is not the name of an HTTP header", shown(name)))),
    }
}

fn is_label(label: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = label.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// No more of a wrong name than a person needs.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}
