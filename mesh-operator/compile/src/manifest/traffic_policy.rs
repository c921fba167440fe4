//! What the API server refuses of an XBackendTrafficPolicy.

use super::Problem;
use crate::api::generated::x_backend_traffic_policy::XBackendTrafficPolicySpec;
use crate::traffic_policy;

const MAX_TARGETS: usize = 16;

pub(super) fn validate(spec: &XBackendTrafficPolicySpec) -> Result<(), Problem> {
    let targets = &spec.target_refs;
    if targets.is_empty() || targets.len() > MAX_TARGETS {
        let message = format!("{} targets; name 1 to {MAX_TARGETS} Services", targets.len());
        return Err(Problem::at("spec.targetRefs", message));
    }
    for (i, target) in targets.iter().enumerate() {
        let field = format!("spec.targetRefs[{i}]");
        if target.section_name.is_some() {
            let message = "not a field of this kind: the policy applies to all ports of a Service";
            return Err(Problem::at(format!("{field}.sectionName"), message));
        }
        if targets[..i].contains(target) {
            return Err(Problem::at(field, "another targetRef names the same target"));
        }
    }
    let budget = traffic_policy::budget(spec);
    budget.map(drop).map_err(|(field, problem)| Problem::at(format!("spec.retryConstraint.{field}"), problem))
}
