//! What an address or a name of a URL is to the client that dials it: names are looked up as a pod of that namespace
//! does it, by the search list that Kubernetes gives it (`ns.svc.cluster.local svc.cluster.local cluster.local`).

use anyhow::bail;
use mesh_ir::name::ObjectName;
use mesh_ir::resource::{Gateway, Listener, Resource, RouteParent, Transport, Workload};
use mesh_ir::view::{MeshView, PortView, ServiceView};

use super::question::Question;
use super::source::Source;
use crate::near;

/// The cluster's own domain in DNS.
const CLUSTER_DOMAIN: &str = "cluster.local";
/// A name with fewer dots is tried with the search list first (`ndots:5`).
const NDOTS: usize = 5;

/// What stands behind what was dialled.
#[derive(Clone, Debug)]
pub(super) enum Place<'v> {
    Service {
        service: &'v ServiceView,
        port: &'v PortView,
        found: String,
    },
    /// A Service without an address of its own: its name gives the addresses of its pods.
    Headless {
        service: &'v ServiceView,
        found: String,
    },
    Workload(&'v Workload),
    Gateway {
        gateway: &'v Gateway,
        target_port: u16,
        found: String,
    },
    /// Nothing of the mesh.
    Elsewhere(String),
}

pub(super) fn resolve<'v>(
    view: &'v MeshView,
    question: &Question,
    source: &Source<'_>,
) -> anyhow::Result<Place<'v>> {
    match (source, question.address()) {
        (Source::Outside, _) => outside(view, question),
        (Source::Pod { .. }, Some(_)) => address(view, question),
        (Source::Pod { workload, .. }, None) => name(view, question, workload.name.namespace.as_str()),
    }
}

fn address<'v>(view: &'v MeshView, question: &Question) -> anyhow::Result<Place<'v>> {
    let Some(address) = question.address() else { bail!("{} is no address", question.host) };
    let here = view.service_at(address).and_then(|service| Some((service, port_of(service, question)?)));
    if let Some((service, port)) = here {
        return Ok(Place::Service { service, port, found: format!("by its address {address}") });
    }
    match view.workload(address) {
        Some(workload) => Ok(Place::Workload(workload)),
        None => {
            if let Some(service) = view.services().find(|service| service.addresses.contains(&address)) {
                no_port(view, &service.name, question)?;
            }
            if let Some(gateway) = gateways(view).find(|gateway| gateway.addresses.contains(&address)) {
                return at_gateway(gateway, question, format!("by its address {address}"));
            }
            Ok(Place::Elsewhere(match view.node(address) {
                Some(node) => format!("{address} is node {node}'s own address, not one of the mesh's"),
                None => format!("{address} is the address of no Service, pod or Gateway of this mesh"),
            }))
        }
    }
}

fn name<'v>(view: &'v MeshView, question: &Question, namespace: &str) -> anyhow::Result<Place<'v>> {
    let host = question.host.as_str();
    for name in lookups(host, namespace) {
        let Some(service) = service_of(&name).and_then(|name| view.service(&name)) else { continue };
        let spec = view.services().find(|spec| spec.name == service.name);
        let addresses: Vec<String> =
            spec.iter().flat_map(|spec| &spec.addresses).map(ToString::to_string).collect();
        if addresses.is_empty() {
            return Ok(Place::Headless { service, found: format!("as {name}") });
        }
        let found = format!("as {name}, {}", addresses.join(" "));
        return match port_of(service, question) {
            Some(port) => Ok(Place::Service { service, port, found }),
            None => no_port(view, &service.name, question),
        };
    }
    if let Some(missing) = meant_for_cluster(view, host, namespace) {
        let names: Vec<String> = view.services().map(|service| service.name.to_string()).collect();
        let instead = near::instead(&missing, names.iter().map(String::as_str));
        bail!("{host} in {}: there is no Service {missing}; {instead}", question.url);
    }
    let mut named =
        gateways(view).filter(|gateway| serves_by_name(view, gateway, question, host.trim_end_matches('.')));
    match named.next() {
        Some(gateway) => at_gateway(gateway, question, format!("if {host} leads to its address")),
        None => Ok(Place::Elsewhere(format!("{host} is no name of the cluster's and no Gateway serves it"))),
    }
}

