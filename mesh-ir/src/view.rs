//! The configuration as a node reads it: indexed by what arrives with a connection, its matchers prepared, so
//! that a decision costs look-ups and no allocation. A view never changes; `apply` makes the next one, sharing
//! all that the delta does not touch, and readers keep the one they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{Delta, MeshConfig};
use crate::eval::endpoints::Client;
use crate::map::SharedMap;
use crate::name::{Hostname, Identity, ListenerName, NodeName, ObjectName, TrustDomain, Uid, Zone};
use crate::resource::{
    Gateway, Listener, Node, Resource, ResourceKey, Route, RouteKey, RouteParent, ServedHostname, Service,
    Workload,
};

mod affixes;
mod external;
mod gateway;
mod hosts;
mod matcher;
mod service;
mod table;

pub use gateway::{GatewayPort, ListenerView};
use gateway::{ListenerKey, ListenerRoutes};
pub(crate) use matcher::{HeaderText, header_text, query_text};
pub use matcher::{Matcher, Mismatch, RequestHead, Wanted};
pub use service::{Endpoint, PortView, ServiceView};
use table::{Attached, PreparedRoute};
pub use table::{Match, PreparedRule, RouteTable, Routes};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshView {
    config: MeshConfig,
    /// Whose view it is: which endpoints are near is seen from there.
    own: Option<NodeName>,
    /// Who has an address: usually one, but all pods in the host's network share the node's, and a pod that is gone
    /// may for a moment share its successor's. The first is the one that counts.
    workloads: SharedMap<IpAddr, Arc<[Arc<Resource>]>>,
    nodes: SharedMap<IpAddr, NodeName>,
    services: SharedMap<ObjectName, Arc<ServiceView>>,
    service_addresses: SharedMap<IpAddr, ObjectName>,
    gateway_ports: SharedMap<u16, Arc<GatewayPort>>,
    /// Which workloads say that they serve a Service, and which routes that they are attached to a place: the
    /// pointers of the resources, turned round.
    members: SharedMap<ObjectName, SharedMap<Uid, Arc<Resource>>>,
    attached: SharedMap<Place, Attached>,
    /// The Services that stand for hosts outside of the cluster, and the names of those.
    external: SharedMap<ObjectName, Hostname>,
}

/// Where routes are attached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Service(ObjectName),
    /// A hostname that is served at a listener of a Gateway; `None` is every one.
    Listener(ObjectName, ListenerName, Option<ServedHostname>),
}

