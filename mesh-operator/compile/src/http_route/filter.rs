//! The filters of HTTPRoute.

use mesh_ir::eval::cors::is_origin_pattern;
use mesh_ir::resource::{Cors, Filter, Fraction, HeaderEdit, PathRewrite, Redirect, Rewrite};

use crate::api::generated::http_route::{
    HttpRouteRulesFilters as Spec, HttpRouteRulesFiltersCors as CorsSpec,
    HttpRouteRulesFiltersRequestHeaderModifier as RequestHeaders,
    HttpRouteRulesFiltersRequestMirror as MirrorSpec, HttpRouteRulesFiltersRequestRedirect as RedirectSpec,
    HttpRouteRulesFiltersRequestRedirectScheme as Scheme,
    HttpRouteRulesFiltersResponseHeaderModifier as ResponseHeaders, HttpRouteRulesFiltersType as Type,
    HttpRouteRulesFiltersUrlRewrite as RewriteSpec,
};
use crate::backend::Reference;
use crate::external_auth::ExternalAuthInput;
use crate::route::FilterInput;
use crate::service::port_number;

/// The filters of a rule. `Err` says of which (`[1]: …`) and why its requests cannot be served.
pub(crate) fn inputs(field: &str, specs: &[Spec]) -> Result<Vec<FilterInput>, String> {
    let numbered = specs.iter().enumerate();
    numbered.map(|(i, spec)| one(&format!("{field}[{i}]"), spec).map_err(|e| format!("[{i}]: {e}"))).collect()
}

/// The filters of one backend, which cannot answer in the backend's place.
pub(crate) fn backend_inputs(field: &str, specs: &[Spec]) -> Result<Vec<FilterInput>, String> {
    let answers = |spec: &Spec| matches!(spec.r#type, Type::RequestRedirect | Type::Cors);
    match specs.iter().position(answers) {
        Some(i) => {
            let name = if specs[i].r#type == Type::Cors { "CORS" } else { "RequestRedirect" };
            Err(format!("[{i}]: {name} is not supported on a backendRef; put it on the rule"))
        }
        None => inputs(field, specs),
    }
}

fn one(field: &str, spec: &Spec) -> Result<FilterInput, String> {
    let missing = || format!("{:?} lacks its setting", spec.r#type);
    let plain = match spec.r#type {
        Type::RequestHeaderModifier => {
            let headers = spec.request_header_modifier.as_ref().ok_or_else(missing)?;
            Filter::RequestHeaders(request_headers(headers)?)
        }
        Type::ResponseHeaderModifier => {
            let headers = spec.response_header_modifier.as_ref().ok_or_else(missing)?;
            Filter::ResponseHeaders(response_headers(headers)?)
        }
        Type::RequestRedirect => {
            Filter::Redirect(redirect(spec.request_redirect.as_ref().ok_or_else(missing)?)?)
        }
        Type::UrlRewrite => Filter::Rewrite(rewrite(spec.url_rewrite.as_ref().ok_or_else(missing)?)?),
        Type::RequestMirror => return mirror(field, spec.request_mirror.as_ref().ok_or_else(missing)?),
        Type::ExtensionRef => {
            let reference = spec.extension_ref.as_ref().ok_or_else(missing)?;
            return Ok(FilterInput::Extension { field: field.into(), kind: reference.kind.clone() });
        }
        Type::Cors => Filter::Cors(cors(spec.cors.as_ref().ok_or_else(missing)?)?),
        Type::ExternalAuth => {
            let spec = spec.external_auth.as_ref().ok_or_else(missing)?;
            return ExternalAuthInput::read(field, spec).map(FilterInput::ExternalAuth);
        }
    };
    Ok(FilterInput::Plain(plain))
}

fn request_headers(spec: &RequestHeaders) -> Result<HeaderEdit, String> {
    let set = spec.set.iter().flatten().map(|h| (h.name.as_str(), h.value.as_str()));
    let add = spec.add.iter().flatten().map(|h| (h.name.as_str(), h.value.as_str()));
    header_edit(set, add, spec.remove.as_deref())
}

fn response_headers(spec: &ResponseHeaders) -> Result<HeaderEdit, String> {
    let set = spec.set.iter().flatten().map(|h| (h.name.as_str(), h.value.as_str()));
    let add = spec.add.iter().flatten().map(|h| (h.name.as_str(), h.value.as_str()));
    header_edit(set, add, spec.remove.as_deref())
}

fn header_edit<'a>(
    set: impl Iterator<Item = (&'a str, &'a str)>,
    add: impl Iterator<Item = (&'a str, &'a str)>,
    remove: Option<&[String]>,
) -> Result<HeaderEdit, String> {
    Ok(HeaderEdit {
        set: headers(set)?,
        add: headers(add)?,
        remove: remove.iter().copied().flatten().map(|name| name.to_ascii_lowercase()).collect(),
    })
}

