//! BackendTLSPolicies (GEP-1897): how the applications behind a Service's port are spoken to in TLS, and what is said to
//! policies.
//!
//! A policy for one port goes before one for all ports of the Service; of several for the same the oldest does. A policy that
//! goes first and cannot be followed is not gone around: nothing is sent to the application.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use mesh_ir::name::{Hostname, ObjectName};
use mesh_ir::resource::{BackendTls, SubjectAltName, TlsClient, Trust};

use crate::api::BackendTlsPolicy;
use crate::api::generated::backend_tls_policy::{
    BackendTlsPolicyValidationSubjectAltNames as WrittenName,
    BackendTlsPolicyValidationSubjectAltNamesType as NameType,
};
use crate::api::policy::TargetRef;
use crate::attach::Refusal;
use crate::authorities::{self, Reference, Wrong};
use crate::lookup::Lookup;
use crate::object::{Kind, ObjectId};
use crate::policy::{self, created, is_service};
use crate::service;
use crate::status::{Conditions, ParentReference, PolicyAncestorStatus, PolicyStatus, Status};

/// The policies of one Service, those that go first at the front.
#[derive(Debug)]
pub(crate) struct Policies<'a> {
    snapshot: &'a Lookup<'a>,
    claims: Vec<Claim<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Claim<'a> {
    name: &'a ObjectName,
    policy: &'a BackendTlsPolicy,
    /// The name of a port; none is all.
    port: Option<&'a str>,
}

impl<'a> Policies<'a> {
    pub(crate) fn of(snapshot: &'a Lookup<'a>, service: &ObjectName) -> Self {
        let mut claims = Vec::new();
        for (name, policy) in snapshot.backend_tls_policies.in_namespace(&service.namespace) {
            let targets = policy.spec.target_refs.iter().filter(|target| is_service(target));
            let targets = targets.filter(|target| target.name == *service.name);
            claims.extend(targets.map(|target| Claim { name, policy, port: section(target) }));
        }
        claims.sort_by_key(|claim| (created(&claim.policy.metadata), claim.name));
        Self { snapshot, claims }
    }

    /// Whether a policy has this port.
    pub(crate) fn have(&self, port: &core::ServicePort) -> bool {
        self.first(port).is_some()
    }

    /// How the applications behind this port are spoken to.
    pub(crate) fn of_port(&self, port: &core::ServicePort) -> Option<BackendTls> {
        let Claim { name, policy, .. } = self.first(port)?;
        Some(match judge(self.snapshot, name, policy).client {
            Ok(client) => BackendTls::Client(Arc::new(client)),
            Err((_, problem)) => {
                BackendTls::Invalid { reason: format!("BackendTLSPolicy {name}: {problem}").into() }
            }
        })
    }

    fn first(&self, port: &core::ServicePort) -> Option<Claim<'a>> {
        let name = port.name.as_deref().filter(|name| !name.is_empty());
        name.and_then(|name| self.winner(Some(name))).or_else(|| self.winner(None))
    }

    fn winner(&self, port: Option<&str>) -> Option<Claim<'a>> {
        self.claims.iter().find(|claim| claim.port == port).copied()
    }
}

/// What is said to a policy: for each Gateway whose routes use a Service that it is for. Where none does, it is told about
/// the Service itself.
pub(crate) fn status(snapshot: &Lookup<'_>, name: &ObjectName) -> Option<(ObjectId, Status)> {
    let policy = snapshot.backend_tls_policies.get(name)?;
    let judged = judge(snapshot, name, policy);
    let conditions = Conditions { generation: policy.metadata.generation };
    let accepted = |target| {
        let accepted = accept(snapshot, name, target);
        (target, accepted.and_then(|applies| judged.client.as_ref().map(|_| applies).map_err(Clone::clone)))
    };
    let targets = policy.spec.target_refs.iter().map(accepted).collect();
    let resolved_refs = || match &judged.resolved {
        Ok(()) => conditions.ok("ResolvedRefs", "ResolvedRefs", "All references are resolved"),
        Err((reason, message)) => conditions.no("ResolvedRefs", reason, message.clone()),
    };
    let without_effect = policy.spec.options.as_ref().filter(|options| !options.is_empty()).map(|options| {
        let names: Vec<&str> = options.keys().map(String::as_str).collect();
        format!("; without effect, as not supported: options {}", names.join(", "))
    });
    let ancestor = |(reference, accepted): (ParentReference, Result<String, Refusal>)| {
        let accepted = match accepted {
            Ok(applies) => {
                conditions.ok("Accepted", "Accepted", applies + without_effect.as_deref().unwrap_or_default())
            }
            Err((reason, message)) => conditions.no("Accepted", reason, message),
        };
        PolicyAncestorStatus::new(reference, vec![accepted, resolved_refs()])
    };
    let ancestors = policy::by_ancestor(snapshot, name, targets).into_iter().map(ancestor).collect();
    let id = ObjectId::namespaced(Kind::BackendTlsPolicy, name);
    Some((id, Status::Policy(PolicyStatus { ancestors })))
}