/// What stands behind the address that a client dialled.
#[derive(Clone, Debug)]
pub enum Destination<'v> {
    Service(&'v PortView),
    Workload(&'v Workload),
    Unknown,
}

impl MeshView {
    /// The view of a node, which has no configuration yet. `MeshView::default` is nobody's: from nowhere no endpoint is
    /// near, nor on the client's own node.
    pub fn at(node: NodeName) -> Self {
        Self { own: Some(node), ..Self::default() }
    }

    pub fn config(&self) -> &MeshConfig {
        &self.config
    }

    pub fn destination(&self, address: IpAddr, port: u16) -> Destination<'_> {
        let service = self.service_addresses.get(&address).and_then(|name| self.service_port(name, port));
        match (service, self.workload(address)) {
            (Some(port), _) => Destination::Service(port),
            (None, Some(workload)) => Destination::Workload(workload),
            (None, None) => Destination::Unknown,
        }
    }

    /// The workload that has this address.
    pub fn workload(&self, address: IpAddr) -> Option<&Workload> {
        as_workload(self.workloads.get(&address)?.first()?)
    }

    pub fn workload_by_uid(&self, uid: &Uid) -> Option<&Workload> {
        as_workload(self.config.resources.get(&ResourceKey::Workload(uid.clone()))?)
    }

    pub fn workloads(&self) -> impl Iterator<Item = &Workload> {
        let from =
            self.config.resources.after(|key| matches!(key, ResourceKey::Node(_) | ResourceKey::Service(_)));
        from.map_while(|(_, resource)| as_workload(resource))
    }

    pub fn gateways(&self) -> impl Iterator<Item = &Gateway> {
        let is_before = |key: &ResourceKey| !matches!(key, ResourceKey::Gateway(_) | ResourceKey::Route(_));
        self.config.resources.after(is_before).map_while(|(_, resource)| match &**resource {
            Resource::Gateway(gateway) => Some(gateway),
            _ => None,
        })
    }

    /// Whether the workload that counts at this address, or another that shares it, is in the mesh.
    pub fn is_meshed(&self, address: IpAddr) -> bool {
        let owners = self.workloads.get(&address);
        owners.is_some_and(|owners| owners.iter().filter_map(as_workload).any(|workload| workload.meshed))
    }

    /// The Service that has this address.
    pub fn service_at(&self, address: IpAddr) -> Option<&Arc<ServiceView>> {
        self.services.get(self.service_addresses.get(&address)?)
    }

    /// The addresses of the Services and workloads that an earlier view has otherwise. What both share is not looked
    /// at.
    pub fn addresses_changed_since(&self, before: &Self) -> BTreeSet<IpAddr> {
        let mut addresses = BTreeSet::new();
        for change in before.config.resources.changes_to(&self.config.resources, Arc::ptr_eq) {
            for resource in [change.before, change.after].into_iter().flatten() {
                match &**resource {
                    Resource::Service(service) => addresses.extend(&service.addresses),
                    Resource::Workload(workload) => addresses.extend(&workload.addresses),
                    _ => {}
                }
            }
        }
        for change in before.services.changes_to(&self.services, Arc::ptr_eq) {
            let resource = self.config.resources.get(&ResourceKey::Service(change.key.clone()));
            if let Some(Resource::Service(service)) = resource.map(|resource| &**resource) {
                addresses.extend(&service.addresses);
            }
        }
        addresses
    }

    /// The node that has this address.
    pub fn node(&self, address: IpAddr) -> Option<&NodeName> {
        self.nodes.get(&address)
    }

    pub fn node_addresses(&self, name: &NodeName) -> &[IpAddr] {
        self.node_named(name).map_or(&[], |node| &node.addresses)
    }

    pub fn node_zone(&self, name: &NodeName) -> Option<&Zone> {
        self.node_named(name)?.zone.as_ref()
    }

    fn node_named(&self, name: &NodeName) -> Option<&Node> {
        match &**self.config.resources.get(&ResourceKey::Node(name.clone()))? {
            Resource::Node(node) => Some(node),
            _ => None,
        }
    }

    /// What a client on the view's node is to endpoints.
    fn here(&self) -> Client<'_> {
        match &self.own {
            Some(node) => Client { node: Some(node), zone: self.node_zone(node), ..Client::ANYWHERE },
            None => Client::ANYWHERE,
        }
    }

    pub fn service(&self, name: &ObjectName) -> Option<&Arc<ServiceView>> {
        self.services.get(name)
    }

    pub fn services(&self) -> impl Iterator<Item = &Service> {
        let from = self.config.resources.after(|key| matches!(key, ResourceKey::Node(_)));
        from.map_while(|(_, resource)| match &**resource {
            Resource::Service(service) => Some(service),
            _ => None,
        })
    }

    /// A TCP port of a Service.
    pub fn service_port(&self, name: &ObjectName, port: u16) -> Option<&PortView> {
        self.services.get(name)?.port(port)
    }

    /// A UDP port of a Service.
    pub fn service_udp_port(&self, name: &ObjectName, port: u16) -> Option<&PortView> {
        self.services.get(name)?.udp_port(port)
    }

    /// The ports that every node listens on for Gateways.
    pub fn gateway_ports(&self) -> impl Iterator<Item = &Arc<GatewayPort>> {
        self.gateway_ports.values()
    }

    pub fn gateway_port(&self, target_port: u16) -> Option<&Arc<GatewayPort>> {
        self.gateway_ports.get(&target_port)
    }

    /// The view after a change. It costs what the change touches: a Service with its endpoints and routes, or at a Gateway
    /// the routes of a hostname that match the same path.
    pub fn apply(&self, delta: &Delta) -> Self {
        let mut next = self.clone();
        let mut touched = Touched::default();
        for key in &delta.removes {
            if let Some(old) = next.config.resources.remove(key) {
                next.unlink(&old, &mut touched);
            }
        }
        // All old pointers are taken away before any new one is laid: an address may move between two
        // resources of one delta.
        for resource in &delta.upserts {
            if let Some(old) = next.config.resources.insert(resource.key(), resource.clone()) {
                next.unlink(&old, &mut touched);
            }
        }
        for resource in &delta.upserts {
            next.link(resource, &mut touched);
        }
        if next.here().zone != self.here().zone {
            // What is near has changed for every Service.
            touched.services.extend(next.services().map(|service| service.name.clone()));
        }
        next.forget_addresses(&touched);
        next.rebuild_services(self, &touched);
        next.rebuild_listeners(self, &touched);
        next
    }

    fn unlink(&mut self, resource: &Arc<Resource>, touched: &mut Touched) {
        match &**resource {
            Resource::Node(node) => {
                for address in &node.addresses {
                    if self.nodes.get(address) == Some(&node.name) {
                        self.nodes.remove(address);
                    }
                }
            }
            Resource::Service(service) => {
                if self.external.remove(&service.name).is_some() {
                    touched.resolved.insert(service.name.clone(), service.clone());
                }
                for address in &service.addresses {
                    if self.service_addresses.get(address) == Some(&service.name) {
                        self.service_addresses.remove(address);
                    }
                }
                touched.services.insert(service.name.clone());
            }
            Resource::Workload(workload) => {
                for address in &workload.addresses {
                    let Some(owners) = self.workloads.get(address) else { continue };
                    let others: Arc<[_]> =
                        owners.iter().filter(|owner| owner.key() != resource.key()).cloned().collect();
                    match others.is_empty() {
                        true => _ = self.workloads.remove(address),
                        false => _ = self.workloads.insert(*address, others),
                    }
                }
                for membership in &workload.services {
                    remove_from(&mut self.members, &membership.service, &workload.uid);
                    touched.services.insert(membership.service.clone());
                }
            }
            Resource::Certificate(_) => {}
            Resource::Gateway(gateway) => touched.gateway(gateway),
            Resource::Route(route) => {
                for place in places(route) {
                    remove_from(&mut self.attached, &place, &route.key);
                    touched.route(place, &route.key);
                }
            }
        }
    }

    fn link(&mut self, resource: &Arc<Resource>, touched: &mut Touched) {
        match &**resource {
            Resource::Node(node) => {
                self.nodes.extend(node.addresses.iter().map(|a| (*a, node.name.clone())));
            }
            Resource::Service(service) => {
                self.external
                    .extend(service.external_hostname.clone().map(|name| (service.name.clone(), name)));
                self.service_addresses.extend(service.addresses.iter().map(|a| (*a, service.name.clone())));
                touched.services.insert(service.name.clone());
            }
            Resource::Workload(workload) => {
                for address in &workload.addresses {
                    let mut owners = self.workloads.get(address).map_or(Vec::new(), |owners| owners.to_vec());
                    owners.push(resource.clone());
                    owners.sort_by_key(|owner| as_workload(owner).map(|w| (!w.meshed, w.uid.clone())));
                    self.workloads.insert(*address, owners.into());
                }
                for membership in &workload.services {
                    insert_into(
                        &mut self.members,
                        &membership.service,
                        workload.uid.clone(),
                        resource.clone(),
                    );
                    touched.services.insert(membership.service.clone());
                }
            }
            Resource::Certificate(_) => {}
            Resource::Gateway(gateway) => touched.gateway(gateway),
            Resource::Route(route) => {
                let in_mesh = Arc::new(PreparedRoute::new(resource, route, &route.rules));
                let at_gateways = match &route.gateway_rules[..] {
                    [] => in_mesh.clone(),
                    rules => Arc::new(PreparedRoute::new(resource, route, rules)),
                };
                for place in places(route) {
                    let prepared = match &place {
                        Place::Service(_) => &in_mesh,
                        Place::Listener(..) => &at_gateways,
                    };
                    insert_into(&mut self.attached, &place, route.key.clone(), prepared.clone());
                    touched.route(place, &route.key);
                }
            }
        }
    }

    fn rebuild_services(&mut self, before: &Self, touched: &Touched) {
        let with_routes = touched.places.keys().filter_map(|place| match place {
            Place::Service(name) => Some(name),
            Place::Listener(..) => None,
        });
        let names: BTreeSet<&ObjectName> = touched.services.iter().chain(with_routes).collect();
        for name in names {
            match self.config.resources.get(&ResourceKey::Service(name.clone())).map(|r| &**r) {
                Some(Resource::Service(service)) => {
                    let place = Place::Service(name.clone());
                    let same_routes = !touched.places.contains_key(&place);
                    let old = before.services.get(name).filter(|_| same_routes);
                    let routes: Vec<&PreparedRoute> = self.attached(&place).collect();
                    let workloads = self.members.get(name);
                    let old = old.map(|old| &**old);
                    let view = ServiceView::new(service, workloads, &routes, self.here(), old);
                    self.services.insert(name.clone(), Arc::new(view));
                }
                _ => {
                    self.services.remove(name);
                }
            }
        }
    }

    fn rebuild_listeners(&mut self, before: &Self, touched: &Touched) {
        let mut changed: BTreeMap<ListenerKey, Vec<&Place>> =
            touched.listeners.iter().map(|key| (key.clone(), Vec::new())).collect();
        for place in touched.places.keys() {
            if let Place::Listener(gateway, listener, _) = place {
                changed.entry((gateway.clone(), listener.clone())).or_default().push(place);
            }
        }
        for (key, places) in changed {
            let old = before.listener(&key).and_then(|(_, listener)| {
                let port = listener.target_port;
                Some((port, before.gateway_ports.get(&port)?.listener_named(&key)?))
            });
            let new = self.listener(&key).map(|(gateway, listener)| {
                let routes = match old {
                    Some((_, old)) => self.routes_after(before, &old.routes, &places, touched),
                    None => self.routes_of(&key),
                };
                (listener.target_port, Arc::new(ListenerView::new(gateway, listener, routes)))
            });
            let moved_from =
                old.map(|(port, _)| port).filter(|port| new.as_ref().is_none_or(|new| new.0 != *port));
            if let Some(port) = moved_from {
                self.set_listener(port, &key, None);
            }
            if let Some((port, view)) = new {
                self.set_listener(port, &key, Some(view));
            }
        }
    }

    fn set_listener(&mut self, port: u16, key: &ListenerKey, view: Option<Arc<ListenerView>>) {
        let next = match self.gateway_ports.get(&port) {
            Some(before) => before.with(key.clone(), view),
            None => GatewayPort::new(port).with(key.clone(), view),
        };
        match next.is_empty() {
            true => _ = self.gateway_ports.remove(&port),
            false => _ = self.gateway_ports.insert(port, Arc::new(next)),
        }
    }

    /// A listener as its Gateway has it.
    fn listener(&self, (gateway, name): &ListenerKey) -> Option<(&Gateway, &Listener)> {
        match &**self.config.resources.get(&ResourceKey::Gateway(gateway.clone()))? {
            Resource::Gateway(gateway) => {
                Some((gateway, gateway.listeners.iter().find(|listener| listener.name == *name)?))
            }
            _ => None,
        }
    }

    /// All routes of a listener.
    fn routes_of(&self, (gateway, name): &ListenerKey) -> ListenerRoutes {
        let first = Place::Listener(gateway.clone(), name.clone(), None);
        let is_here = |place: &Place| match place {
            Place::Listener(other, at, _) => other == gateway && at == name,
            Place::Service(_) => false,
        };
        let mut routes = ListenerRoutes::default();
        for (place, attached) in self.attached.from(&first).take_while(|(place, _)| is_here(place)) {
            let of_place = Routes::new(attached.values().map(|prepared| &**prepared));
            routes.set(served(place), Some(Arc::new(of_place)));
        }
        routes
    }

    /// The routes of a listener, of which those at these places have changed.
    fn routes_after(
        &self,
        before: &Self,
        old: &ListenerRoutes,
        places: &[&Place],
        touched: &Touched,
    ) -> ListenerRoutes {
        let mut routes = old.clone();
        for place in places {
            let of_place = self.attached.get(place).map(|now| {
                match (old.get(served(place)), before.attached.get(place), touched.places.get(place)) {
                    (Some(old), Some(before), Some(keys)) => old.after(before, now, keys),
                    _ => Routes::new(now.values().map(|prepared| &**prepared)),
                }
            });
            routes.set(served(place), of_place.map(Arc::new));
        }
        routes
    }

    fn attached(&self, place: &Place) -> impl Iterator<Item = &PreparedRoute> {
        self.attached.get(place).map(SharedMap::values).into_iter().flatten().map(|prepared| &**prepared)
    }
}

