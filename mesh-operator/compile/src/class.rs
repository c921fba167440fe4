//! GatewayClasses: which of them are ours, and what we support.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::lookup::Lookup;
use crate::object::{Kind, ObjectId};
use crate::status::{Conditions, Feature, GatewayClassStatus, Status};
use crate::{CONTROLLER, GATEWAY_CLASS};

/// The release of the Gateway API whose definitions are read.
const BUNDLE_VERSION: &str = "v1.7.0";

/// What the conformance suite calls the features that work, in the order of their names.
const SUPPORTED_FEATURES: &[&str] = &[
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayInfrastructure",
    "GatewayPort8080",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "Mesh",
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteNamedRouteRule",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
    "ReferenceGrant",
];

#[derive(Debug, Default)]
pub(crate) struct Classes {
    /// Classes whose Gateways we serve.
    pub(crate) accepted: BTreeSet<Arc<str>>,
    /// Classes that are ours and cannot be served.
    pub(crate) refused: BTreeSet<Arc<str>>,
    pub(crate) statuses: BTreeMap<ObjectId, Status>,
}

pub(crate) fn compile(snapshot: &Lookup<'_>) -> Classes {
    let mut classes = Classes::default();
    if !snapshot.gateway_classes.contains_key(GATEWAY_CLASS) {
        classes.accepted.insert(GATEWAY_CLASS.into());
    }
    let ours = snapshot.gateway_classes.iter().filter(|(_, class)| class.spec.controller_name == CONTROLLER);
    for (name, class) in ours {
        let conditions = Conditions { generation: class.metadata.generation };
        let accepted = match &class.spec.parameters_ref {
            None => {
                classes.accepted.insert(name.clone());
                conditions.ok("Accepted", "Accepted", "Gateways of this class are served by Weir")
            }
            Some(parameters) => {
                classes.refused.insert(name.clone());
                let message = format!(
                    "spec.parametersRef names {} {}, and no kind of parameters is supported: remove parametersRef",
                    parameters.kind, parameters.name
                );
                conditions.no("Accepted", "InvalidParameters", message)
            }
        };
        let version = conditions.ok(
            "SupportedVersion",
            "SupportedVersion",
            format!("Weir reads Gateway API {BUNDLE_VERSION}"),
        );
        let status = GatewayClassStatus {
            conditions: vec![accepted, version],
            supported_features: SUPPORTED_FEATURES.iter().map(|name| Feature { name }).collect(),
        };
        let id = ObjectId { kind: Kind::GatewayClass, namespace: None, name: name.clone() };
        classes.statuses.insert(id, Status::GatewayClass(status));
    }
    classes
}

#[cfg(test)]
mod tests {
    #[test]
    fn supported_features_are_sorted_and_unique() {
        assert!(super::SUPPORTED_FEATURES.is_sorted_by(|a, b| a < b));
    }
}
