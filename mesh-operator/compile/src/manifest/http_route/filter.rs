//! What the API server refuses of an HTTPRoute's filters.

use crate::api::generated::http_route::{
    HttpRouteRulesFilters as Filter, HttpRouteRulesFiltersCors as Cors,
    HttpRouteRulesFiltersExternalAuth as ExternalAuth,
    HttpRouteRulesFiltersExternalAuthProtocol as AuthProtocol,
    HttpRouteRulesFiltersRequestHeaderModifier as RequestHeaders,
    HttpRouteRulesFiltersRequestMirror as Mirror,
    HttpRouteRulesFiltersRequestRedirectPathType as RedirectPathType,
    HttpRouteRulesFiltersResponseHeaderModifier as ResponseHeaders, HttpRouteRulesFiltersType as Type,
    HttpRouteRulesFiltersUrlRewritePathType as RewritePathType, HttpRouteRulesMatches,
    HttpRouteRulesMatchesPathType,
};
use mesh_ir::eval::cors::is_origin_pattern;

use super::check_path_characters;
use crate::manifest::{Problem, name, route};

/// The filters of one rule or backend, in a rule with these matches.
pub(in crate::manifest) fn check_list(
    field: &str,
    filters: &[Filter],
    matches: &[HttpRouteRulesMatches],
) -> Result<(), Problem> {
    let has = |r#type: &Type| filters.iter().filter(|f| f.r#type == *r#type).count();
    if has(&Type::RequestRedirect) > 0 && has(&Type::UrlRewrite) > 0 {
        return Err(Problem::at(
            field,
            "has both a RequestRedirect and a URLRewrite filter; keep one of them",
        ));
    }
    for (i, filter) in filters.iter().enumerate() {
        let field = format!("{field}[{i}]");
        let repeatable =
            matches!(filter.r#type, Type::RequestMirror | Type::ExtensionRef | Type::ExternalAuth);
        if !repeatable && has(&filter.r#type) > 1 {
            let message = format!("{} stands in the list more than once", name_of(&filter.r#type));
            return Err(Problem::at(format!("{field}.type"), message));
        }
        check_type(&field, filter)?;
        check(&field, filter, matches)?;
    }
    Ok(())
}

/// The one setting that a filter has must be that of its type.
fn check_type(field: &str, filter: &Filter) -> Result<(), Problem> {
    let settings = [
        (Type::RequestHeaderModifier, "requestHeaderModifier", filter.request_header_modifier.is_some()),
        (Type::ResponseHeaderModifier, "responseHeaderModifier", filter.response_header_modifier.is_some()),
        (Type::RequestMirror, "requestMirror", filter.request_mirror.is_some()),
        (Type::RequestRedirect, "requestRedirect", filter.request_redirect.is_some()),
        (Type::UrlRewrite, "urlRewrite", filter.url_rewrite.is_some()),
        (Type::ExtensionRef, "extensionRef", filter.extension_ref.is_some()),
        (Type::Cors, "cors", filter.cors.is_some()),
        (Type::ExternalAuth, "externalAuth", filter.external_auth.is_some()),
    ];
    for (r#type, setting, present) in settings {
        if present != (filter.r#type == r#type) {
            let verb = if present { "must not be set" } else { "missing; it must be set" };
            let message = format!("{verb} for a filter of type {}", name_of(&filter.r#type));
            return Err(Problem::at(format!("{field}.{setting}"), message));
        }
    }
    Ok(())
}

/// As manifests write it.
fn name_of(r#type: &Type) -> String {
    serde_json::to_value(r#type).ok().and_then(|value| value.as_str().map(String::from)).unwrap_or_default()
}

fn check(field: &str, filter: &Filter, matches: &[HttpRouteRulesMatches]) -> Result<(), Problem> {
    if let Some(headers) = &filter.request_header_modifier {
        check_names(&format!("{field}.requestHeaderModifier"), request_names(headers))?;
    }
    if let Some(headers) = &filter.response_header_modifier {
        check_names(&format!("{field}.responseHeaderModifier"), response_names(headers))?;
    }
    if let Some(mirror) = &filter.request_mirror {
        check_mirror(&format!("{field}.requestMirror"), mirror)?;
    }
    if let Some(auth) = &filter.external_auth {
        check_external_auth(&format!("{field}.externalAuth"), auth)?;
    }
    if let Some(cors) = &filter.cors {
        check_cors(&format!("{field}.cors"), cors)?;
    }
    if let Some(redirect) = &filter.request_redirect {
        let field = format!("{field}.requestRedirect");
        if let Some(hostname) = &redirect.hostname {
            name::check_hostname(&format!("{field}.hostname"), hostname, false)?;
        }
        if let Some(port) = redirect.port {
            name::check_port(&format!("{field}.port"), port)?;
        }
        if let Some(status) = redirect.status_code.filter(|s| !matches!(s, 301 | 302 | 303 | 307 | 308)) {
            let message = format!("{status} is not one of 301, 302, 303, 307 and 308");
            return Err(Problem::at(format!("{field}.statusCode"), message));
        }
        if let Some(path) = &redirect.path {
            let is_prefix = path.r#type == RedirectPathType::ReplacePrefixMatch;
            let (full, prefix) = (path.replace_full_path.is_some(), path.replace_prefix_match.is_some());
            check_path(&format!("{field}.path"), is_prefix, full, prefix, matches)?;
        }
    }
    if let Some(rewrite) = &filter.url_rewrite {
        let field = format!("{field}.urlRewrite");
        if let Some(hostname) = &rewrite.hostname {
            name::check_hostname(&format!("{field}.hostname"), hostname, false)?;
        }
        if let Some(path) = &rewrite.path {
            let is_prefix = path.r#type == RewritePathType::ReplacePrefixMatch;
            let (full, prefix) = (path.replace_full_path.is_some(), path.replace_prefix_match.is_some());
            check_path(&format!("{field}.path"), is_prefix, full, prefix, matches)?;
        }
    }
    Ok(())
}

fn check_path(
    field: &str,
    is_prefix: bool,
    has_full: bool,
    has_prefix: bool,
    matches: &[HttpRouteRulesMatches],
) -> Result<(), Problem> {
    if has_prefix != is_prefix || has_full == is_prefix {
        let (wanted, r#type) = if is_prefix {
            ("replacePrefixMatch", "ReplacePrefixMatch")
        } else {
            ("replaceFullPath", "ReplaceFullPath")
        };
        return Err(Problem::at(field, format!("must have {wanted}, and nothing else, for type {type}")));
    }
    let prefix_match = |m: &HttpRouteRulesMatches| {
        let path = m.path.as_ref().and_then(|path| path.r#type.as_ref());
        path.is_none_or(|r#type| *r#type == HttpRouteRulesMatchesPathType::PathPrefix)
    };
    // No match at all stands for the one of the prefix `/`.
    if is_prefix && !(matches.len() <= 1 && matches.iter().all(prefix_match)) {
        let message = "ReplacePrefixMatch needs a rule with exactly one match, of a PathPrefix";
        return Err(Problem::at(field, message));
    }
    Ok(())
}

fn check_cors(field: &str, cors: &Cors) -> Result<(), Problem> {
    const METHODS: [&str; 10] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"];
    let lists = [
        ("allowOrigins", &cors.allow_origins),
        ("allowMethods", &cors.allow_methods),
        ("allowHeaders", &cors.allow_headers),
    ];
    for (name, list) in lists {
        let list = list.as_deref().unwrap_or_default();
        if list.len() > 1 && list.iter().any(|item| item == "*") {
            return Err(Problem::at(
                format!("{field}.{name}"),
                "has `*` beside others; keep one or the other",
            ));
        }
    }
    for (i, origin) in cors.allow_origins.iter().flatten().enumerate() {
        if !is_origin_pattern(origin) {
            let message = format!(
                "`{origin}` is not an origin, as https://example.com or https://*.example.com, nor `*`"
            );
            return Err(Problem::at(format!("{field}.allowOrigins[{i}]"), message));
        }
    }
    for (i, method) in cors.allow_methods.iter().flatten().enumerate() {
        if !METHODS.contains(&method.as_str()) {
            let message = format!("`{method}` is not one of {}", METHODS.join(", "));
            return Err(Problem::at(format!("{field}.allowMethods[{i}]"), message));
        }
    }
    let allowed =
        cors.allow_headers.iter().flatten().enumerate().map(|(i, h)| ("allowHeaders", i, h.as_str()));
    let exposed =
        cors.expose_headers.iter().flatten().enumerate().map(|(i, h)| ("exposeHeaders", i, h.as_str()));
    check_names(field, Box::new(allowed.chain(exposed)))?;
    match cors.max_age {
        Some(seconds) if seconds < 1 => {
            Err(Problem::at(format!("{field}.maxAge"), format!("{seconds} is less than 1")))
        }
        _ => Ok(()),
    }
}

/// Of a route's filter, and of a listener's.
pub(in crate::manifest) fn check_external_auth(field: &str, auth: &ExternalAuth) -> Result<(), Problem> {
    const MAX_NAMES: usize = 64;
    const MAX_PATH: usize = 1024;
    let backend = &auth.backend_ref;
    let reference = format!("{field}.backendRef");
    route::check_reference(&reference, backend.group.as_deref(), backend.kind.as_deref(), backend.port)?;
    let wrong = match (&auth.protocol, auth.http.is_some(), auth.grpc.is_some()) {
        (AuthProtocol::Http, true, false) | (AuthProtocol::Grpc, false, true) => None,
        (AuthProtocol::Http, _, true) => Some(("grpc", "must not be set for protocol HTTP")),
        (AuthProtocol::Grpc, true, _) => Some(("http", "must not be set for protocol GRPC")),
        (AuthProtocol::Http, false, false) => {
            Some(("http", "missing; it must be set for protocol HTTP, if only to {}"))
        }
        (AuthProtocol::Grpc, false, false) => {
            Some(("grpc", "missing; it must be set for protocol GRPC, if only to {}"))
        }
    };
    if let Some((setting, message)) = wrong {
        return Err(Problem::at(format!("{field}.{setting}"), message));
    }
    if let Some(size) = auth.forward_body.as_ref().and_then(|body| body.max_size).filter(|size| *size < 0) {
        return Err(Problem::at(format!("{field}.forwardBody.maxSize"), format!("{size} is less than 0")));
    }
    if let Some(path) = auth.http.as_ref().and_then(|http| http.path.as_deref()) {
        let field = format!("{field}.http.path");
        if path.is_empty() || path.len() > MAX_PATH {
            let message = format!("{} characters; a path has 1 to {MAX_PATH}", path.len());
            return Err(Problem::at(field, message));
        }
        check_path_characters(&field, path)?;
    }
    let http = auth.http.as_ref();
    let lists = [
        ("http.allowedHeaders", http.and_then(|http| http.allowed_headers.as_deref())),
        ("http.allowedResponseHeaders", http.and_then(|http| http.allowed_response_headers.as_deref())),
        ("grpc.allowedHeaders", auth.grpc.as_ref().and_then(|grpc| grpc.allowed_headers.as_deref())),
    ];
    for (list, names) in lists {
        let names = names.unwrap_or_default();
        if names.len() > MAX_NAMES {
            let message = format!("{} names; there may be {MAX_NAMES}", names.len());
            return Err(Problem::at(format!("{field}.{list}"), message));
        }
        let repeated = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
        if let Some((i, name)) = repeated {
            let message = format!("{name} stands in the list twice");
            return Err(Problem::at(format!("{field}.{list}[{i}]"), message));
        }
    }
    Ok(())
}

fn check_mirror(field: &str, mirror: &Mirror) -> Result<(), Problem> {
    let backend = &mirror.backend_ref;
    let reference = format!("{field}.backendRef");
    route::check_reference(&reference, backend.group.as_deref(), backend.kind.as_deref(), backend.port)?;
    if let Some(percent) = mirror.percent {
        if mirror.fraction.is_some() {
            return Err(Problem::at(field, "has both percent and fraction; keep one of them"));
        }
        if !(0..=100).contains(&percent) {
            return Err(Problem::at(
                format!("{field}.percent"),
                format!("{percent} is not between 0 and 100"),
            ));
        }
    }
    if let Some(fraction) = &mirror.fraction {
        let denominator = fraction.denominator.unwrap_or(100);
        if fraction.numerator < 0 || denominator < 1 || fraction.numerator > denominator {
            let message = format!(
                "{}/{denominator} is not a fraction between 0 and 1 with a denominator of at least 1",
                fraction.numerator
            );
            return Err(Problem::at(format!("{field}.fraction"), message));
        }
    }
    Ok(())
}

type Names<'a> = Box<dyn Iterator<Item = (&'static str, usize, &'a str)> + 'a>;

fn request_names(headers: &RequestHeaders) -> Names<'_> {
    let set = headers.set.iter().flatten().enumerate().map(|(i, h)| ("set", i, h.name.as_str()));
    let add = headers.add.iter().flatten().enumerate().map(|(i, h)| ("add", i, h.name.as_str()));
    let remove = headers.remove.iter().flatten().enumerate().map(|(i, h)| ("remove", i, h.as_str()));
    Box::new(set.chain(add).chain(remove))
}

fn response_names(headers: &ResponseHeaders) -> Names<'_> {
    let set = headers.set.iter().flatten().enumerate().map(|(i, h)| ("set", i, h.name.as_str()));
    let add = headers.add.iter().flatten().enumerate().map(|(i, h)| ("add", i, h.name.as_str()));
    let remove = headers.remove.iter().flatten().enumerate().map(|(i, h)| ("remove", i, h.as_str()));
    Box::new(set.chain(add).chain(remove))
}

/// Every list's names are names, each once.
fn check_names(field: &str, names: Names<'_>) -> Result<(), Problem> {
    let mut seen = std::collections::BTreeSet::new();
    for (list, i, header) in names {
        name::check_header_name(&format!("{field}.{list}[{i}]"), header)?;
        if !seen.insert((list, header)) {
            return Err(Problem::at(
                format!("{field}.{list}[{i}]"),
                format!("{header} stands in the list twice"),
            ));
        }
    }
    Ok(())
}
