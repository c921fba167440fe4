//! What a route does to a request, and where it sends it.

use mesh_ir::resource::{
    AuthProtocol, Backend, BackendTarget, Cors, ExternalAuth, Filter, Fraction, HeaderEdit, Mirror,
    PathRewrite, Redirect, Rewrite,
};

use super::{Malformed, Within, list, messages, name, optional, port, required, status};
use crate::proto;

impl From<&Filter> for proto::Filter {
    fn from(filter: &Filter) -> Self {
        use proto::filter::Filter as P;
        let filter = match filter {
            Filter::RequestHeaders(edit) => P::RequestHeaders(edit.into()),
            Filter::ResponseHeaders(edit) => P::ResponseHeaders(edit.into()),
            Filter::Redirect(redirect) => P::Redirect(redirect.into()),
            Filter::Rewrite(rewrite) => P::Rewrite(rewrite.into()),
            Filter::Mirror(mirror) => P::Mirror(mirror.into()),
            Filter::Cors(cors) => P::Cors(cors.into()),
            Filter::ExternalAuth(auth) => P::ExternalAuth(auth.into()),
        };
        Self { filter: Some(filter) }
    }
}

impl TryFrom<proto::Filter> for Filter {
    type Error = Malformed;
    fn try_from(filter: proto::Filter) -> Result<Self, Malformed> {
        use proto::filter::Filter as P;
        Ok(match filter.filter.ok_or_else(|| Malformed::unknown("the filter"))? {
            P::RequestHeaders(edit) => Self::RequestHeaders(edit.into()),
            P::ResponseHeaders(edit) => Self::ResponseHeaders(edit.into()),
            P::Redirect(redirect) => Self::Redirect(redirect.try_into().within("redirect")?),
            P::Rewrite(rewrite) => Self::Rewrite(rewrite.try_into().within("rewrite")?),
            P::Mirror(mirror) => Self::Mirror(mirror.try_into().within("mirror")?),
            P::Cors(cors) => Self::Cors(cors.into()),
            P::ExternalAuth(auth) => Self::ExternalAuth(auth.try_into().within("external_auth")?),
        })
    }
}

impl From<&ExternalAuth> for proto::ExternalAuth {
    fn from(auth: &ExternalAuth) -> Self {
        use proto::external_auth::Protocol as P;
        let ExternalAuth { target, protocol, max_body } = auth;
        let protocol = match protocol.clone() {
            AuthProtocol::Http { path_prefix, allowed_headers, allowed_response_headers } => {
                P::Http(proto::HttpAuth { path_prefix, allowed_headers, allowed_response_headers })
            }
            AuthProtocol::Grpc { allowed_headers } => P::Grpc(proto::GrpcAuth { allowed_headers }),
        };
        Self { target: Some(target.into()), protocol: Some(protocol), max_body: *max_body }
    }
}

impl TryFrom<proto::ExternalAuth> for ExternalAuth {
    type Error = Malformed;
    fn try_from(auth: proto::ExternalAuth) -> Result<Self, Malformed> {
        use proto::external_auth::Protocol as P;
        let protocol = auth.protocol.ok_or_else(|| Malformed::unknown("the protocol").within("protocol"))?;
        let protocol = match protocol {
            P::Http(proto::HttpAuth { path_prefix, allowed_headers, allowed_response_headers }) => {
                AuthProtocol::Http { path_prefix, allowed_headers, allowed_response_headers }
            }
            P::Grpc(proto::GrpcAuth { allowed_headers }) => AuthProtocol::Grpc { allowed_headers },
        };
        Ok(Self { target: required("target", auth.target)?, protocol, max_body: auth.max_body })
    }
}

impl From<&Cors> for proto::Cors {
    fn from(cors: &Cors) -> Self {
        let Cors { allow_origins, allow_credentials, allow_methods, allow_headers, expose_headers, max_age } =
            cors.clone();
        Self { allow_origins, allow_credentials, allow_methods, allow_headers, expose_headers, max_age }
    }
}

impl From<proto::Cors> for Cors {
    fn from(cors: proto::Cors) -> Self {
        let proto::Cors {
            allow_origins,
            allow_credentials,
            allow_methods,
            allow_headers,
            expose_headers,
            max_age,
        } = cors;
        Self { allow_origins, allow_credentials, allow_methods, allow_headers, expose_headers, max_age }
    }
}

impl From<&HeaderEdit> for proto::HeaderEdit {
    fn from(edit: &HeaderEdit) -> Self {
        let HeaderEdit { set, add, remove } = edit;
        let headers = |pairs: &[(String, String)]| {
            let header =
                |(name, value): &(String, String)| proto::Header { name: name.clone(), value: value.clone() };
            pairs.iter().map(header).collect()
        };
        Self { set: headers(set), add: headers(add), remove: remove.clone() }
    }
}