fn outside<'v>(view: &'v MeshView, question: &Question) -> anyhow::Result<Place<'v>> {
    let listed = || {
        let place = |gateway: &Gateway| {
            let addresses: Vec<String> = gateway.addresses.iter().map(ToString::to_string).collect();
            let addresses = if addresses.is_empty() { "no address yet".into() } else { addresses.join(" ") };
            format!("{} ({addresses}, {})", gateway.name, ports(gateway))
        };
        let all: Vec<String> = gateways(view).map(place).collect();
        if all.is_empty() { "there is none".into() } else { format!("there is {}", all.join("; ")) }
    };
    if let Some(address) = question.address() {
        return match gateways(view).find(|gateway| gateway.addresses.contains(&address)) {
            Some(gateway) => at_gateway(gateway, question, format!("by its address {address}")),
            None => bail!(
                "from outside only Gateways are reached, and none has the address {address}; {}",
                listed()
            ),
        };
    }
    let host = question.host.trim_end_matches('.');
    let with_port = || gateways(view).filter(|g| listeners(g, question).next().is_some());
    let named: Vec<_> = with_port().filter(|g| serves_by_name(view, g, question, host)).collect();
    let any_host: Vec<_> =
        with_port().filter(|g| listeners(g, question).any(|l| l.hostname.is_none())).collect();
    let found = format!("if {host} leads to its address");
    match (named.as_slice(), any_host.as_slice()) {
        ([gateway], _) | ([], [gateway]) => at_gateway(gateway, question, found),
        ([], []) => {
            bail!(
                "from outside only Gateways are reached, and none serves {host} on port {}; {}",
                question.port,
                listed()
            )
        }
        _ => bail!(
            "several Gateways could serve {host}: dial the address of one and name the host with -H host:{host}; {}",
            listed()
        ),
    }
}

fn at_gateway<'v>(gateway: &'v Gateway, question: &Question, found: String) -> anyhow::Result<Place<'v>> {
    match listeners(gateway, question).next() {
        Some(listener) => Ok(Place::Gateway { gateway, target_port: listener.target_port, found }),
        None => bail!(
            "Gateway {} has no valid listener on port {}; it has {}",
            gateway.name,
            question.port,
            ports(gateway)
        ),
    }
}

/// Those of the port that is asked about.
fn listeners<'g>(gateway: &'g Gateway, question: &Question) -> impl Iterator<Item = &'g Listener> + use<'g> {
    let (transport, port) = (question.transport(), question.port);
    gateway.listeners.iter().filter(move |l| l.port == port && l.protocol.transport() == transport)
}

fn port_of<'v>(service: &'v ServiceView, question: &Question) -> Option<&'v PortView> {
    match question.transport() {
        Transport::Tcp => service.port(question.port),
        Transport::Udp => service.udp_port(question.port),
    }
}

fn ports(gateway: &Gateway) -> String {
    let listener = |listener: &Listener| match listener.protocol.transport() {
        Transport::Tcp => format!("{} on {}", listener.name, listener.port),
        Transport::Udp => format!("{} on {} of UDP", listener.name, listener.port),
    };
    let listeners: Vec<String> = gateway.listeners.iter().map(listener).collect();
    if listeners.is_empty() { "no listeners".into() } else { format!("listeners {}", listeners.join(", ")) }
}

pub(super) fn gateways(view: &MeshView) -> impl Iterator<Item = &Gateway> {
    view.config().resources.values().filter_map(|resource| match &**resource {
        Resource::Gateway(gateway) => Some(gateway),
        _ => None,
    })
}

