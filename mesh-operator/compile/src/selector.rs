//! Label selectors over namespaces.

use std::collections::BTreeMap;

use crate::api::generated::gateway::GatewayListenersAllowedRoutesNamespacesSelector as Selector;

/// Whether labels satisfy a selector. One with an operator that Kubernetes does not define selects nothing.
pub(crate) fn matches(selector: &Selector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let expressions = selector.match_expressions.iter().flatten().all(|expression| {
        let value = labels.get(&expression.key);
        let listed = value.is_some_and(|v| expression.values.iter().flatten().any(|known| known == v));
        match expression.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    });
    equal && expressions
}