impl From<proto::HeaderEdit> for HeaderEdit {
    fn from(edit: proto::HeaderEdit) -> Self {
        let pairs = |headers: Vec<proto::Header>| headers.into_iter().map(|h| (h.name, h.value)).collect();
        Self { set: pairs(edit.set), add: pairs(edit.add), remove: edit.remove }
    }
}

impl From<&Redirect> for proto::Redirect {
    fn from(redirect: &Redirect) -> Self {
        let Redirect { scheme, hostname, path, port, status } = redirect;
        Self {
            scheme: scheme.clone(),
            hostname: hostname.clone(),
            path: path.as_ref().map(Into::into),
            port: port.map(Into::into),
            status: (*status).into(),
        }
    }
}

impl TryFrom<proto::Redirect> for Redirect {
    type Error = Malformed;
    fn try_from(redirect: proto::Redirect) -> Result<Self, Malformed> {
        Ok(Self {
            status: status("status", redirect.status)?,
            scheme: redirect.scheme,
            hostname: redirect.hostname,
            path: optional("path", redirect.path)?,
            port: redirect.port.map(|number| port("port", number)).transpose()?,
        })
    }
}

impl From<&Rewrite> for proto::Rewrite {
    fn from(rewrite: &Rewrite) -> Self {
        let Rewrite { hostname, path } = rewrite;
        Self { hostname: hostname.clone(), path: path.as_ref().map(Into::into) }
    }
}

impl TryFrom<proto::Rewrite> for Rewrite {
    type Error = Malformed;
    fn try_from(rewrite: proto::Rewrite) -> Result<Self, Malformed> {
        Ok(Self { hostname: rewrite.hostname, path: optional("path", rewrite.path)? })
    }
}

impl From<&PathRewrite> for proto::PathRewrite {
    fn from(rewrite: &PathRewrite) -> Self {
        use proto::path_rewrite::Rewrite as P;
        let rewrite = match rewrite {
            PathRewrite::ReplaceFullPath(path) => P::Full(path.clone()),
            PathRewrite::ReplacePrefixMatch(path) => P::Prefix(path.clone()),
        };
        Self { rewrite: Some(rewrite) }
    }
}

impl TryFrom<proto::PathRewrite> for PathRewrite {
    type Error = Malformed;
    fn try_from(rewrite: proto::PathRewrite) -> Result<Self, Malformed> {
        use proto::path_rewrite::Rewrite as P;
        Ok(match rewrite.rewrite.ok_or_else(|| Malformed::unknown("the rewrite"))? {
            P::Full(path) => Self::ReplaceFullPath(path),
            P::Prefix(path) => Self::ReplacePrefixMatch(path),
        })
    }
}

impl From<&Mirror> for proto::Mirror {
    fn from(mirror: &Mirror) -> Self {
        let Mirror { target, fraction: Fraction { numerator, denominator } } = mirror;
        Self { target: Some(target.into()), numerator: *numerator, denominator: *denominator }
    }
}

impl TryFrom<proto::Mirror> for Mirror {
    type Error = Malformed;
    fn try_from(mirror: proto::Mirror) -> Result<Self, Malformed> {
        let proto::Mirror { target, numerator, denominator } = mirror;
        if denominator == 0 {
            return Err(Malformed::new("it is zero").within("denominator"));
        }
        Ok(Self { target: required("target", target)?, fraction: Fraction { numerator, denominator } })
    }
}

impl From<&Backend> for proto::Backend {
    fn from(backend: &Backend) -> Self {
        let Backend { weight, target, filters, session } = backend;
        Self {
            weight: *weight,
            target: Some(target.into()),
            filters: messages(filters),
            session: session.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<proto::Backend> for Backend {
    type Error = Malformed;
    fn try_from(backend: proto::Backend) -> Result<Self, Malformed> {
        Ok(Self {
            weight: backend.weight,
            target: required("target", backend.target)?,
            filters: list("filters", backend.filters)?,
            session: optional("session", backend.session)?,
        })
    }
}

impl From<&BackendTarget> for proto::BackendTarget {
    fn from(target: &BackendTarget) -> Self {
        use proto::backend_target::Target as P;
        let target = match target {
            BackendTarget::Service { service, port } => {
                P::Service(proto::ServiceTarget { service: service.to_string(), port: (*port).into() })
            }
            BackendTarget::Invalid { reason } => P::Invalid(proto::InvalidTarget { reason: reason.clone() }),
        };
        Self { target: Some(target) }
    }
}

impl TryFrom<proto::BackendTarget> for BackendTarget {
    type Error = Malformed;
    fn try_from(target: proto::BackendTarget) -> Result<Self, Malformed> {
        use proto::backend_target::Target as P;
        Ok(match target.target.ok_or_else(|| Malformed::unknown("the target"))? {
            P::Service(target) => {
                Self::Service { service: name("service", &target.service)?, port: port("port", target.port)? }
            }
            P::Invalid(target) => Self::Invalid { reason: target.reason },
        })
    }
}
