//! GatewayClasses: which of them are ours, and what we support.

use std::collections::BTreeMap;

use crate::api::GatewayClass;
use crate::lookup::Lookup;
use crate::object::{Kind, ObjectId};
use crate::status::{Conditions, GatewayClassStatus, Status};
use crate::{CONTROLLER, GATEWAY_CLASS, features};

/// The release of the Gateway API whose definitions are read.
const BUNDLE_VERSION: &str = "v1.7.0";

/// Whether Gateways of a class are served; `None` for a class that is not ours.
pub(crate) fn is_accepted(snapshot: &Lookup<'_>, name: &str) -> Option<bool> {
    match snapshot.gateway_classes.get(name) {
        Some(class) => is_ours(class).then_some(class.spec.parameters_ref.is_none()),
        None => (name == GATEWAY_CLASS).then_some(true),
    }
}

/// The statuses of those that are ours.
pub(crate) fn compile(snapshot: &Lookup<'_>) -> BTreeMap<ObjectId, Status> {
    let mut statuses = BTreeMap::new();
    let ours = snapshot.gateway_classes.iter().filter(|(_, class)| is_ours(class));
    for (name, class) in ours {
        let conditions = Conditions { generation: class.metadata.generation };
        let accepted = match &class.spec.parameters_ref {
            None => conditions.ok("Accepted", "Accepted", "Gateways of this class are served by Weir"),
            Some(parameters) => {
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
            supported_features: features::of_gateways(),
        };
        let id = ObjectId { kind: Kind::GatewayClass, namespace: None, name: name.clone() };
        statuses.insert(id, Status::GatewayClass(status));
    }
    statuses
}

fn is_ours(class: &GatewayClass) -> bool {
    class.spec.controller_name == CONTROLLER
}
