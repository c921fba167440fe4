//! The edge of HTTPRoute: its matches, filters and references turned into those of every route.

pub(crate) mod filter;

use std::time::Duration;

use mesh_ir::name::ObjectName;
use mesh_ir::resource::{
    HeaderMatch, HttpMatch, PathMatch, QueryMatch, Retry, RouteKey, RouteKind, Timeouts, ValueMatch,
};
use mesh_ir::view::Matcher;
use regex::Regex;

use crate::api::generated::http_route::{
    HttpRouteRules, HttpRouteRulesBackendRefs, HttpRouteRulesMatches, HttpRouteRulesMatchesHeaders,
    HttpRouteRulesMatchesHeadersType as HeaderType, HttpRouteRulesMatchesMethod as Method,
    HttpRouteRulesMatchesPathType as PathType, HttpRouteRulesMatchesQueryParamsType as QueryType,
    HttpRouteRulesRetry, HttpRouteRulesTimeouts, HttpRouteUseDefaultGateways,
};
use crate::api::{HttpRoute, ParentReference};
use crate::backend::Reference;
use crate::duration;
use crate::route::{BackendInput, RouteInput, RouteObject, RuleInput};

impl RouteObject for HttpRoute {
    fn parents(&self) -> &[ParentReference] {
        self.spec.parent_refs.as_deref().unwrap_or_default()
    }

    fn uses_default_gateways(&self) -> bool {
        matches!(self.spec.use_default_gateways, Some(HttpRouteUseDefaultGateways::All))
    }

    fn input(&self, name: &ObjectName) -> RouteInput<'_> {
        let spec = &self.spec;
        let key = RouteKey { kind: RouteKind::Http, name: name.clone() };
        // A route without rules has the one that matches everything and leads nowhere.
        let rules = match spec.rules.as_deref() {
            None | Some([]) => vec![rule(&key, "rules[0]".into(), &HttpRouteRules::default())],
            Some(rules) => {
                rules.iter().enumerate().map(|(i, r)| rule(&key, format!("rules[{i}]"), r)).collect()
            }
        };
        RouteInput {
            key,
            metadata: &self.metadata,
            hostnames: spec.hostnames.iter().flatten().filter_map(|h| h.parse().ok()).collect(),
            parents: self.parents().to_vec(),
            rules,
        }
    }
}

fn rule(route: &RouteKey, field: String, rule: &HttpRouteRules) -> RuleInput {
    let mut input = RuleInput { name: rule.name.clone(), ..RuleInput::default() };
    input.set_matches(rule.matches.as_deref().unwrap_or_default(), http_match);
    input.set_filters(filter::inputs(
        &format!("{field}.filters"),
        rule.filters.as_deref().unwrap_or_default(),
    ));
    for (i, backend_ref) in rule.backend_refs.iter().flatten().enumerate() {
        input.add_backend(i, backend(&format!("{field}.backendRefs[{i}]"), backend_ref));
    }
    match rule.timeouts.as_ref().map(timeouts).transpose() {
        Ok(timeouts) => input.timeouts = timeouts.unwrap_or_default(),
        Err(problem) => input.cannot_serve(problem),
    }
    match rule.retry.as_ref().map(retry).transpose() {
        Ok(retry) => input.retry = retry.flatten(),
        Err(problem) => input.cannot_serve(problem),
    }
    input.set_session(rule.session_persistence.as_ref(), route, &field);
    input.field = field;
    input
}

/// `Err` names the field of the match, and what is wrong with it.
fn http_match(spec: &HttpRouteRulesMatches) -> Result<HttpMatch, String> {
    let path = spec.path.as_ref();
    let path_value = path.and_then(|path| path.value.as_deref()).unwrap_or("/");
    let path = match path.and_then(|path| path.r#type.as_ref()).unwrap_or(&PathType::PathPrefix) {
        PathType::Exact => PathMatch::Exact(path_value.into()),
        PathType::PathPrefix => PathMatch::Prefix(without_trailing_slash(path_value)),
        PathType::RegularExpression => PathMatch::Regex(pattern("path.value", path_value)?),
    };
    let headers = header_matches(spec.headers.as_deref().unwrap_or_default())?;
    let mut query: Vec<QueryMatch> = Vec::new();
    for (i, parameter) in spec.query_params.iter().flatten().enumerate() {
        if query.iter().any(|known| known.name == parameter.name) {
            continue;
        }
        let value = match parameter.r#type {
            Some(QueryType::RegularExpression) => {
                ValueMatch::Regex(pattern(&format!("queryParams[{i}].value"), &parameter.value)?)
            }
            _ => ValueMatch::Exact(parameter.value.clone()),
        };
        query.push(QueryMatch { name: parameter.name.clone(), value });
    }
    let method = spec.method.as_ref().map(|method| method_name(method).into());
    checked(HttpMatch { path, headers, query, method })
}

