//! What the API server refuses of a GRPCRoute.

use super::{Problem, http_route, route};
use crate::api::generated::grpc_route::{
    GrpcRouteRules, GrpcRouteRulesFilters, GrpcRouteRulesMatchesMethod, GrpcRouteRulesMatchesMethodType,
    GrpcRouteSpec,
};
use crate::api::generated::http_route::HttpRouteRulesFilters;

pub(super) fn validate(spec: &GrpcRouteSpec) -> Result<(), Problem> {
    route::check_hostnames(spec.hostnames.as_deref().unwrap_or_default())?;
    route::check_parents(spec.parent_refs.as_deref().unwrap_or_default())?;
    let rules = spec.rules.as_deref().unwrap_or_default();
    let shape = |rule: &GrpcRouteRules| (rule.name.clone(), rule.matches.as_ref().map_or(1, Vec::len));
    route::check_rules(rules.iter().map(shape))?;
    rules.iter().enumerate().try_for_each(|(i, rule)| check_rule(&format!("spec.rules[{i}]"), rule))
}

fn check_rule(field: &str, rule: &GrpcRouteRules) -> Result<(), Problem> {
    for (i, r#match) in rule.matches.iter().flatten().enumerate() {
        let field = format!("{field}.matches[{i}]");
        if let Some(method) = &r#match.method {
            check_method(&format!("{field}.method"), method)?;
        }
        http_route::check_headers(&field, r#match.headers.as_deref().unwrap_or_default())?;
    }
    check_filters(&format!("{field}.filters"), rule.filters.as_deref())?;
    for (i, backend) in rule.backend_refs.iter().flatten().enumerate() {
        let field = format!("{field}.backendRefs[{i}]");
        route::check_reference(&field, backend.group.as_deref(), backend.kind.as_deref(), backend.port)?;
        route::check_weight(&field, backend.weight)?;
        check_filters(&format!("{field}.filters"), backend.filters.as_deref())?;
    }
    Ok(())
}

fn check_filters(field: &str, filters: Option<&[GrpcRouteRulesFilters]>) -> Result<(), Problem> {
    let filters: Vec<HttpRouteRulesFilters> = filters.unwrap_or_default().iter().map(Into::into).collect();
    http_route::filter::check_list(field, &filters, &[])
}

fn check_method(field: &str, method: &GrpcRouteRulesMatchesMethod) -> Result<(), Problem> {
    let given = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
    let (service, name) = (given(&method.service), given(&method.method));
    if service.is_none() && name.is_none() {
        return Err(Problem::at(field, "names neither a service nor a method; it must name one of them"));
    }
    if method.r#type == Some(GrpcRouteRulesMatchesMethodType::RegularExpression) {
        return Ok(());
    }
    if let Some(service) = service.filter(|service| !service.split('.').all(is_identifier)) {
        let message = format!("`{service}` is not the name of a service: identifiers joined by dots");
        return Err(Problem::at(format!("{field}.service"), message));
    }
    match name.filter(|name| !is_identifier(name)) {
        Some(name) => {
            let message = format!("`{name}` is not the name of a method: letters, digits and `_`");
            Err(Problem::at(format!("{field}.method"), message))
        }
        None => Ok(()),
    }
}

/// As Protocol Buffers have them.
fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
