//! The edge of GRPCRoute. A gRPC method is the path `/service/method` of an HTTP/2 request, so what it matches becomes a
//! match of paths, and its filters are among HTTPRoute's.

use mesh_ir::name::ObjectName;
use mesh_ir::resource::{HttpMatch, PathMatch, RouteKey, RouteKind};

use crate::api::generated::grpc_route::{
    GrpcRouteRules, GrpcRouteRulesBackendRefs, GrpcRouteRulesFilters as Filter,
    GrpcRouteRulesFiltersType as Type, GrpcRouteRulesMatches, GrpcRouteRulesMatchesMethod,
    GrpcRouteRulesMatchesMethodType as MethodType, GrpcRouteUseDefaultGateways,
};
use crate::api::generated::http_route::{HttpRouteRulesFilters, HttpRouteRulesFiltersType};
use crate::api::{GrpcRoute, ParentReference};
use crate::backend::Reference;
use crate::http_route::{self, filter};
use crate::route::{BackendInput, RouteInput, RouteObject, RuleInput};

/// What a segment of a path may be.
const ANY_SEGMENT: &str = "[^/]+";

impl RouteObject for GrpcRoute {
    fn parents(&self) -> &[ParentReference] {
        self.spec.parent_refs.as_deref().unwrap_or_default()
    }

    fn uses_default_gateways(&self) -> bool {
        matches!(self.spec.use_default_gateways, Some(GrpcRouteUseDefaultGateways::All))
    }

    fn input(&self, name: &ObjectName) -> RouteInput<'_> {
        let spec = &self.spec;
        let key = RouteKey { kind: RouteKind::Grpc, name: name.clone() };
        // A route without rules has the one that matches everything and leads nowhere.
        let rules = match spec.rules.as_deref() {
            None | Some([]) => vec![rule(&key, "rules[0]".into(), &GrpcRouteRules::default())],
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

fn rule(route: &RouteKey, field: String, rule: &GrpcRouteRules) -> RuleInput {
    let mut input = RuleInput { name: rule.name.clone(), ..RuleInput::default() };
    input.set_matches(rule.matches.as_deref().unwrap_or_default(), grpc_match);
    let filters: Vec<HttpRouteRulesFilters> = rule.filters.iter().flatten().map(Into::into).collect();
    input.set_filters(filter::inputs(&format!("{field}.filters"), &filters));
    for (i, backend_ref) in rule.backend_refs.iter().flatten().enumerate() {
        input.add_backend(i, backend(&format!("{field}.backendRefs[{i}]"), backend_ref));
    }
    input.set_session(rule.session_persistence.as_ref(), route, &field);
    input.field = field;
    input
}

/// `Err` names the field of the match, and what is wrong with it.
fn grpc_match(spec: &GrpcRouteRulesMatches) -> Result<HttpMatch, String> {
    let path = match &spec.method {
        Some(method) => path(method)?,
        None => PathMatch::Prefix("/".into()),
    };
    let headers = http_route::header_matches(spec.headers.as_deref().unwrap_or_default())?;
    http_route::checked(HttpMatch { path, headers, query: Vec::new(), method: None })
}

fn path(spec: &GrpcRouteRulesMatchesMethod) -> Result<PathMatch, String> {
    let given = |text: &'_ Option<String>| text.clone().filter(|text| !text.is_empty());
    let (service, method) = (given(&spec.service), given(&spec.method));
    let pattern = |service: &str, method: &str| PathMatch::Regex(format!("/{service}/{method}"));
    let is_regex = matches!(spec.r#type, Some(MethodType::RegularExpression));
    Ok(match (service, method) {
        (None, None) => return Err("method: names neither a service nor a method".into()),
        (service, method) if is_regex => {
            let part = |field: &str, text: Option<String>| match text {
                // In brackets, so that an alternative within ends with its part.
                Some(text) => http_route::pattern(field, &text).map(|text| format!("(?:{text})")),
                None => Ok(ANY_SEGMENT.into()),
            };
            pattern(&part("method.service", service)?, &part("method.method", method)?)
        }
        (Some(service), Some(method)) => PathMatch::Exact(format!("/{service}/{method}")),
        (Some(service), None) => PathMatch::Prefix(format!("/{service}")),
        (None, Some(method)) => pattern(ANY_SEGMENT, &regex::escape(&method)),
    })
}

fn backend(field: &str, backend: &GrpcRouteRulesBackendRefs) -> Result<BackendInput, String> {
    let filters: Vec<HttpRouteRulesFilters> = backend.filters.iter().flatten().map(Into::into).collect();
    let filters = filter::backend_inputs(&format!("{field}.filters"), &filters)?;
    let GrpcRouteRulesBackendRefs { group, kind, namespace, name, port, weight, filters: _ } = backend;
    Ok(BackendInput::new(Reference::new(field.into(), group, kind, namespace, name, *port), *weight, filters))
}

/// GRPCRoute's filters are some of HTTPRoute's.
impl From<&Filter> for HttpRouteRulesFilters {
    fn from(filter: &Filter) -> Self {
        let Filter {
            extension_ref,
            request_header_modifier,
            request_mirror,
            response_header_modifier,
            r#type,
        } = filter.clone();
        let r#type = match r#type {
            Type::ExtensionRef => HttpRouteRulesFiltersType::ExtensionRef,
            Type::RequestHeaderModifier => HttpRouteRulesFiltersType::RequestHeaderModifier,
            Type::RequestMirror => HttpRouteRulesFiltersType::RequestMirror,
            Type::ResponseHeaderModifier => HttpRouteRulesFiltersType::ResponseHeaderModifier,
        };
        Self {
            extension_ref,
            request_header_modifier,
            request_mirror,
            response_header_modifier,
            r#type,
            cors: None,
            external_auth: None,
            request_redirect: None,
            url_rewrite: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_methods_become_paths() {
        let of = |r#type: &str, service: &str, method: &str| {
            let spec = serde_json::json!({"type": r#type, "service": service, "method": method});
            path(&serde_json::from_value(spec).unwrap())
        };
        assert_eq!(of("Exact", "shop.Cart", "Add"), Ok(PathMatch::Exact("/shop.Cart/Add".into())));
        assert_eq!(of("Exact", "shop.Cart", ""), Ok(PathMatch::Prefix("/shop.Cart".into())));
        assert_eq!(of("Exact", "", "A.dd"), Ok(PathMatch::Regex("/[^/]+/A\\.dd".into())));
        let either = Ok(PathMatch::Regex("/(?:shop\\.(a|b))/[^/]+".into()));
        assert_eq!(of("RegularExpression", "shop\\.(a|b)", ""), either);
        assert!(of("RegularExpression", "(", "").is_err_and(|e| e.starts_with("method.service: ")));
        assert!(of("Exact", "", "").is_err());
    }
}
