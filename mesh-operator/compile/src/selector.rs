//! Label selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::api::generated::gateway::GatewayListenersAllowedRoutesNamespacesSelector as NamespaceSelector;

type Labels = BTreeMap<String, String>;

/// Whether the labels of an object satisfy a selector. One with an operator that Kubernetes does not define selects
/// nothing.
pub(crate) fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    let expressions = selector.match_expressions.iter().flatten();
    all(
        selector.match_labels.as_ref(),
        expressions.map(|e| (e.key.as_str(), e.operator.as_str(), e.values.as_deref().unwrap_or_default())),
        labels,
    )
}

/// The same for the selector of namespaces in a Gateway's listener.
pub(crate) fn matches_namespace(selector: &NamespaceSelector, labels: &Labels) -> bool {
    let expressions = selector.match_expressions.iter().flatten();
    all(
        selector.match_labels.as_ref(),
        expressions.map(|e| (e.key.as_str(), e.operator.as_str(), e.values.as_deref().unwrap_or_default())),
        labels,
    )
}

fn all<'a>(
    equal: Option<&Labels>,
    mut expressions: impl Iterator<Item = (&'a str, &'a str, &'a [String])>,
    labels: &Labels,
) -> bool {
    let equal = equal.into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && expressions.all(|(key, operator, values)| {
            let value = labels.get(key);
            let listed = value.is_some_and(|value| values.contains(value));
            match operator {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
