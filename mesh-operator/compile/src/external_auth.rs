//! External authorization as routes and listeners ask for it (GEP-1494): its settings read, its server still to be resolved.

use mesh_ir::resource::{AuthProtocol, BackendTarget, ExternalAuth};

use crate::api::generated::http_route::{
    HttpRouteRulesFiltersExternalAuth as Spec, HttpRouteRulesFiltersExternalAuthProtocol as Protocol,
};
use crate::backend::Reference;
use crate::session::is_token;

#[derive(Debug)]
pub(crate) struct ExternalAuthInput {
    pub(crate) backend: Reference,
    protocol: AuthProtocol,
    max_body: u32,
}

impl ExternalAuthInput {
    /// `field` is the filter's. `Err` says what is wrong with its settings, and in which.
    pub(crate) fn read(field: &str, spec: &Spec) -> Result<Self, String> {
        let protocol = match spec.protocol {
            Protocol::Http => {
                let http = spec.http.clone().unwrap_or_default();
                AuthProtocol::Http {
                    path_prefix: path_prefix(http.path.as_deref().unwrap_or_default())?,
                    allowed_headers: names("http.allowedHeaders", http.allowed_headers)?,
                    allowed_response_headers: names(
                        "http.allowedResponseHeaders",
                        http.allowed_response_headers,
                    )?,
                }
            }
            Protocol::Grpc => {
                let allowed = spec.grpc.clone().unwrap_or_default().allowed_headers;
                AuthProtocol::Grpc { allowed_headers: names("grpc.allowedHeaders", allowed)? }
            }
        };
        let reference = &spec.backend_ref;
        let backend = Reference::new(
            format!("{field}.externalAuth.backendRef"),
            &reference.group,
            &reference.kind,
            &reference.namespace,
            &reference.name,
            reference.port,
        );
        let max_body = spec.forward_body.as_ref().and_then(|body| body.max_size).unwrap_or(0);
        Ok(Self { backend, protocol, max_body: u32::try_from(max_body).unwrap_or(0) })
    }

    pub(crate) fn of(&self, target: BackendTarget) -> ExternalAuth {
        ExternalAuth { target, protocol: self.protocol.clone(), max_body: self.max_body }
    }
}

/// A path that leads nowhere but below itself, with a slash before it and none behind; empty where it says nothing.
fn path_prefix(path: &str) -> Result<String, String> {
    let wrong = |problem: &str| Err(format!("externalAuth.http.path: `{path}` {problem}"));
    if !path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@%".contains(&byte)) {
        return wrong("has a character that must be percent-encoded in a path");
    }
    if matches!(path, "" | "/") {
        return Ok(String::new());
    }
    let trimmed = path.strip_prefix('/').unwrap_or(path);
    let trimmed = trimmed.strip_suffix('/').unwrap_or(trimmed);
    let lower = trimmed.to_ascii_lowercase();
    if ["%2e", "%2f", "%5c"].iter().any(|hidden| lower.contains(hidden)) {
        return wrong("has a dot or a slash that is percent-encoded");
    }
    match trimmed.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        true => wrong("has a segment that is empty, `.` or `..`"),
        false => Ok(format!("/{trimmed}")),
    }
}

/// In lower case.
fn names(field: &str, names: Option<Vec<String>>) -> Result<Vec<String>, String> {
    let read = |name: String| match is_token(&name) {
        true => Ok(name.to_ascii_lowercase()),
        false => Err(format!("externalAuth.{field}: `{name}` is not the name of an HTTP header")),
    };
    names.unwrap_or_default().into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_auth_paths_are_made_clean_or_refused() {
        let clean = |path: &str| path_prefix(path).ok();
        assert_eq!(clean(""), Some(String::new()));
        assert_eq!(clean("/"), Some(String::new()));
        assert_eq!(clean("check/"), Some("/check".to_owned()));
        assert_eq!(clean("/a/b%20c"), Some("/a/b%20c".to_owned()));
        for path in ["/a//b", "/a/../b", "..", "/a/./b", "/a/%2e%2E/b", "/a%2Fb", "/a?b", "/a b", "//"] {
            assert_eq!(clean(path), None, "{path}");
        }
    }
}
