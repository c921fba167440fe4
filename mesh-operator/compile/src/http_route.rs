//! The edge of HTTPRoute: its matches, filters and references turned into those of every route.

mod filter;

use mesh_ir::name::ObjectName;
use mesh_ir::resource::{
    HeaderMatch, HttpMatch, PathMatch, QueryMatch, RouteKey, RouteKind, Timeouts, ValueMatch,
};
use mesh_ir::view::Matcher;
use regex::Regex;

use crate::api::HttpRoute;
use crate::api::generated::http_route::{
    HttpRouteParentRefs, HttpRouteRules, HttpRouteRulesBackendRefs, HttpRouteRulesMatches,
    HttpRouteRulesMatchesHeadersType as HeaderType, HttpRouteRulesMatchesMethod as Method,
    HttpRouteRulesMatchesPathType as PathType, HttpRouteRulesMatchesQueryParamsType as QueryType,
    HttpRouteRulesTimeouts,
};
use crate::backend::Reference;
use crate::duration;
use crate::route::{BackendInput, RouteInput, RuleInput, RuleProblem};
use crate::status::ParentReference;

pub(crate) fn input<'a>(name: &ObjectName, route: &'a HttpRoute) -> RouteInput<'a> {
    let spec = &route.spec;
    // A route without rules has the one that matches everything and leads nowhere.
    let rules = match spec.rules.as_deref() {
        None | Some([]) => vec![rule("rules[0]".into(), &HttpRouteRules::default())],
        Some(rules) => rules.iter().enumerate().map(|(i, r)| rule(format!("rules[{i}]"), r)).collect(),
    };
    let unsupported = |(i, rule): (usize, &HttpRouteRules)| {
        let settings =
            [("retry", rule.retry.is_some()), ("sessionPersistence", rule.session_persistence.is_some())];
        settings.into_iter().filter(|(_, set)| *set).map(move |(name, _)| format!("rules[{i}].{name}"))
    };
    RouteInput {
        key: RouteKey { kind: RouteKind::Http, name: name.clone() },
        metadata: &route.metadata,
        hostnames: spec.hostnames.iter().flatten().filter_map(|h| h.parse().ok()).collect(),
        parents: spec.parent_refs.iter().flatten().map(parent).collect(),
        rules,
        ignored: spec.rules.iter().flatten().enumerate().flat_map(unsupported).collect(),
    }
}

fn parent(parent: &HttpRouteParentRefs) -> ParentReference {
    ParentReference {
        group: parent.group.clone(),
        kind: parent.kind.clone(),
        namespace: parent.namespace.clone(),
        name: parent.name.clone(),
        section_name: parent.section_name.clone(),
        port: parent.port,
    }
}

fn rule(field: String, rule: &HttpRouteRules) -> RuleInput {
    let mut input = RuleInput { name: rule.name.clone(), ..RuleInput::default() };
    match rule.matches.as_deref() {
        None | Some([]) => input.matches.push(everything()),
        Some(matches) => {
            for (i, r#match) in matches.iter().enumerate() {
                match http_match(r#match) {
                    Ok(r#match) => input.matches.push(r#match),
                    Err(problem) => {
                        input.matches = vec![nothing()];
                        input.problem = Some(RuleProblem::CannotMatch(format!("matches[{i}].{problem}")));
                        break;
                    }
                }
            }
        }
    }
    match filter::inputs(&format!("{field}.filters"), rule.filters.as_deref().unwrap_or_default()) {
        Ok(filters) => input.filters = filters,
        Err(problem) => cannot_serve(&mut input, format!("filters{problem}")),
    }
    for (i, backend_ref) in rule.backend_refs.iter().flatten().enumerate() {
        match backend(&format!("{field}.backendRefs[{i}]"), backend_ref) {
            Ok(backend) => input.backends.push(backend),
            Err(problem) => cannot_serve(&mut input, format!("backendRefs[{i}].filters{problem}")),
        }
    }
    match rule.timeouts.as_ref().map(timeouts).transpose() {
        Ok(timeouts) => input.timeouts = timeouts.unwrap_or_default(),
        Err(problem) => cannot_serve(&mut input, problem),
    }
    input.field = field;
    input
}

fn cannot_serve(input: &mut RuleInput, problem: String) {
    input.problem.get_or_insert(RuleProblem::CannotServe(problem));
}

fn everything() -> HttpMatch {
    HttpMatch { path: PathMatch::Prefix("/".into()), headers: Vec::new(), query: Vec::new(), method: None }
}

/// What no path can be.
fn nothing() -> HttpMatch {
    HttpMatch { path: PathMatch::Exact(String::new()), ..everything() }
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
    let mut headers: Vec<HeaderMatch> = Vec::new();
    for (i, header) in spec.headers.iter().flatten().enumerate() {
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
    let r#match = HttpMatch { path, headers, query, method };
    // The node prepares it in the same way, and would let it match nothing.
    match Matcher::new(&r#match) {
        Some(_) => Ok(r#match),
        None => Err("headers: a name is not the name of an HTTP header".into()),
    }
}

/// A regular expression that stands for itself, not only within the anchors that it will be put in.
fn pattern(field: &str, text: &str) -> Result<String, String> {
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
    let filters = backend.filters.as_deref().unwrap_or_default();
    Ok(BackendInput {
        reference: Reference {
            field: field.into(),
            group: backend.group.clone().unwrap_or_default(),
            kind: backend.kind.clone().unwrap_or_else(|| "Service".into()),
            namespace: backend.namespace.clone(),
            name: backend.name.clone(),
            port: backend.port,
        },
        weight: u32::try_from(backend.weight.unwrap_or(1)).unwrap_or(0),
        filters: filter::backend_inputs(&format!("{field}.filters"), filters)?,
    })
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
