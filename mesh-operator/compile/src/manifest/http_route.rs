//! What the API server refuses of an HTTPRoute.

mod filter;

use std::collections::BTreeSet;

use super::{Problem, name};
use crate::api::generated::http_route::{
    HttpRouteParentRefs, HttpRouteRules, HttpRouteRulesBackendRefs, HttpRouteRulesMatches,
    HttpRouteRulesMatchesPathType, HttpRouteRulesTimeouts, HttpRouteSpec,
};
use crate::duration;

const MAX_RULES: usize = 16;
const MAX_MATCHES: usize = 128;
const MAX_WEIGHT: i32 = 1_000_000;

pub(super) fn validate(spec: &HttpRouteSpec) -> Result<(), Problem> {
    for (i, hostname) in spec.hostnames.iter().flatten().enumerate() {
        name::check_hostname(&format!("spec.hostnames[{i}]"), hostname, true)?;
    }
    check_parents(spec.parent_refs.as_deref().unwrap_or_default())?;
    let rules = spec.rules.as_deref().unwrap_or_default();
    let matches: usize = rules.iter().map(|rule| rule.matches.as_ref().map_or(1, Vec::len)).sum();
    if rules.len() > MAX_RULES || matches > MAX_MATCHES {
        let message = format!(
            "{} rules with {matches} matches; a route has at most {MAX_RULES} rules and {MAX_MATCHES} matches",
            rules.len()
        );
        return Err(Problem::at("spec.rules", message));
    }
    let mut names = BTreeSet::new();
    for (i, rule) in rules.iter().enumerate() {
        let field = format!("spec.rules[{i}]");
        if rule.name.as_ref().is_some_and(|name| !names.insert(name)) {
            return Err(Problem::at(format!("{field}.name"), "another rule has this name already"));
        }
        check_rule(&field, rule)?;
    }
    Ok(())
}

fn check_parents(parents: &[HttpRouteParentRefs]) -> Result<(), Problem> {
    for (i, parent) in parents.iter().enumerate() {
        let field = format!("spec.parentRefs[{i}]");
        if let Some(port) = parent.port {
            name::check_port(&format!("{field}.port"), port)?;
        }
        let identity = |p: &HttpRouteParentRefs| {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            (part(&p.group), part(&p.kind), part(&p.namespace), p.name.clone())
        };
        let section = |p: &HttpRouteParentRefs| (p.section_name.clone().filter(|s| !s.is_empty()), p.port);
        for other in &parents[..i] {
            if identity(other) != identity(parent) {
                continue;
            }
            if section(other) == section(parent) {
                let message = "another parentRef names the same parent, sectionName and port";
                return Err(Problem::at(field, message));
            }
            let whole = (None, None);
            if section(other) == whole || section(parent) == whole {
                let message =
                    "where several parentRefs name one parent, each must have a sectionName or port";
                return Err(Problem::at(field, message));
            }
        }
    }
    Ok(())
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
    match &rule.timeouts {
        Some(timeouts) => check_timeouts(&format!("{field}.timeouts"), timeouts),
        None => Ok(()),
    }
}

fn check_match(field: &str, r#match: &HttpRouteRulesMatches) -> Result<(), Problem> {
    if let Some(path) = &r#match.path
        && path.r#type != Some(HttpRouteRulesMatchesPathType::RegularExpression)
    {
        check_path(&format!("{field}.path.value"), path.value.as_deref().unwrap_or("/"))?;
    }
    let mut names = BTreeSet::new();
    for (i, header) in r#match.headers.iter().flatten().enumerate() {
        let field = format!("{field}.headers[{i}].name");
        name::check_header_name(&field, &header.name)?;
        if !names.insert(&header.name) {
            return Err(Problem::at(field, format!("{} is matched twice", header.name)));
        }
    }
    let mut names = BTreeSet::new();
    for (i, parameter) in r#match.query_params.iter().flatten().enumerate() {
        if !names.insert(&parameter.name) {
            let message = format!("{} is matched twice", parameter.name);
            return Err(Problem::at(format!("{field}.queryParams[{i}].name"), message));
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
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let valid = match byte {
            b'%' => [bytes.next(), bytes.next()].iter().all(|b| b.is_some_and(|b| b.is_ascii_hexdigit())),
            _ => byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@".contains(&byte),
        };
        if !valid {
            return wrong("has a character that must be percent-encoded in a path".into());
        }
    }
    Ok(())
}

fn check_backend(
    field: &str,
    backend: &HttpRouteRulesBackendRefs,
    matches: &[HttpRouteRulesMatches],
) -> Result<(), Problem> {
    check_reference(field, backend.group.as_deref(), backend.kind.as_deref(), backend.port)?;
    match backend.weight {
        Some(weight) if !(0..=MAX_WEIGHT).contains(&weight) => {
            let message = format!("{weight} is not a weight; weights are 0 to {MAX_WEIGHT}");
            Err(Problem::at(format!("{field}.weight"), message))
        }
        _ => filter::check_list(
            &format!("{field}.filters"),
            backend.filters.as_deref().unwrap_or_default(),
            matches,
        ),
    }
}

/// A reference to a Service needs a port.
fn check_reference(
    field: &str,
    group: Option<&str>,
    kind: Option<&str>,
    port: Option<i32>,
) -> Result<(), Problem> {
    let field = format!("{field}.port");
    match port {
        Some(port) => name::check_port(&field, port),
        None if group.unwrap_or_default().is_empty() && kind.unwrap_or("Service") == "Service" => {
            Err(Problem::at(field, "missing; a reference to a Service needs a port"))
        }
        None => Ok(()),
    }
}

fn check_timeouts(field: &str, timeouts: &HttpRouteRulesTimeouts) -> Result<(), Problem> {
    let read = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => match duration::parse(text) {
            Some(duration) => Ok(Some(duration)),
            None => Err(Problem::at(
                format!("{field}.{name}"),
                format!("`{text}` is not a duration; write it as in 10s, 500ms or 1h30m (GEP-2257)"),
            )),
        },
    };
    let request = read("request", &timeouts.request)?;
    let backend = read("backendRequest", &timeouts.backend_request)?;
    match (request, backend) {
        (Some(request), Some(backend)) if !request.is_zero() && backend > request => {
            Err(Problem::at(format!("{field}.backendRequest"), "must not be longer than timeouts.request"))
        }
        _ => Ok(()),
    }
}
