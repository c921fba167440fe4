//! Attachment of routes, of any kind, to their parents: listeners of Gateways and ListenerSets, and Services (GAMMA, GEP-1294).

use mesh_ir::name::{Hostname, Namespace, ObjectName};
use mesh_ir::resource::{ServedHostname, Transport};

use crate::api::generated::gateway::GatewayDefaultScope;
use crate::api::reference::{GATEWAY, parent_kind};
use crate::api::{self, GATEWAY_GROUP};
use crate::listener::{Listener, Owner};
use crate::lookup::Lookup;
use crate::route::RouteInput;
use crate::service;
use crate::status::ParentReference;

/// The reason of a condition that is false, and its message.
pub(crate) type Refusal = (&'static str, String);

/// What came of one parentRef.
#[derive(Debug)]
pub(crate) enum Attachment {
    Listeners {
        owner: Owner,
        /// The listeners (by place) that took the route, each with the hostnames that it serves there.
        result: Result<Vec<(usize, Vec<ServedHostname>)>, Refusal>,
    },
    Service {
        /// No port is every port.
        result: Result<(ObjectName, Option<u16>), Refusal>,
    },
}

impl Attachment {
    pub(crate) fn result(&self) -> Result<(), Refusal> {
        match self {
            Self::Listeners { result, .. } => result.as_ref().map(|_| ()).map_err(Clone::clone),
            Self::Service { result } => result.as_ref().map(|_| ()).map_err(Clone::clone),
        }
    }

    /// For the message of an Accepted condition.
    pub(crate) fn description(&self) -> String {
        match self {
            Self::Listeners { owner, .. } => format!("Attached to {owner}"),
            Self::Service { result: Ok((service, Some(port))) } => {
                format!("Attached to port {port} of Service {service}")
            }
            Self::Service { result: Ok((service, None)) } => {
                format!("Attached to all ports of Service {service}")
            }
            Self::Service { result: Err(_) } => String::new(),
        }
    }
}

/// The default Gateways become parents of a route that asks for them, as if it had named them (GEP-3793).
pub(crate) fn add_default_gateways(snapshot: &Lookup<'_>, route: &mut RouteInput<'_>) {
    let namespace = &route.key.name.namespace;
    let is_default = |gateway: &api::Gateway| gateway.spec.default_scope == Some(GatewayDefaultScope::All);
    for (name, _) in snapshot.gateways.iter().filter(|(_, gateway)| is_default(gateway)) {
        if route.parents.iter().any(|parent| names_whole_gateway(namespace, parent, name)) {
            continue;
        }
        route.parents.push(ParentReference {
            namespace: Some(name.namespace.to_string()),
            name: name.name.to_string(),
            ..ParentReference::default()
        });
    }
}

/// Whether a parentRef of a route in `namespace` names this Gateway and no listener of it.
fn names_whole_gateway(namespace: &Namespace, parent: &ParentReference, gateway: &ObjectName) -> bool {
    parent_kind(parent.group.as_deref(), parent.kind.as_deref()) == GATEWAY
        && parent.namespace.as_deref().unwrap_or(namespace.as_str()) == gateway.namespace.as_str()
        && parent.name == *gateway.name
        && parent.section_name.is_none()
        && parent.port.is_none()
}

/// `None` where the parent is not ours to speak for.
pub(crate) fn attach(
    snapshot: &Lookup<'_>,
    route: &RouteInput<'_>,
    parent: &ParentReference,
) -> Option<Attachment> {
    let namespace = parent.namespace.as_deref().unwrap_or(route.key.name.namespace.as_str());
    let name = ObjectName::new(namespace, &parent.name).ok()?;
    match parent_kind(parent.group.as_deref(), parent.kind.as_deref()) {
        GATEWAY => {
            let listeners = &snapshot.judged_gateway(&name)?.listeners;
            let owner = Owner::Gateway(name);
            let result = to_listeners(snapshot, listeners, &owner, route, parent);
            Some(Attachment::Listeners { owner, result })
        }
        (GATEWAY_GROUP, "ListenerSet") => {
            let set = snapshot.judged_listener_set(&name)?;
            let owner = Owner::ListenerSet(name);
            let result = match set.is_allowed() {
                true => to_listeners(snapshot, &set.listeners, &owner, route, parent),
                false => {
                    let message = format!(
                        "{owner} is not attached to Gateway {}, which does not allow it",
                        set.gateway
                    );
                    Err(("NoMatchingParent", message))
                }
            };
            Some(Attachment::Listeners { owner, result })
        }
        ("", "Service") => {
            let result = match route.key.kind.transport() {
                Transport::Tcp => to_service(snapshot, &name, parent),
                Transport::Udp => {
                    let message = format!(
                        "{}s attach to Gateways alone: what pods send by UDP does not pass through the mesh",
                        route.key.kind.as_kind()
                    );
                    Err(("UnsupportedValue", message))
                }
            };
            Some(Attachment::Service { result })
        }
        _ => None,
    }
}

/// Whether a parentRef of a route in `namespace` names this Service.
pub(crate) fn names_service(namespace: &Namespace, parent: &ParentReference, service: &ObjectName) -> bool {
    parent.group.as_deref() == Some("")
        && parent.kind.as_deref() == Some("Service")
        && parent.namespace.as_deref().unwrap_or(namespace.as_str()) == service.namespace.as_str()
        && parent.name == *service.name
}

fn to_listeners(
    snapshot: &Lookup<'_>,
    listeners: &[Listener],
    owner: &Owner,
    route: &RouteInput<'_>,
    parent: &ParentReference,
) -> Result<Vec<(usize, Vec<ServedHostname>)>, Refusal> {
    let named: Vec<(usize, &Listener)> = listeners
        .iter()
        .enumerate()
        .filter(|(_, l)| section(parent).is_none_or(|section| section == l.name.section()))
        .filter(|(_, l)| parent.port.is_none_or(|port| service::port_number(port) == Some(l.port)))
        .collect();
    if named.is_empty() {
        let which = match (section(parent), parent.port) {
            (Some(section), Some(port)) => format!(" called {section} on port {port}"),
            (Some(section), None) => format!(" called {section}"),
            (None, Some(port)) => format!(" on port {port}"),
            (None, None) => String::new(),
        };
        return Err(("NoMatchingParent", format!("{owner} has no listener{which}")));
    }
    let namespace = route.key.name.namespace.as_str();
    let allowed: Vec<(usize, &Listener)> =
        named.into_iter().filter(|(_, l)| l.allows(snapshot, owner, route.key.kind, namespace)).collect();
    if allowed.is_empty() {
        let message = format!(
            "no listener of {owner} that it names allows {}s of namespace {namespace} (allowedRoutes)",
            route.key.kind.as_kind()
        );
        return Err(("NotAllowedByListeners", message));
    }
    let served: Vec<(usize, Vec<ServedHostname>)> = allowed
        .into_iter()
        .filter_map(|(index, l)| Some((index, intersection(&route.hostnames, l.hostname.as_ref())?)))
        .collect();
    match served.is_empty() {
        true => {
            let hostnames: Vec<String> = route.hostnames.iter().map(Hostname::to_string).collect();
            let message = format!(
                "none of its hostnames ({}) is among those of the listeners of {owner}",
                hostnames.join(", ")
            );
            Err(("NoMatchingListenerHostname", message))
        }
        false => Ok(served),
    }
}

/// The hostnames that a route serves at a listener, none standing for all; `None` where there are none.
fn intersection(route: &[Hostname], listener: Option<&Hostname>) -> Option<Vec<ServedHostname>> {
    if route.is_empty() {
        let whole = |listener: &Hostname| ServedHostname { hostname: listener.clone(), written: None };
        return Some(listener.map(whole).into_iter().collect());
    }
    let mut shared: Vec<ServedHostname> = Vec::new();
    for written in route {
        let hostname = match listener {
            Some(listener) => written.intersect(listener),
            None => Some(written.clone()),
        };
        let served = hostname.map(|hostname| ServedHostname { hostname, written: Some(written.clone()) });
        shared.extend(served.filter(|served| !shared.contains(served)));
    }
    (!shared.is_empty()).then_some(shared)
}

/// To a Service's frontend, what its clients dial: the Service and the port; no port is every port.
pub(crate) fn to_service(
    snapshot: &Lookup<'_>,
    name: &ObjectName,
    parent: &ParentReference,
) -> Result<(ObjectName, Option<u16>), Refusal> {
    let no_parent = |message: String| ("NoMatchingParent", message);
    let object =
        snapshot.services.get(name).ok_or_else(|| no_parent(format!("Service {name} does not exist")))?;
    if service::is_external_name(object) {
        let message = format!("Service {name} is of type ExternalName, to which no route can attach");
        return Err(("UnsupportedValue", message));
    }
    if service::is_headless(object) {
        let message =
            format!("Service {name} is headless: it has no address of its own to which a route could attach");
        return Err(("UnsupportedValue", message));
    }
    if section(parent).is_none() && parent.port.is_none() {
        return Ok((name.clone(), None));
    }
    let port = service::ports_of(object, Transport::Tcp).find(|p| {
        section(parent).is_none_or(|section| p.name.as_deref() == Some(section))
            && parent.port.is_none_or(|port| p.port == port)
    });
    let which = match (section(parent), parent.port) {
        (Some(section), Some(port)) => format!("{port} called {section}"),
        (Some(section), None) => format!("called {section}"),
        (None, port) => port.map(|port| port.to_string()).unwrap_or_default(),
    };
    match port.and_then(|p| service::port_number(p.port)) {
        Some(port) => Ok((name.clone(), Some(port))),
        None => Err(no_parent(format!("Service {name} has no TCP port {which}"))),
    }
}

fn section(parent: &ParentReference) -> Option<&str> {
    parent.section_name.as_deref().filter(|section| !section.is_empty())
}
