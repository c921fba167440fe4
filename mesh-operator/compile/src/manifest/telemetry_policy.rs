//! What the API server refuses of an XTelemetryPolicy.

use super::{Problem, name};
use crate::api::telemetry_policy::{
    Attribute, BackendRef, Fraction, Header, LocalTargetRef, Mode, SourceType, TelemetryPolicySpec, Tracing,
};

const MAX_TARGETS: usize = 16;
const MAX_HEADERS: usize = 16;
const MAX_HEADER_VALUE: usize = 4096;
const MAX_SERVICE_NAME: usize = 253;
const MAX_NAME: usize = 256;
const MAX_LITERAL: usize = 1024;

pub(super) fn validate(spec: &TelemetryPolicySpec) -> Result<(), Problem> {
    check_targets(&spec.target_refs)?;
    match &spec.tracing {
        Some(tracing) => check_tracing(tracing),
        None => Err(Problem::at("spec", "has no tracing, and a policy must ask for something: set tracing")),
    }
}

fn check_targets(targets: &[LocalTargetRef]) -> Result<(), Problem> {
    if targets.is_empty() || targets.len() > MAX_TARGETS {
        let message = format!("{} targets; name 1 to {MAX_TARGETS} Gateways", targets.len());
        return Err(Problem::at("spec.targetRefs", message));
    }
    for (i, target) in targets.iter().enumerate() {
        if targets[..i].contains(target) {
            let message = "another targetRef names the same target";
            return Err(Problem::at(format!("spec.targetRefs[{i}]"), message));
        }
    }
    Ok(())
}

fn check_tracing(tracing: &Tracing) -> Result<(), Problem> {
    let enabled = tracing.mode == Mode::Enabled;
    let set = [
        ("provider", tracing.provider.is_some()),
        ("samplingRate", tracing.sampling_rate.is_some()),
        ("parentBasedSampling", tracing.parent_based_sampling.is_some()),
        ("serviceName", tracing.service_name.is_some()),
        ("spanName", tracing.span_name.is_some()),
        ("attributes", tracing.attributes.is_some()),
    ];
    if let Some((field, _)) = set.iter().find(|(_, is_set)| *is_set && !enabled) {
        return Err(Problem::at(format!("spec.tracing.{field}"), "can be set in mode Enabled only"));
    }
    match &tracing.provider {
        None if enabled => {
            return Err(Problem::at("spec.tracing.provider", "missing; mode Enabled needs one"));
        }
        None => {}
        Some(provider) => {
            check_reference("spec.tracing.provider.backendRef", &provider.backend_ref)?;
            check_headers(provider.headers.as_deref().unwrap_or_default())?;
        }
    }
    check_fraction("spec.tracing.samplingRate", tracing.sampling_rate.as_ref())?;
    if let Some(by_parent) = &tracing.parent_based_sampling {
        let field = "spec.tracing.parentBasedSampling.samplingRate";
        if by_parent.sampling_rate.is_some() && by_parent.mode != Mode::Enabled {
            return Err(Problem::at(field, "can be set where parentBasedSampling has mode Enabled only"));
        }
        check_fraction(field, by_parent.sampling_rate.as_ref())?;
    }
    let service_name = tracing.service_name.as_deref();
    if service_name.is_some_and(|name| !is_name(name) || name.len() > MAX_SERVICE_NAME) {
        let message = "must be 1 to 253 letters, digits and `_.:/-`";
        return Err(Problem::at("spec.tracing.serviceName", message));
    }
    let is_span_name = |name: &str| name.len() <= MAX_NAME && name.split(' ').all(is_name);
    if tracing.span_name.as_deref().is_some_and(|name| !is_span_name(name)) {
        let message = "must be 1 to 256 letters, digits and `_.:/-`, in words with one space between them";
        return Err(Problem::at("spec.tracing.spanName", message));
    }
    check_attributes(tracing.attributes.as_deref().unwrap_or_default())
}

