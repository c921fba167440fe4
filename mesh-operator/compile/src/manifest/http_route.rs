//! What the API server refuses of an HTTPRoute.

pub(super) mod filter;

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Problem, name, route};
use crate::api::generated::http_route::{
    HttpRouteRules, HttpRouteRulesBackendRefs, HttpRouteRulesMatches, HttpRouteRulesMatchesHeaders,
    HttpRouteRulesMatchesPathType, HttpRouteRulesRetry, HttpRouteRulesTimeouts, HttpRouteSpec,
};
use crate::duration;

pub(super) fn validate(spec: &HttpRouteSpec) -> Result<(), Problem> {
    route::check_hostnames(spec.hostnames.as_deref().unwrap_or_default())?;
    route::check_parents(spec.parent_refs.as_deref().unwrap_or_default())?;
    let rules = spec.rules.as_deref().unwrap_or_default();
    let shape = |rule: &HttpRouteRules| (rule.name.clone(), rule.matches.as_ref().map_or(1, Vec::len));
    route::check_rules(rules.iter().map(shape))?;
    rules.iter().enumerate().try_for_each(|(i, rule)| check_rule(&format!("spec.rules[{i}]"), rule))
}

fn check_rule(field: &str, rule: &HttpRouteRules) -> Result<(), Problem> {
    let matches = rule.matches.as_deref().unwrap_or_default();
    for (i, r#match) in matches.iter().enumerate() {
        check_match(&format!("{field}.matches[{i}]"), r#match)?;
    }
    let backends = rule.backend_refs.as_deref().unwrap_or_default();
    filter::check_list(&format!("{field}.filters"), rule.filters.as_deref().unwrap_or_default(), matches)?;
    if !backends.is_empty() && rule.filters.iter().flatten().any(|f| f.request_redirect.is_some()) {
        let message = "a rule with a RequestRedirect filter must have no backendRefs";
        return Err(Problem::at(format!("{field}.backendRefs"), message));
    }
    for (i, backend) in backends.iter().enumerate() {
        check_backend(&format!("{field}.backendRefs[{i}]"), backend, matches)?;
    }
    if let Some(timeouts) = &rule.timeouts {
        check_timeouts(&format!("{field}.timeouts"), timeouts)?;
    }
    match &rule.retry {
        Some(retry) => check_retry(&format!("{field}.retry"), retry),
        None => Ok(()),
    }
}

fn check_match(field: &str, r#match: &HttpRouteRulesMatches) -> Result<(), Problem> {
    if let Some(path) = &r#match.path
        && path.r#type != Some(HttpRouteRulesMatchesPathType::RegularExpression)
    {
        check_path(&format!("{field}.path.value"), path.value.as_deref().unwrap_or("/"))?;
    }
    check_headers(field, r#match.headers.as_deref().unwrap_or_default())?;
    let mut names = BTreeSet::new();
    for (i, parameter) in r#match.query_params.iter().flatten().enumerate() {
        if !names.insert(&parameter.name) {
            let message = format!("{} is matched twice", parameter.name);
            return Err(Problem::at(format!("{field}.queryParams[{i}].name"), message));
        }
    }
    Ok(())
}

pub(super) fn check_headers(field: &str, headers: &[HttpRouteRulesMatchesHeaders]) -> Result<(), Problem> {
    let mut names = BTreeSet::new();
    for (i, header) in headers.iter().enumerate() {
        let field = format!("{field}.headers[{i}].name");
        name::check_header_name(&field, &header.name)?;
        if !names.insert(&header.name) {
            return Err(Problem::at(field, format!("{} is matched twice", header.name)));
        }
    }
    Ok(())
}

/// A path of an Exact or PathPrefix match: absolute, normal, and of the characters that a path has.
fn check_path(field: &str, path: &str) -> Result<(), Problem> {
    let wrong = |message: String| Err(Problem::at(field, format!("`{path}` {message}")));
    if !path.starts_with('/') {
        return wrong("must begin with `/`".into());
    }
    for part in ["//", "/./", "/../", "%2f", "%2F", "#"] {
        if path.contains(part) {
            return wrong(format!("must not contain `{part}`"));
        }
    }
    for end in ["/..", "/."] {
        if path.ends_with(end) {
            return wrong(format!("must not end with `{end}`"));
        }
    }
    check_path_characters(field, path)
}

fn check_path_characters(field: &str, path: &str) -> Result<(), Problem> {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let valid = match byte {
            b'%' => [bytes.next(), bytes.next()].iter().all(|b| b.is_some_and(|b| b.is_ascii_hexdigit())),
            _ => byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte),
        };
        if !valid {
            let message = format!("`{path}` has a character that must be percent-encoded in a path");
            return Err(Problem::at(field, message));
        }
    }
    Ok(())
}

fn check_backend(
    field: &str,
    backend: &HttpRouteRulesBackendRefs,
    matches: &[HttpRouteRulesMatches],
) -> Result<(), Problem> {
    route::check_reference(field, backend.group.as_deref(), backend.kind.as_deref(), backend.port)?;
    route::check_weight(field, backend.weight)?;
    filter::check_list(&format!("{field}.filters"), backend.filters.as_deref().unwrap_or_default(), matches)
}

fn check_retry(field: &str, retry: &HttpRouteRulesRetry) -> Result<(), Problem> {
    if let Some(attempts) = retry.attempts.filter(|attempts| *attempts < 0) {
        return Err(Problem::at(format!("{field}.attempts"), format!("{attempts} is less than 0")));
    }
    for (i, code) in retry.codes.iter().flatten().enumerate() {
        if !(400..600).contains(code) {
            let message = format!("{code} is not between 400 and 599");
            return Err(Problem::at(format!("{field}.codes[{i}]"), message));
        }
    }
    check_duration(&format!("{field}.backoff"), retry.backoff.as_ref()).map(drop)
}

fn check_duration(field: &str, text: Option<&String>) -> Result<Option<Duration>, Problem> {
    let Some(text) = text else { return Ok(None) };
    duration::parse(text).map(Some).ok_or_else(|| {
        let message = format!("`{text}` is not a duration; write it as in 10s, 500ms or 1h30m (GEP-2257)");
        Problem::at(field, message)
    })
}

fn check_timeouts(field: &str, timeouts: &HttpRouteRulesTimeouts) -> Result<(), Problem> {
    let request = check_duration(&format!("{field}.request"), timeouts.request.as_ref())?;
    let backend = check_duration(&format!("{field}.backendRequest"), timeouts.backend_request.as_ref())?;
    match (request, backend) {
        (Some(request), Some(backend)) if !request.is_zero() && backend > request => {
            Err(Problem::at(format!("{field}.backendRequest"), "must not be longer than timeouts.request"))
        }
        _ => Ok(()),
    }
}
