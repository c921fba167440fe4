//! Label selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::api::generated::gateway::GatewayListenersAllowedRoutesNamespacesSelector as NamespaceSelector;
use crate::lookup::Lookup;

/// Whether an object, whose label of a name `label` gives, satisfies a selector. One with an operator that Kubernetes does
/// not define selects nothing.
pub(crate) fn matches<'a>(selector: &LabelSelector, label: impl Fn(&str) -> Option<&'a str>) -> bool {
    let expressions = selector.match_expressions.iter().flatten();
    all(
        selector.match_labels.as_ref(),
        expressions.map(|e| (e.key.as_str(), e.operator.as_str(), e.values.as_deref().unwrap_or_default())),
        label,
    )
}

/// Whether a Gateway's selector of namespaces selects this one. None at all selects nothing.
pub(crate) fn matches_namespace(
    snapshot: &Lookup<'_>,
    selector: Option<&NamespaceSelector>,
    namespace: &str,
) -> bool {
    let labels = snapshot.namespaces.get(namespace).and_then(|namespace| namespace.metadata.labels.as_ref());
    let (Some(selector), Some(labels)) = (selector, labels) else { return false };
    let expressions = selector.match_expressions.iter().flatten();
    all(
        selector.match_labels.as_ref(),
        expressions.map(|e| (e.key.as_str(), e.operator.as_str(), e.values.as_deref().unwrap_or_default())),
        |label| Some(labels.get(label)?.as_str()),
    )
}

fn all<'s, 'a>(
    equal: Option<&BTreeMap<String, String>>,
    mut expressions: impl Iterator<Item = (&'s str, &'s str, &'s [String])>,
    label: impl Fn(&str) -> Option<&'a str>,
) -> bool {
    let equal = equal.into_iter().flatten().all(|(key, value)| label(key) == Some(value));
    equal
        && expressions.all(|(key, operator, values)| {
            let value = label(key);
            let listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
            match operator {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