fn check_reference(field: &str, reference: &BackendRef) -> Result<(), Problem> {
    let group = reference.group.as_deref().unwrap_or_default();
    let kind = reference.kind.as_deref().unwrap_or("Service");
    match (group, kind, reference.port) {
        ("", "Service", None) => Err(Problem::at(field, "has no port, and a Service needs one")),
        ("gateway.networking.x-k8s.io", "XBackend", Some(_)) => {
            Err(Problem::at(field, "has a port, and an XBackend has its own: remove it"))
        }
        (_, _, Some(port)) => name::check_port(&format!("{field}.port"), port),
        (_, _, None) => Ok(()),
    }
}

fn check_headers(headers: &[Header]) -> Result<(), Problem> {
    let all = "spec.tracing.provider.headers";
    if headers.len() > MAX_HEADERS {
        return Err(Problem::at(all, format!("{} headers; at most {MAX_HEADERS} are taken", headers.len())));
    }
    for (i, header) in headers.iter().enumerate() {
        name::check_header_name(&format!("{all}[{i}].name"), &header.name)?;
        if headers[..i].iter().any(|other| other.name == header.name) {
            return Err(Problem::at(format!("{all}[{i}].name"), "another header has the same name"));
        }
        if !is_header_value(header.value.expose()) {
            // The value itself is not shown: it may be a token.
            let message =
                "must be 1 to 4096 printable ASCII characters, with one space or tab at a time between them";
            return Err(Problem::at(format!("{all}[{i}].value"), message));
        }
    }
    Ok(())
}

fn is_header_value(value: &str) -> bool {
    let words = |value: &str| {
        value.split([' ', '\t']).all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic()))
    };
    value.len() <= MAX_HEADER_VALUE && words(value)
}

fn check_fraction(field: &str, fraction: Option<&Fraction>) -> Result<(), Problem> {
    let Some(Fraction { numerator, denominator }) = fraction else { return Ok(()) };
    let denominator = denominator.unwrap_or(100);
    if *numerator < 0 || denominator < 1 || *numerator > denominator {
        let message = format!(
            "{numerator}/{denominator} is not a fraction between 0 and 1 with a denominator of at least 1"
        );
        return Err(Problem::at(field, message));
    }
    Ok(())
}

fn check_attributes(attributes: &[Attribute]) -> Result<(), Problem> {
    for (i, attribute) in attributes.iter().enumerate() {
        let field = format!("spec.tracing.attributes[{i}]");
        if !is_name(&attribute.name) || attribute.name.len() > MAX_NAME {
            let message = "must be 1 to 256 letters, digits and `_.:/-`";
            return Err(Problem::at(format!("{field}.name"), message));
        }
        if attributes[..i].iter().any(|other| other.name == attribute.name) {
            return Err(Problem::at(format!("{field}.name"), "another attribute has the same name"));
        }
        check_source(&field, attribute)?;
    }
    Ok(())
}

fn check_source(field: &str, attribute: &Attribute) -> Result<(), Problem> {
    let Attribute { header_name, literal_value, attribute_key, .. } = attribute;
    let given = (header_name.as_deref(), literal_value.as_deref(), attribute_key.as_deref());
    match (attribute.source_type, given) {
        (SourceType::Header, (Some(header), None, None)) => {
            name::check_header_name(&format!("{field}.headerName"), header)
        }
        (SourceType::Header, _) => {
            Err(Problem::at(field, "of sourceType Header: it has a headerName, and nothing else"))
        }
        (SourceType::Literal, (None, Some(text), None)) => {
            match (1..=MAX_LITERAL).contains(&text.chars().count()) {
                true => Ok(()),
                false => Err(Problem::at(format!("{field}.literalValue"), "must be 1 to 1024 characters")),
            }
        }
        (SourceType::Literal, _) => {
            Err(Problem::at(field, "of sourceType Literal: it has a literalValue, and nothing else"))
        }
        (SourceType::Attribute, (None, None, Some(key))) => {
            let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
            match (1..=MAX_NAME).contains(&key.len()) && key.bytes().all(valid) {
                true => Ok(()),
                false => {
                    let message = "must be 1 to 256 lower-case letters, digits and `_.-`";
                    Err(Problem::at(format!("{field}.attributeKey"), message))
                }
            }
        }
        (SourceType::Attribute, _) => {
            Err(Problem::at(field, "of sourceType Attribute: it has an attributeKey, and nothing else"))
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:/-".contains(&b))
}