/// Of names that differ only in case the first counts.
fn headers<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Vec<(String, String)>, String> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for (name, value) in pairs {
        let name = name.to_ascii_lowercase();
        if !value.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7f)) {
            return Err(format!("the value of header {name} holds a control character"));
        }
        if !headers.iter().any(|(known, _)| *known == name) {
            headers.push((name, value.into()));
        }
    }
    Ok(headers)
}

fn redirect(spec: &RedirectSpec) -> Result<Redirect, String> {
    let path = match &spec.path {
        Some(path) => path_rewrite(path.replace_full_path.as_deref(), path.replace_prefix_match.as_deref())?,
        None => None,
    };
    let scheme = spec.scheme.as_ref().map(|scheme| match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    });
    Ok(Redirect {
        scheme: scheme.map(String::from),
        hostname: spec.hostname.clone(),
        path,
        port: spec.port.and_then(port_number),
        status: spec.status_code.and_then(|code| u16::try_from(code).ok()).unwrap_or(302),
    })
}

fn rewrite(spec: &RewriteSpec) -> Result<Rewrite, String> {
    let path = match &spec.path {
        Some(path) => path_rewrite(path.replace_full_path.as_deref(), path.replace_prefix_match.as_deref())?,
        None => None,
    };
    Ok(Rewrite { hostname: spec.hostname.clone(), path })
}

fn path_rewrite(full: Option<&str>, prefix: Option<&str>) -> Result<Option<PathRewrite>, String> {
    let absolute = |path: &str| match path.bytes().all(|b| b.is_ascii_graphic()) {
        true if path.starts_with('/') => Ok(path.to_owned()),
        true => Ok(format!("/{path}")),
        false => Err(format!("the path `{path}` holds a character that must be percent-encoded")),
    };
    Ok(match (full, prefix) {
        (Some(full), _) => Some(PathRewrite::ReplaceFullPath(absolute(full)?)),
        (None, Some(prefix)) => Some(PathRewrite::ReplacePrefixMatch(absolute(prefix)?)),
        (None, None) => None,
    })
}

/// The age is what the API server sets where a user does not.
fn cors(spec: &CorsSpec) -> Result<Cors, String> {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let allow_origins = list(&spec.allow_origins);
    if let Some(origin) = allow_origins.iter().find(|origin| !is_origin_pattern(origin)) {
        return Err(format!(
            "allowOrigins: `{origin}` is not an origin, as https://example.com or https://*.example.com"
        ));
    }
    Ok(Cors {
        allow_origins,
        allow_credentials: spec.allow_credentials.unwrap_or(false),
        allow_methods: list(&spec.allow_methods),
        allow_headers: list(&spec.allow_headers),
        expose_headers: list(&spec.expose_headers),
        max_age: spec.max_age.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(5),
    })
}

fn mirror(field: &str, spec: &MirrorSpec) -> Result<FilterInput, String> {
    let share = |value: i32| u32::try_from(value).unwrap_or(0);
    let fraction = match (&spec.fraction, spec.percent) {
        (Some(fraction), _) => Fraction {
            numerator: share(fraction.numerator),
            denominator: share(fraction.denominator.unwrap_or(100)).max(1),
        },
        (None, Some(percent)) => Fraction { numerator: share(percent), denominator: 100 },
        (None, None) => Fraction { numerator: 1, denominator: 1 },
    };
    let backend = &spec.backend_ref;
    let field = format!("{field}.requestMirror.backendRef");
    let backend =
        Reference::new(field, &backend.group, &backend.kind, &backend.namespace, &backend.name, backend.port);
    Ok(FilterInput::Mirror { backend, fraction })
}
