//! XBackendTrafficPolicies (GEP-3388): how many retries a Service may be sent, and what is said to policies. Of several for
//! one Service the oldest applies; one that cannot be followed is as if it were not there.

use std::time::Duration;

use mesh_ir::name::ObjectName;
use mesh_ir::resource::{RetryBudget, Service};

use crate::api::XBackendTrafficPolicy;
use crate::api::generated::x_backend_traffic_policy::XBackendTrafficPolicySpec;
use crate::api::policy::TargetRef;
use crate::attach::Refusal;
use crate::duration;
use crate::lookup::Lookup;
use crate::object::{Kind, ObjectId};
use crate::policy::{self, created, is_xbackend, target_name};
use crate::status::{Conditions, ParentReference, PolicyAncestorStatus, PolicyStatus, Status};

/// What the API server fills in where `retryConstraint` says nothing.
const PERCENT: i64 = 20;
const INTERVAL: &str = "10s";
const MIN_RETRIES: i64 = 10;
const MIN_INTERVAL: &str = "1s";

const MOST_MIN_RETRIES: i64 = 1_000_000;
const HOUR: Duration = Duration::from_secs(3600);

/// What the policy of a Service asks for.
pub(crate) fn retry_budget(snapshot: &Lookup<'_>, service: &ObjectName) -> Option<RetryBudget> {
    let (_, policy) = applied(snapshot, service)?;
    judge(policy).ok()?
}

/// What is said to a policy.
pub(crate) fn status(snapshot: &Lookup<'_>, name: &ObjectName) -> Option<(ObjectId, Status)> {
    let policy = snapshot.backend_traffic_policies.get(name)?;
    let accept = |target: &TargetRef| {
        let service = resolve(snapshot, name, target)?;
        let budget = judge(policy)?;
        match applied(snapshot, &service) {
            Some((applied, _)) if applied != name => Err((
                "Conflicted",
                format!(
                    "XBackendTrafficPolicy {applied} applies to {}; of several the oldest does",
                    Service::titled(&service)
                ),
            )),
            _ if budget.is_none() => {
                Ok(format!("Applies to {}, for which it asks for nothing", Service::titled(&service)))
            }
            _ => Ok(format!(
                "Applies to {} (each node counts what it sends by itself)",
                Service::titled(&service)
            )),
        }
    };
    let targets = policy.spec.target_refs.iter().map(|target| (target, accept(target))).collect();
    let conditions = Conditions { generation: policy.metadata.generation };
    let ancestor = |(reference, accepted): (ParentReference, Result<String, Refusal>)| {
        let accepted = match accepted {
            Ok(message) => conditions.ok("Accepted", "Accepted", message),
            Err((reason, message)) => conditions.no("Accepted", reason, message),
        };
        PolicyAncestorStatus::new(reference, vec![accepted])
    };
    let ancestors = policy::by_ancestor(snapshot, name, targets).into_iter().map(ancestor).collect();
    let id = ObjectId::namespaced(Kind::XBackendTrafficPolicy, name);
    Some((id, Status::Policy(PolicyStatus { ancestors })))
}

/// The Service or XBackend that a policy targets, by its name among Services.
fn resolve(snapshot: &Lookup<'_>, policy: &ObjectName, target: &TargetRef) -> Result<ObjectName, Refusal> {
    if !is_xbackend(target) || target.section_name.is_some() {
        return policy::resolve(snapshot, policy, target);
    }
    let name = ObjectName::new(policy.namespace.as_str(), &target.name);
    let backend = name.and_then(|name| Ok((Service::name_of_backend(&name)?, name)));
    let (service, name) = backend.map_err(|error| ("Invalid", format!("targetRefs: {error}")))?;
    match snapshot.xbackends.contains_key(&name) {
        true => Ok(service),
        false => Err(("TargetNotFound", format!("XBackend {name} does not exist"))),
    }
}

/// The policy that a Service or XBackend has.
fn applied<'a>(
    snapshot: &Lookup<'a>,
    service: &ObjectName,
) -> Option<(&'a ObjectName, &'a XBackendTrafficPolicy)> {
    let policies = snapshot.backend_traffic_policies.in_namespace(&service.namespace);
    let policies = policies.map(|(name, policy)| (name, &**policy));
    let targets = |name: &ObjectName, policy: &XBackendTrafficPolicy| {
        let mut targets = policy.spec.target_refs.iter();
        targets.any(|target| target_name(name, target).as_ref() == Some(service))
    };
    let followed = policies.filter(|(name, policy)| targets(name, policy) && judge(policy).is_ok());
    followed.min_by_key(|(name, policy)| (created(&policy.metadata), *name))
}

fn judge(policy: &XBackendTrafficPolicy) -> Result<Option<RetryBudget>, Refusal> {
    if policy.spec.session_persistence.is_some() {
        let message = "spec.sessionPersistence is deprecated and not supported here: \
                       remove it, and set sessionPersistence in the rules of the routes";
        return Err(("Invalid", message.into()));
    }
    let budget = budget(&policy.spec);
    budget.map_err(|(field, problem)| ("Invalid", format!("spec.retryConstraint.{field}: {problem}")))
}

/// `Err` names the field of `retryConstraint`, and what is wrong with it.
pub(crate) fn budget(
    spec: &XBackendTrafficPolicySpec,
) -> Result<Option<RetryBudget>, (&'static str, String)> {
    let Some(constraint) = &spec.retry_constraint else { return Ok(None) };
    let share = constraint.budget.clone().unwrap_or_default();
    let least = constraint.min_retry_rate.clone().unwrap_or_default();
    let percent = share.percent.unwrap_or(PERCENT);
    let min_retries = least.count.unwrap_or(MIN_RETRIES);
    Ok(Some(RetryBudget {
        percent: u8::try_from(percent)
            .ok()
            .filter(|percent| *percent <= 100)
            .ok_or_else(|| ("budget.percent", format!("{percent} is not a percentage, from 0 to 100")))?,
        interval: interval(share.interval.as_deref().unwrap_or(INTERVAL), Duration::from_secs(1))
            .map_err(|problem| ("budget.interval", problem))?,
        min_retries: u32::try_from(min_retries)
            .ok()
            .filter(|_| (1..=MOST_MIN_RETRIES).contains(&min_retries))
            .ok_or_else(|| {
                ("minRetryRate.count", format!("{min_retries} is not from 1 to {MOST_MIN_RETRIES}"))
            })?,
        min_interval: interval(least.interval.as_deref().unwrap_or(MIN_INTERVAL), Duration::from_millis(1))
            .map_err(|problem| ("minRetryRate.interval", problem))?,
    }))
}

fn interval(text: &str, least: Duration) -> Result<Duration, String> {
    let interval = duration::parse(text);
    let interval = interval.ok_or_else(|| {
        format!("`{text}` is not a duration; write it as in 10s, 500ms or 1h30m (GEP-2257)")
    })?;
    let fits = (least..=HOUR).contains(&interval);
    fits.then_some(interval).ok_or_else(|| format!("{text} is not from {} ms to one hour", least.as_millis()))
}