/// Whether a policy has what it targets, and what that is.
fn accept(snapshot: &Lookup<'_>, policy: &ObjectName, target: &TargetRef) -> Result<String, Refusal> {
    if !is_service(target) {
        let message = format!(
            "targetRefs names {} {}, and a BackendTLSPolicy applies to Services only (group \"\", kind Service)",
            target.kind, target.name
        );
        return Err(("Invalid", message));
    }
    let name = ObjectName::new(policy.namespace.as_str(), &target.name)
        .map_err(|error| ("Invalid", format!("targetRefs: {error}")))?;
    let service = snapshot.services.get(&name);
    let service = service.ok_or_else(|| ("TargetNotFound", format!("Service {name} does not exist")))?;
    let ports: Vec<&core::ServicePort> = match section(target) {
        None => service::all_ports(service).collect(),
        Some(section) => {
            service::all_ports(service).filter(|port| port.name.as_deref() == Some(section)).collect()
        }
    };
    let of_port = section(target).map(|port| format!("port {port} of ")).unwrap_or_default();
    if let (true, Some(port)) = (ports.is_empty(), section(target)) {
        return Err(("TargetNotFound", format!("Service {name} has no port called {port}")));
    }
    let (tcp, rest): (Vec<_>, Vec<_>) = ports.into_iter().partition(|port| service::protocol(port) == "TCP");
    if let (true, Some(port)) = (tcp.is_empty(), rest.first()) {
        let message = format!("{of_port}Service {name} is {}, which carries no TLS", service::protocol(port));
        return Err(("Invalid", message));
    }
    match Policies::of(snapshot, &name).winner(section(target)) {
        Some(winner) if winner.name != policy => {
            let winner = winner.name;
            let message = format!(
                "BackendTLSPolicy {winner} applies to {of_port}Service {name}; of several the oldest does"
            );
            Err(("Conflicted", message))
        }
        _ => {
            let but = if rest.is_empty() { "" } else { ", to its TCP ports only" };
            Ok(format!("Applies to {of_port}Service {name}{but}"))
        }
    }
}

/// What a policy asks for, whatever it targets.
struct Judged {
    client: Result<TlsClient, Refusal>,
    resolved: Result<(), Refusal>,
}

fn judge(snapshot: &Lookup<'_>, name: &ObjectName, policy: &BackendTlsPolicy) -> Judged {
    let (trust, resolved) = trust(snapshot, name, policy);
    let validation = &policy.spec.validation;
    let client = server_name(&validation.hostname).and_then(|server_name| {
        Ok(TlsClient {
            policy: name.clone(),
            server_name,
            subject_alt_names: alternatives(validation.subject_alt_names.as_deref().unwrap_or_default())?,
            trust: trust?,
        })
    });
    Judged { client, resolved }
}

fn trust(
    snapshot: &Lookup<'_>,
    name: &ObjectName,
    policy: &BackendTlsPolicy,
) -> (Result<Trust, Refusal>, Result<(), Refusal>) {
    let validation = &policy.spec.validation;
    let written = validation.ca_certificate_refs.as_deref().unwrap_or_default();
    let known = validation.well_known_ca_certificates.as_deref().filter(|known| !known.is_empty());
    let invalid = |message: String| (Err(("Invalid", message)), Ok(()));
    match (written.is_empty(), known) {
        (true, Some("System")) => return (Ok(Trust::System), Ok(())),
        (true, Some(known)) => {
            return invalid(format!("validation.wellKnownCACertificates {known} is not known; System is"));
        }
        (true, None) => {
            return invalid("validation needs caCertificateRefs or wellKnownCACertificates".into());
        }
        (false, Some(_)) => {
            let message = "validation has caCertificateRefs and wellKnownCACertificates: remove one of them";
            return invalid(message.into());
        }
        (false, None) => {}
    }
    let references = written.iter().map(|reference| Reference {
        group: &reference.group,
        kind: &reference.kind,
        namespace: None,
        name: &reference.name,
    });
    let from = (Kind::BackendTlsPolicy.as_str(), name.namespace.as_str());
    let found = authorities::gather(snapshot, from, "validation.caCertificateRefs", references);
    let problems: Vec<&str> = found.problems.iter().map(|(_, problem)| problem.as_str()).collect();
    let resolved = match found.problems.first() {
        None => Ok(()),
        Some((Wrong::Kind, _)) => Err(("InvalidKind", problems.join("; "))),
        Some((Wrong::NotPermitted | Wrong::Unusable, _)) => {
            Err(("InvalidCACertificateRef", problems.join("; ")))
        }
    };
    let trust = match found.pem.is_empty() {
        true => Err(("NoValidCACertificate", problems.join("; "))),
        false => Ok(Trust::Authorities(found.pem)),
    };
    (trust, resolved)
}

fn server_name(written: &str) -> Result<Hostname, Refusal> {
    let wrong = || ("Invalid", format!("validation.hostname {written} is not a DNS name without wildcard"));
    let name = written.parse().ok().filter(|name| matches!(name, Hostname::Exact(_)));
    name.filter(|_| written.parse::<IpAddr>().is_err()).ok_or_else(wrong)
}

fn alternatives(written: &[WrittenName]) -> Result<Vec<SubjectAltName>, Refusal> {
    let read = |(i, name): (usize, &WrittenName)| {
        let wrong = |what: &str| ("Invalid", format!("validation.subjectAltNames[{i}] {what}"));
        match name.r#type {
            NameType::Hostname => {
                let hostname = name.hostname.as_deref().and_then(|hostname| hostname.parse().ok());
                hostname
                    .map(SubjectAltName::Hostname)
                    .ok_or_else(|| wrong("has no hostname that is a DNS name"))
            }
            NameType::Uri => {
                let uri = name.uri.as_deref().filter(|uri| is_absolute(uri));
                uri.map(|uri| SubjectAltName::Uri(uri.to_owned())).ok_or_else(|| wrong("has no absolute uri"))
            }
        }
    };
    written.iter().enumerate().map(read).collect()
}

/// Whether a URI has a scheme, and something behind it (RFC 3986 section 3).
fn is_absolute(uri: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    uri.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
}

fn section(target: &TargetRef) -> Option<&str> {
    target.section_name.as_deref().filter(|section| !section.is_empty())
}
