//! Session persistence (GEP-1619) as a rule of a route asks for it for each of its backends, or an XBackend for itself.

use mesh_ir::resource::{SessionCarrier, SessionPersistence};
use sha2::{Digest, Sha256};

use crate::api::generated::http_route::{
    HttpRouteRulesSessionPersistence, HttpRouteRulesSessionPersistenceCookieLifetimeType as Lifetime,
    HttpRouteRulesSessionPersistenceType as Type,
};
use crate::backend::{self, Referrer};
use crate::lookup::Lookup;
use crate::route::RouteInput;
use crate::{duration, service};

/// Longer than any session should be; what a cookie's Max-Age and a token's time can hold.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(u32::MAX as u64);

/// `owner` is the rule or XBackend that asks, told from all others. `Err` names the field, and what is wrong with it.
pub(crate) fn persistence(
    spec: &HttpRouteRulesSessionPersistence,
    owner: &str,
) -> Result<SessionPersistence, String> {
    let field = |name: &str, problem: String| format!("sessionPersistence.{name}: {problem}");
    let absolute_timeout = match spec.absolute_timeout.as_deref() {
        None => None,
        Some(text) => {
            let parsed = duration::parse(text).filter(|timeout| !timeout.is_zero() && *timeout <= LONGEST);
            let wrong =
                || field("absoluteTimeout", format!("`{text}` is not a duration that a session can last"));
            Some(parsed.ok_or_else(wrong)?)
        }
    };
    let carrier = match (&spec.r#type, &spec.cookie, &spec.header) {
        (Some(Type::Header), None, Some(header)) => {
            if !is_token(&header.name) {
                return Err(field("header.name", format!("`{}` is not a header's name", header.name)));
            }
            SessionCarrier::Header { name: header.name.to_ascii_lowercase() }
        }
        (Some(Type::Header), ..) => {
            return Err(field("header", "type Header needs it, and goes without cookie".into()));
        }
        (_, cookie, None) => {
            let cookie = cookie.clone().unwrap_or_default();
            let name = cookie.name.unwrap_or_else(|| cookie_name(owner));
            if !is_token(&name) {
                return Err(field(
                    "cookie.name",
                    format!("`{name}` is not a cookie's name (RFC 6265 §4.1.1)"),
                ));
            }
            let path = cookie.path.unwrap_or_else(|| "/".into());
            if !path.starts_with('/') || !path.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b';')
            {
                return Err(field(
                    "cookie.path",
                    format!("`{path}` is not a cookie's path (RFC 6265 §4.1.1)"),
                ));
            }
            let permanent = matches!(cookie.lifetime_type, Some(Lifetime::Permanent));
            if permanent && absolute_timeout.is_none() {
                return Err(field("absoluteTimeout", "a cookie of lifetimeType Permanent needs it".into()));
            }
            SessionCarrier::Cookie { name, path, permanent }
        }
        (_, _, Some(_)) => return Err(field("header", "type Cookie goes without it".into())),
    };
    Ok(SessionPersistence { carrier, absolute_timeout })
}

/// One that nobody else has, and that tells a client nothing of the cluster.
fn cookie_name(owner: &str) -> String {
    let digest = Sha256::digest(owner);
    let unique: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("weir-session-{unique}")
}

/// What names of headers and cookies are made of (RFC 9110 §5.6.2).
pub(crate) fn is_token(name: &str) -> bool {
    let is_separator = |byte: &u8| br#"()<>@,;:\"/[]?={} "#.contains(byte);
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && !is_separator(&byte))
}

/// Refuses rules whose sessions a Service's own `sessionAffinity` contradicts, as GEP-1619 demands.
pub(crate) fn refuse_beside_affinity(snapshot: &Lookup<'_>, input: &mut RouteInput<'_>) {
    for rule in input.rules.iter_mut().filter(|rule| rule.session.is_some()) {
        // Nothing is told of Services that the route may not use.
        let used = |reference| backend::resolve(snapshot, &Referrer::route(&input.key), reference, true).ok();
        let found = rule.references().filter_map(used).find(|(name, _)| {
            snapshot.services.get(name).is_some_and(|object| service::session_affinity(object).is_some())
        });
        if let Some((name, _)) = found {
            rule.cannot_serve(format!(
                "sessionPersistence: Service {name} has sessionAffinity ClientIP, and a backend has one or the other"
            ));
        }
    }
}