impl Workload {
    /// Who this workload is, if the mesh gives it an identity.
    pub fn identity(&self, trust_domain: &TrustDomain) -> Option<Identity> {
        self.meshed.then(|| Identity {
            trust_domain: trust_domain.clone(),
            namespace: self.name.namespace.clone(),
            service_account: self.service_account.clone(),
        })
    }
}

fn as_workload(resource: &Arc<Resource>) -> Option<&Workload> {
    match &**resource {
        Resource::Workload(workload) => Some(workload),
        _ => None,
    }
}

#[derive(Default)]
struct Touched {
    services: BTreeSet<ObjectName>,
    /// Those of external hostnames, as they were.
    resolved: BTreeMap<ObjectName, Service>,
    /// Whose Gateways changed, or went.
    listeners: BTreeSet<ListenerKey>,
    /// Where which routes changed.
    places: BTreeMap<Place, BTreeSet<RouteKey>>,
}

impl Touched {
    fn gateway(&mut self, gateway: &Gateway) {
        let key = |listener: &Listener| (gateway.name.clone(), listener.name.clone());
        self.listeners.extend(gateway.listeners.iter().map(key));
    }

    fn route(&mut self, place: Place, route: &RouteKey) {
        self.places.entry(place).or_default().insert(route.clone());
    }
}

