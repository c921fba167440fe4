//! What the API server refuses of a Gateway and of a ListenerSet.

use std::collections::BTreeSet;

use super::{Problem, name};
use crate::api::generated::gateway::{
    GatewayListeners, GatewayListenersTlsMode, GatewaySpec, GatewayTlsFrontend,
    GatewayTlsFrontendDefaultValidation,
};
use crate::api::generated::listener_set::ListenerSetSpec;

/// That listeners be distinct is not refused here: the listeners that are not are told so in the status, where it is
/// seen which of them still serve.
pub(super) fn validate(spec: &GatewaySpec) -> Result<(), Problem> {
    check_listeners("Gateway", &spec.listeners)?;
    for (i, address) in spec.addresses.iter().flatten().enumerate() {
        check_routability(&format!("spec.addresses[{i}].routability"), address.routability.as_deref())?;
    }
    let frontend = spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
    frontend.map_or(Ok(()), check_frontend)
}

pub(super) fn validate_set(spec: &ListenerSetSpec) -> Result<(), Problem> {
    if spec.parent_ref.name.is_empty() {
        return Err(Problem::at(
            "spec.parentRef.name",
            "empty; a ListenerSet names the Gateway that it is for",
        ));
    }
    check_listeners("ListenerSet", &spec.listeners)
}

fn check_listeners(kind: &str, listeners: &[GatewayListeners]) -> Result<(), Problem> {
    if listeners.is_empty() || listeners.len() > 64 {
        let message = format!("{} listeners; a {kind} has 1 to 64", listeners.len());
        return Err(Problem::at("spec.listeners", message));
    }
    let mut names = BTreeSet::new();
    for (i, listener) in listeners.iter().enumerate() {
        let field = format!("spec.listeners[{i}]");
        if !names.insert(&listener.name) {
            let message = format!("another listener is called {} already", listener.name);
            return Err(Problem::at(format!("{field}.name"), message));
        }
        check_listener(&field, listener)?;
    }
    Ok(())
}

fn check_routability(field: &str, routability: Option<&str>) -> Result<(), Problem> {
    let Some(text) = routability.filter(|text| !matches!(*text, "" | "Cluster")) else { return Ok(()) };
    let Some((domain, _)) = text.split_once('/').filter(|(_, rest)| !rest.is_empty()) else {
        let message = format!("`{text}` is neither Cluster nor DOMAIN/NAME");
        return Err(Problem::at(field, message));
    };
    if domain == "k8s.io" || domain.ends_with(".k8s.io") {
        return Err(Problem::at(field, format!("`{text}` is of k8s.io, which is kept for the Gateway API")));
    }
    name::check_hostname(field, domain, false)
}

fn check_frontend(frontend: &GatewayTlsFrontend) -> Result<(), Problem> {
    let check = |field: &str, validation: Option<&GatewayTlsFrontendDefaultValidation>| {
        let listed = validation.map(|validation| validation.ca_certificate_refs.as_slice());
        let mut numbered = listed.unwrap_or_default().iter().enumerate();
        let of_cluster = numbered.find(|(_, reference)| {
            (reference.group.as_str(), reference.kind.as_str())
                == ("certificates.k8s.io", "ClusterTrustBundle")
                && reference.namespace.is_some()
        });
        if let Some((i, _)) = of_cluster {
            let field = format!("spec.tls.frontend.{field}.validation.caCertificateRefs[{i}].namespace");
            return Err(Problem::at(field, "a ClusterTrustBundle is of no namespace"));
        }
        let references = listed.map_or(1, <[_]>::len);
        match references {
            1..=16 => Ok(()),
            count => Err(Problem::at(
                format!("spec.tls.frontend.{field}.validation.caCertificateRefs"),
                format!("{count} references; there must be 1 to 16"),
            )),
        }
    };
    check("default", frontend.default.validation.as_ref())?;
    let mut ports = BTreeSet::new();
    for (i, per_port) in frontend.per_port.iter().flatten().enumerate() {
        let field = format!("spec.tls.frontend.perPort[{i}]");
        name::check_port(&format!("{field}.port"), per_port.port)?;
        if !ports.insert(per_port.port) {
            let message = format!("port {} has a configuration already", per_port.port);
            return Err(Problem::at(format!("{field}.port"), message));
        }
        check(&format!("perPort[{i}].tls"), per_port.tls.validation.as_ref())?;
    }
    Ok(())
}

fn check_listener(field: &str, listener: &GatewayListeners) -> Result<(), Problem> {
    if !name::is_subdomain(&listener.name) {
        let message = "must be lower-case letters, digits, `-` and `.`";
        return Err(Problem::at(format!("{field}.name"), message));
    }
    name::check_port(&format!("{field}.port"), listener.port)?;
    if let Some(hostname) = &listener.hostname {
        name::check_hostname(&format!("{field}.hostname"), hostname, true)?;
    }
    let tls = format!("{field}.tls");
    match (listener.protocol.as_str(), &listener.tls) {
        ("HTTP" | "TCP" | "UDP", Some(_)) => {
            Err(Problem::at(tls, format!("must not be set for protocol {}", listener.protocol)))
        }
        ("HTTPS", Some(settings)) if settings.mode == Some(GatewayListenersTlsMode::Passthrough) => {
            Err(Problem::at(format!("{tls}.mode"), "must be Terminate for protocol HTTPS"))
        }
        (_, Some(settings)) if settings.mode != Some(GatewayListenersTlsMode::Passthrough) => {
            let references = settings.certificate_refs.as_ref().is_some_and(|refs| !refs.is_empty());
            let options = settings.options.as_ref().is_some_and(|options| !options.is_empty());
            match references || options {
                true => Ok(()),
                false => {
                    Err(Problem::at(tls, "needs certificateRefs (or options) when its mode is Terminate"))
                }
            }
        }
        _ => Ok(()),
    }
}
