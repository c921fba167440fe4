//! BackendPolicies: which Service each of them applies to, and what is said to those that do not. And what all kinds of
//! policies have in common that target Services.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_ir::name::ObjectName;
use mesh_ir::resource::{CircuitBreaker, Service};

use crate::api::policy::TargetRef;
use crate::api::{BackendPolicy, GATEWAY_GROUP};
use crate::attach::Refusal;
use crate::lookup::Lookup;
use crate::object::{Kind, ObjectId};
use crate::status::{Conditions, ParentReference, PolicyAncestorStatus, PolicyStatus, Status};

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Policies {
    pub(crate) circuit_breakers: BTreeMap<ObjectName, CircuitBreaker>,
    pub(crate) statuses: BTreeMap<ObjectId, Status>,
}

pub(crate) fn compile(snapshot: &Lookup<'_>) -> Policies {
    let mut policies = Policies::default();
    let mut winners: BTreeMap<ObjectName, &ObjectName> = BTreeMap::new();
    let mut by_age: Vec<(&ObjectName, &BackendPolicy)> =
        snapshot.backend_policies.iter().map(|(name, policy)| (name, policy.as_ref())).collect();
    by_age.sort_by_key(|(name, policy)| (created(&policy.metadata), *name));

    for (name, policy) in by_age {
        let conditions = Conditions { generation: policy.metadata.generation };
        let breaker = circuit_breaker(policy);
        let attach = |target: &TargetRef| {
            let accepted = match resolve(snapshot, name, target)
                .and_then(|service| Ok((service, breaker.clone()?)))
            {
                Err((reason, message)) => conditions.no("Accepted", reason, message),
                Ok((service, breaker)) => match winners.get(&service) {
                    Some(winner) if *winner != name => conditions.no(
                        "Accepted",
                        "Conflicted",
                        format!(
                            "BackendPolicy {winner} applies to Service {service}; of several the oldest does"
                        ),
                    ),
                    _ => {
                        winners.insert(service.clone(), name);
                        policies.circuit_breakers.extend(breaker.map(|breaker| (service.clone(), breaker)));
                        conditions.ok("Accepted", "Accepted", format!("Applies to Service {service}"))
                    }
                },
            };
            PolicyAncestorStatus::new(ancestor(name, target), vec![accepted])
        };
        let ancestors = policy.spec.target_refs.iter().map(attach).collect();
        let id = ObjectId::namespaced(Kind::BackendPolicy, name);
        policies.statuses.insert(id, Status::Policy(PolicyStatus { ancestors }));
    }
    policies
}

/// Seconds since 1970; an object that does not say when it was made counts as older than all.
pub(crate) fn created(metadata: &ObjectMeta) -> i64 {
    metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second())
}

/// The Service that a policy of the kinds that apply to all of a Service targets.
pub(crate) fn resolve(
    snapshot: &Lookup<'_>,
    policy: &ObjectName,
    target: &TargetRef,
) -> Result<ObjectName, Refusal> {
    if !is_service(target) {
        let message = format!(
            "targetRefs names {} {}, and this policy applies to Services only (group \"\", kind Service)",
            target.kind, target.name
        );
        return Err(("Invalid", message));
    }
    if target.section_name.is_some() {
        let message =
            "targetRefs has a sectionName, and this policy applies to all ports of a Service: remove it";
        return Err(("Invalid", message.into()));
    }
    let service = ObjectName::new(policy.namespace.as_str(), &target.name)
        .map_err(|error| ("Invalid", format!("targetRefs: {error}")))?;
    match snapshot.services.contains_key(&service) {
        true => Ok(service),
        false => Err(("TargetNotFound", format!("Service {service} does not exist"))),
    }
}

