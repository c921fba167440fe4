//! What the API server refuses of an XBackend.

use super::{Problem, backend_tls_policy, name};
use crate::api::generated::xbackend::{
    XBackendProtocol as Protocol, XBackendSpec, XBackendTls, XBackendTlsMode as Mode, XBackendType as Type,
};
use crate::xbackend::is_of_the_cluster;

const MAX_LABELS: usize = 64;

pub(super) fn validate(spec: &XBackendSpec) -> Result<(), Problem> {
    let Some(port) = spec.port.number else {
        return Err(Problem::at("spec.port.number", "missing; an XBackend needs a port"));
    };
    name::check_port("spec.port.number", port)?;
    let must = |field: &str, wanted: Type, there: bool| match (spec.r#type == wanted, there) {
        (true, false) => Err(Problem::at(field, format!("missing; type {wanted:?} needs it"))),
        (false, true) => Err(Problem::at(field, format!("set; type {:?} goes without it", spec.r#type))),
        _ => Ok(()),
    };
    must("spec.externalHostname", Type::ExternalHostname, spec.external_hostname.is_some())?;
    must("spec.endpointSelector", Type::EndpointSelector, spec.endpoint_selector.is_some())?;
    if let Some(external) = &spec.external_hostname {
        let field = "spec.externalHostname.hostname";
        name::check_hostname(field, &external.hostname, false)?;
        if is_of_the_cluster(&external.hostname) {
            let message = format!(
                "`{}` is a name of the cluster's own; name the Service itself in backendRefs, or use type EndpointSelector",
                external.hostname
            );
            return Err(Problem::at(field, message));
        }
    }
    if let Some(selector) = &spec.endpoint_selector {
        let count = selector.match_labels.len();
        if count == 0 || count > MAX_LABELS {
            let message = format!("{count} labels; a selector has 1 to {MAX_LABELS}");
            return Err(Problem::at("spec.endpointSelector.matchLabels", message));
        }
    }
    let in_tls = spec.tls.as_ref().is_some_and(|tls| tls.mode != Mode::None);
    match (&spec.protocol, in_tls) {
        (Some(Protocol::H2C), true) => {
            return Err(Problem::at("spec.tls.mode", "protocol H2C is without TLS; with TLS it is HTTP2"));
        }
        (Some(protocol @ (Protocol::Http2 | Protocol::Wss)), false) => {
            let message = match protocol {
                Protocol::Http2 => "protocol HTTP2 needs TLS; without it is H2C",
                _ => "protocol WSS needs TLS",
            };
            return Err(Problem::at("spec.tls", message));
        }
        _ => {}
    }
    if spec.session_persistence.is_some() && spec.r#type != Type::EndpointSelector {
        let message = "set; only an XBackend of type EndpointSelector has it";
        return Err(Problem::at("spec.sessionPersistence", message));
    }
    spec.tls.as_ref().map_or(Ok(()), check_tls)
}

fn check_tls(tls: &XBackendTls) -> Result<(), Problem> {
    let mode = &tls.mode;
    match (tls.mode == Mode::ClientAndServer, tls.client_certificate_ref.is_some()) {
        (true, false) => {
            let message = "missing; mode ClientAndServer needs it";
            return Err(Problem::at("spec.tls.clientCertificateRef", message));
        }
        (false, true) => {
            let message = format!("set; mode {mode:?} goes without it");
            return Err(Problem::at("spec.tls.clientCertificateRef", message));
        }
        _ => {}
    }
    match (&tls.mode, &tls.validation) {
        (Mode::None, Some(_)) => Err(Problem::at("spec.tls.validation", "set; mode None goes without it")),
        (Mode::ServerOnly | Mode::ClientAndServer, None) => {
            Err(Problem::at("spec.tls.validation", format!("missing; mode {mode:?} needs it")))
        }
        (_, Some(validation)) => backend_tls_policy::check_validation("spec.tls.validation", validation),
        (Mode::None, None) => Ok(()),
    }
}
