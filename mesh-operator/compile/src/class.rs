//! GatewayClasses: which of them are ours, and what we support.

use std::collections::BTreeMap;

use crate::api::{EXPERIMENTAL_GROUP, GATEWAY_GROUP, GatewayClass};
use crate::lookup::Lookup;
use crate::object::{Kind, ObjectId};
use crate::status::{Conditions, GatewayClassStatus, Status};
use crate::{CONTROLLER, GATEWAY_CLASS, features};

/// The releases of the Gateway API whose definitions are read, from the oldest to the newest. The chart asks for the oldest too.
const OLDEST: (u32, u32) = (1, 5);
const NEWEST: (u32, u32) = (1, 7);
/// A build of the definitions from their main branch: whoever installs one knows what it is.
const UNRELEASED: &str = "v0.0.0-dev";

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
    let unread = unread(snapshot);
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
        let version = match &unread {
            None => {
                conditions.ok("SupportedVersion", "SupportedVersion", format!("Weir reads {}", releases()))
            }
            Some(problem) => conditions.no("SupportedVersion", "UnsupportedVersion", problem.clone()),
        };
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

/// What is wrong with the release of the Gateway API that the cluster has. Where there are no definitions, as in a folder of
/// manifests, there is nothing to compare.
fn unread(snapshot: &Lookup<'_>) -> Option<String> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, definition) in snapshot.definitions.iter() {
        let group = name.split_once('.').map_or("", |(_, group)| group);
        let version = definition.bundle_version.as_deref().unwrap_or("an unknown release");
        if matches!(group, GATEWAY_GROUP | EXPERIMENTAL_GROUP) && !is_read(version) {
            found.entry(version).or_default().push(name);
        }
    }
    let words = |(version, names): (&str, Vec<&str>)| match names.as_slice() {
        [] => version.to_owned(),
        [one] => format!("{one} is of {version}"),
        [first, rest @ ..] => format!("{first} and {} more are of {version}", rest.len()),
    };
    let found: Vec<String> = found.into_iter().map(words).collect();
    (!found.is_empty()).then(|| {
        format!(
            "Weir reads {}, and of this cluster's definitions {}: install a release that Weir reads, or the Weir that reads \
             that one; until then fields that are new or gone have no effect",
            releases(),
            found.join(", ")
        )
    })
}

fn releases() -> String {
    let ((major, oldest), (_, newest)) = (OLDEST, NEWEST);
    format!("Gateway API v{major}.{oldest} to v{major}.{newest}")
}

fn is_read(version: &str) -> bool {
    let mut numbers = version.strip_prefix('v').unwrap_or_default().split('.').map_while(|n| n.parse().ok());
    let found = numbers.next().zip(numbers.next());
    version == UNRELEASED || found.is_some_and(|found| (OLDEST..=NEWEST).contains(&found))
}