fn circuit_breaker(policy: &BackendPolicy) -> Result<Option<CircuitBreaker>, Refusal> {
    let Some(breaker) = &policy.spec.circuit_breaker else { return Ok(None) };
    let limit = |field: &str, least: u32, value: Option<i64>| {
        let Some(value) = value else { return Ok(None) };
        match u32::try_from(value) {
            Ok(limit) if limit >= least => Ok(Some(limit)),
            _ => Err((
                "Invalid",
                format!(
                    "spec.circuitBreaker.{field} is {value}; it must be a number from {least} to {}",
                    u32::MAX
                ),
            )),
        }
    };
    Ok(Some(CircuitBreaker {
        max_connections: limit("maxConnections", 1, breaker.max_connections)?,
        max_pending_requests: limit("maxPendingRequests", 0, breaker.max_pending_requests)?,
        max_requests: limit("maxRequests", 1, breaker.max_requests)?,
        max_retries: limit("maxRetries", 0, breaker.max_retries)?,
    }))
}

pub(crate) fn is_service(target: &TargetRef) -> bool {
    target.group.is_empty() && target.kind == "Service"
}

/// The Service that a target is, or the XBackend by the name that it has among Services.
pub(crate) fn target_name(policy: &ObjectName, target: &TargetRef) -> Option<ObjectName> {
    let name = ObjectName::new(policy.namespace.as_str(), &target.name).ok()?;
    match is_xbackend(target) {
        true => Service::name_of_backend(&name).ok(),
        false => Some(name).filter(|_| is_service(target)),
    }
}

pub(crate) fn is_xbackend(target: &TargetRef) -> bool {
    target.group == Kind::XBackend.group() && target.kind == Kind::XBackend.as_str()
}

/// The API server takes no more ancestors in a status.
pub(crate) const MAX_ANCESTORS: usize = 16;

/// For whom a policy is told what became of its targets: for each Gateway whose routes use a Service that it targets, and
/// where none does for the target itself. A message, or refusal, speaks of all targets of one ancestor.
pub(crate) fn by_ancestor(
    snapshot: &Lookup<'_>,
    policy: &ObjectName,
    targets: Vec<(&TargetRef, Result<String, Refusal>)>,
) -> Vec<(ParentReference, Result<String, Refusal>)> {
    let mut gateways: BTreeMap<&ObjectName, Vec<Result<String, Refusal>>> = BTreeMap::new();
    let mut others = Vec::new();
    for (target, accepted) in targets {
        let service = target_name(policy, target);
        let mut used = service.iter().flat_map(|service| snapshot.gateways_using(service)).peekable();
        if used.peek().is_none() {
            others.push((ancestor(policy, target), vec![accepted]));
            continue;
        }
        for gateway in used {
            gateways.entry(gateway).or_default().push(accepted.clone());
        }
    }
    let of_gateways = gateways
        .into_iter()
        .map(|(gateway, accepted)| (ancestor_named(GATEWAY_GROUP, "Gateway", gateway), accepted));
    let joined = |(reference, accepted): (ParentReference, Vec<Result<String, Refusal>>)| {
        let accepted: Result<Vec<String>, Refusal> = accepted.into_iter().collect();
        (reference, accepted.map(|messages| messages.join("; ")))
    };
    of_gateways.chain(others).take(MAX_ANCESTORS).map(joined).collect()
}

/// An object as the ancestor that a status speaks of.
pub(crate) fn ancestor_named(group: &str, kind: &str, name: &ObjectName) -> ParentReference {
    ParentReference {
        group: Some(group.into()),
        kind: Some(kind.into()),
        namespace: Some(name.namespace.as_str().into()),
        name: name.name.as_ref().into(),
        section_name: None,
        port: None,
    }
}

/// What a policy targets, as the ancestor that its status speaks of.
pub(crate) fn ancestor(policy: &ObjectName, target: &TargetRef) -> ParentReference {
    ParentReference {
        group: Some(target.group.clone()),
        kind: Some(target.kind.clone()),
        namespace: Some(policy.namespace.as_str().into()),
        name: target.name.clone(),
        section_name: target.section_name.clone(),
        port: None,
    }
}