/// Whether the Gateway serves this very host, by a hostname of a listener's or of a route's.
fn serves_by_name(view: &MeshView, gateway: &Gateway, question: &Question, host: &str) -> bool {
    listeners(gateway, question).any(|listener| match &listener.hostname {
        Some(hostname) => hostname.matches(host),
        None => view.config().resources.values().any(|resource| match &**resource {
            Resource::Route(route) => route.parents.iter().any(|parent| match parent {
                RouteParent::Listener { gateway: name, listener: at, hostnames } => {
                    *name == gateway.name
                        && *at == listener.name
                        && hostnames.iter().any(|served| served.hostname.matches(host))
                }
                RouteParent::Service { .. } => false,
            }),
            _ => false,
        }),
    })
}

fn no_port<T>(view: &MeshView, name: &ObjectName, question: &Question) -> anyhow::Result<T> {
    let spec = view.services().find(|spec| spec.name == *name);
    let port_text = |port: &mesh_ir::resource::ServicePort| match port.name.as_str() {
        "" => port.port.to_string(),
        name => format!("{} ({name})", port.port),
    };
    let ports: Vec<String> = match question.transport() {
        Transport::Tcp => spec.iter().flat_map(|spec| &spec.ports).map(port_text).collect(),
        Transport::Udp => spec.iter().flat_map(|spec| &spec.udp_ports).map(ToString::to_string).collect(),
    };
    let there = if ports.is_empty() { "none".into() } else { ports.join(", ") };
    bail!("Service {name} has no {} port {}; it has {there}", question.transport().name(), question.port)
}

/// The absolute names that a resolver asks for, in its order.
fn lookups(host: &str, namespace: &str) -> Vec<String> {
    if let Some(absolute) = host.strip_suffix('.') {
        return vec![absolute.to_owned()];
    }
    let search = [
        format!("{host}.{namespace}.svc.{CLUSTER_DOMAIN}"),
        format!("{host}.svc.{CLUSTER_DOMAIN}"),
        format!("{host}.{CLUSTER_DOMAIN}"),
    ];
    let own = host.to_owned();
    if host.matches('.').count() >= NDOTS {
        std::iter::once(own).chain(search).collect()
    } else {
        search.into_iter().chain([own]).collect()
    }
}

/// The Service that an absolute name is of.
fn service_of(name: &str) -> Option<ObjectName> {
    let inside = name.strip_suffix(CLUSTER_DOMAIN)?.strip_suffix(".svc.")?;
    let (service, namespace) = inside.split_once('.')?;
    if namespace.contains('.') {
        return None;
    }
    ObjectName::new(namespace, service).ok()
}

/// The Service that a name which leads nowhere was meant for, if it was meant for one.
fn meant_for_cluster(view: &MeshView, host: &str, namespace: &str) -> Option<String> {
    let plain = host.trim_end_matches('.');
    let labels: Vec<&str> = plain.split('.').collect();
    let is_namespace = |name: &str| {
        view.workloads().any(|workload| workload.name.namespace.as_str() == name)
            || view.services().any(|service| service.name.namespace.as_str() == name)
    };
    match labels.as_slice() {
        [name] => Some(format!("{namespace}/{name}")),
        [name, namespace] if is_namespace(namespace) => Some(format!("{namespace}/{name}")),
        [name, namespace, "svc"] | [name, namespace, "svc", "cluster", "local"] => {
            Some(format!("{namespace}/{name}"))
        }
        [.., "cluster", "local"] => Some(plain.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_follow_the_search_list_of_a_pod() {
        let services = |host: &str| -> Vec<String> {
            let names = lookups(host, "shop");
            names.iter().filter_map(|name| service_of(name)).map(|name| name.to_string()).collect()
        };
        assert_eq!(services("web"), ["shop/web"]);
        assert_eq!(services("web.other"), ["other/web"]);
        assert_eq!(services("web.other.svc"), ["other/web"]);
        assert_eq!(services("web.other.svc.cluster.local"), ["other/web"]);
        assert_eq!(services("web.other.svc.cluster.local."), ["other/web"]);
        assert_eq!(services("web."), [""; 0]);
        assert_eq!(services("www.example.com"), [""; 0]);
    }
}