fn places(route: &Route) -> BTreeSet<Place> {
    let place = |parent: &RouteParent| match parent {
        RouteParent::Listener { gateway, listener, hostnames } => {
            let at = |served| Place::Listener(gateway.clone(), listener.clone(), served);
            match hostnames.is_empty() {
                true => vec![at(None)],
                false => hostnames.iter().cloned().map(|served| at(Some(served))).collect(),
            }
        }
        RouteParent::Service { service, .. } => vec![Place::Service(service.clone())],
    };
    route.parents.iter().flat_map(place).collect()
}

fn served(place: &Place) -> Option<&ServedHostname> {
    match place {
        Place::Listener(_, _, served) => served.as_ref(),
        Place::Service(_) => None,
    }
}

fn insert_into<K: Ord + Clone, L: Ord + Clone, V: Clone>(
    index: &mut SharedMap<K, SharedMap<L, V>>,
    key: &K,
    inner: L,
    value: V,
) {
    let mut values = index.get(key).cloned().unwrap_or_default();
    values.insert(inner, value);
    index.insert(key.clone(), values);
}

fn remove_from<K: Ord + Clone, L: Ord + Clone, V: Clone>(
    index: &mut SharedMap<K, SharedMap<L, V>>,
    key: &K,
    inner: &L,
) {
    let Some(mut values) = index.get(key).cloned() else { return };
    values.remove(inner);
    match values.is_empty() {
        true => _ = index.remove(key),
        false => _ = index.insert(key.clone(), values),
    }
}
