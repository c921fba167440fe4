//! What the API server refuses of a BackendTLSPolicy.

use super::{Problem, name};
use crate::api::generated::backend_tls_policy::{
    BackendTlsPolicySpec, BackendTlsPolicyValidation,
    BackendTlsPolicyValidationSubjectAltNames as SubjectAltName,
    BackendTlsPolicyValidationSubjectAltNamesType as NameType,
};
use crate::api::policy::TargetRef;

const MAX_TARGETS: usize = 16;
const MAX_AUTHORITIES: usize = 8;
const MAX_NAMES: usize = 5;

pub(super) fn validate(spec: &BackendTlsPolicySpec) -> Result<(), Problem> {
    check_targets(&spec.target_refs)?;
    check_validation("spec.validation", &spec.validation)
}

/// It is the same in an XBackend.
pub(super) fn check_validation(field: &str, validation: &BackendTlsPolicyValidation) -> Result<(), Problem> {
    let references = validation.ca_certificate_refs.as_deref().unwrap_or_default();
    let known = validation.well_known_ca_certificates.as_deref().unwrap_or_default();
    let message = match (references.len(), known.is_empty()) {
        (0, true) => "needs caCertificateRefs or wellKnownCACertificates",
        (1.., false) => "has caCertificateRefs and wellKnownCACertificates: remove one of them",
        (count, _) if count > MAX_AUTHORITIES => "has more than 8 caCertificateRefs",
        _ => "",
    };
    if !message.is_empty() {
        return Err(Problem::at(field, message));
    }
    name::check_hostname(&format!("{field}.hostname"), &validation.hostname, false)?;
    let names = validation.subject_alt_names.as_deref().unwrap_or_default();
    if names.len() > MAX_NAMES {
        let message = format!("{} names; at most {MAX_NAMES} are taken", names.len());
        return Err(Problem::at(format!("{field}.subjectAltNames"), message));
    }
    let mut numbered = names.iter().enumerate();
    numbered.try_for_each(|(i, name)| check_name(&format!("{field}.subjectAltNames[{i}]"), name))
}

fn check_targets(targets: &[TargetRef]) -> Result<(), Problem> {
    if targets.is_empty() || targets.len() > MAX_TARGETS {
        let message = format!("{} targets; name 1 to {MAX_TARGETS} Services", targets.len());
        return Err(Problem::at("spec.targetRefs", message));
    }
    let section = |target: &TargetRef| target.section_name.clone().filter(|section| !section.is_empty());
    for (i, target) in targets.iter().enumerate() {
        let same = |other: &&TargetRef| {
            (&other.group, &other.kind, &other.name) == (&target.group, &target.kind, &target.name)
        };
        for other in targets[..i].iter().filter(same) {
            let message = match (section(other), section(target)) {
                (Some(a), Some(b)) if a != b => continue,
                (Some(_), Some(_)) | (None, None) => {
                    "another targetRef names the same target and sectionName"
                }
                _ => "where several targetRefs name one target, each must have a sectionName",
            };
            return Err(Problem::at(format!("spec.targetRefs[{i}]"), message));
        }
    }
    Ok(())
}

fn check_name(field: &str, name: &SubjectAltName) -> Result<(), Problem> {
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    match (&name.r#type, given(&name.hostname), given(&name.uri)) {
        (NameType::Hostname, true, false) => {
            let hostname = name.hostname.as_deref().unwrap_or_default();
            name::check_hostname(&format!("{field}.hostname"), hostname, true)
        }
        (NameType::Uri, false, true) => Ok(()),
        (NameType::Hostname, ..) => {
            Err(Problem::at(field, "of type Hostname: it has a hostname, and no uri"))
        }
        (NameType::Uri, ..) => Err(Problem::at(field, "of type URI: it has a uri, and no hostname")),
    }
}