pub(crate) fn header_matches(specs: &[HttpRouteRulesMatchesHeaders]) -> Result<Vec<HeaderMatch>, String> {
    let mut headers: Vec<HeaderMatch> = Vec::new();
    for (i, header) in specs.iter().enumerate() {
        let name = header.name.to_ascii_lowercase();
        // Of names that differ only in case the first counts.
        if headers.iter().any(|known| known.name == name) {
            continue;
        }
        let value = match header.r#type {
            Some(HeaderType::RegularExpression) => {
                ValueMatch::Regex(pattern(&format!("headers[{i}].value"), &header.value)?)
            }
            _ => ValueMatch::Exact(header.value.clone()),
        };
        headers.push(HeaderMatch { name, value });
    }
    Ok(headers)
}

/// A match that the node can prepare.
pub(crate) fn checked(r#match: HttpMatch) -> Result<HttpMatch, String> {
    // The node prepares it in the same way, and would let it match nothing.
    match Matcher::new(&r#match) {
        Some(_) => Ok(r#match),
        None => Err("headers: a name is not the name of an HTTP header".into()),
    }
}

/// A regular expression that stands for itself, not only within the anchors that it will be put in.
pub(crate) fn pattern(field: &str, text: &str) -> Result<String, String> {
    match Regex::new(text) {
        Ok(_) => Ok(text.into()),
        Err(error) => {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ").trim();
            Err(format!("{field}: `{text}` is not a regular expression: {reason}"))
        }
    }
}

/// A prefix is matched by path elements, so `/a/` and `/a` are the same.
fn without_trailing_slash(path: &str) -> String {
    match path.trim_end_matches('/') {
        "" => "/".into(),
        trimmed => trimmed.into(),
    }
}

fn method_name(method: &Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
    }
}

fn backend(field: &str, backend: &HttpRouteRulesBackendRefs) -> Result<BackendInput, String> {
    let HttpRouteRulesBackendRefs { group, kind, namespace, name, port, weight, filters } = backend;
    let filters =
        filter::backend_inputs(&format!("{field}.filters"), filters.as_deref().unwrap_or_default())?;
    Ok(BackendInput::new(Reference::new(field.into(), group, kind, namespace, name, *port), *weight, filters))
}

/// Zero is no limit (GEP-1742).
fn timeouts(timeouts: &HttpRouteRulesTimeouts) -> Result<Timeouts, String> {
    let read = |name: &str, text: Option<&str>| match text {
        None => Ok(None),
        Some(text) => match duration::parse(text) {
            Some(duration) => Ok(Some(duration).filter(|duration| !duration.is_zero())),
            None => Err(format!("timeouts.{name}: `{text}` is not a duration")),
        },
    };
    Ok(Timeouts {
        request: read("request", timeouts.request.as_deref())?,
        backend_request: read("backendRequest", timeouts.backend_request.as_deref())?,
    })
}

/// No attempts are no retries. One is what the API server sets where a user says nothing.
fn retry(retry: &HttpRouteRulesRetry) -> Result<Option<Retry>, String> {
    const BACKOFF: Duration = Duration::from_millis(25);
    let backoff = match retry.backoff.as_deref() {
        None => BACKOFF,
        Some(text) => {
            duration::parse(text).ok_or_else(|| format!("retry.backoff: `{text}` is not a duration"))?
        }
    };
    let attempts = u32::try_from(retry.attempts.unwrap_or(1)).unwrap_or(u32::MAX);
    let codes = retry.codes.iter().flatten().filter_map(|code| u16::try_from(*code).ok()).collect();
    Ok((attempts > 0).then_some(Retry { codes, attempts, backoff }))
}
