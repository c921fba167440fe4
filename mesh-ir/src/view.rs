//! The configuration as a node reads it: indexed by what arrives with a connection, its matchers prepared, so
//! that a decision costs look-ups and no allocation. A view never changes; `apply` makes the next one, sharing
//! all that the delta does not touch, and readers keep the one they hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::{Delta, MeshConfig};
use crate::eval::endpoints::Client;
use crate::name::{Identity, NodeName, ObjectName, TrustDomain, Uid, Zone};
use crate::resource::{Node, Resource, ResourceKey, Route, RouteKey, RouteParent, Service, Workload};

mod gateway;
mod matcher;
mod service;
mod table;

pub use gateway::{GatewayPort, ListenerView};
pub(crate) use matcher::{HeaderText, header_text, query_text};
pub use matcher::{Matcher, Mismatch, RequestHead, Wanted};
pub use service::{Endpoint, PortView, ServiceView};
pub use table::{Match, PreparedRule, RouteTable};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshView {
    config: MeshConfig,
    /// Whose view it is: which endpoints are near is seen from there.
    own: Option<NodeName>,
    /// Who has an address: usually one, but all pods in the host's network share the node's, and a pod that is gone
    /// may for a moment share its successor's. The first is the one that counts.
    workloads: HashMap<IpAddr, Arc<Vec<Arc<Resource>>>>,
    nodes: HashMap<IpAddr, NodeName>,
    services: HashMap<ObjectName, Arc<ServiceView>>,
    service_addresses: HashMap<IpAddr, ObjectName>,
    gateway_ports: BTreeMap<u16, Arc<GatewayPort>>,
    /// Which workloads say that they serve a Service, and which routes that they are attached to a parent: the
    /// pointers of the resources, turned round.
    members: HashMap<ObjectName, Arc<BTreeSet<Uid>>>,
    attached: HashMap<Parent, Arc<BTreeSet<RouteKey>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Parent {
    Service(ObjectName),
    Gateway(ObjectName),
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
        self.config.resources.values().filter_map(as_workload)
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
        self.config.resources.values().filter_map(|resource| match &**resource {
            Resource::Service(service) => Some(service),
            _ => None,
        })
    }

    pub fn service_port(&self, name: &ObjectName, port: u16) -> Option<&PortView> {
        self.services.get(name)?.port(port)
    }

    /// The ports that every node listens on for Gateways.
    pub fn gateway_ports(&self) -> impl Iterator<Item = &Arc<GatewayPort>> {
        self.gateway_ports.values()
    }

    pub fn gateway_port(&self, target_port: u16) -> Option<&Arc<GatewayPort>> {
        self.gateway_ports.get(&target_port)
    }

    /// The view after a change.
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
        next.rebuild(&touched);
        next
    }

    fn unlink(&mut self, resource: &Arc<Resource>, touched: &mut Touched) {
        match &**resource {
            Resource::Node(node) => {
                self.nodes.retain(|_, name| *name != node.name);
            }
            Resource::Service(service) => {
                for address in &service.addresses {
                    if self.service_addresses.get(address) == Some(&service.name) {
                        self.service_addresses.remove(address);
                    }
                }
                touched.services.insert(service.name.clone());
            }
            Resource::Workload(workload) => {
                for address in &workload.addresses {
                    let Some(owners) = self.workloads.get_mut(address) else { continue };
                    Arc::make_mut(owners).retain(|owner| owner.key() != resource.key());
                    if owners.is_empty() {
                        self.workloads.remove(address);
                    }
                }
                for membership in &workload.services {
                    remove_from(&mut self.members, &membership.service, &workload.uid);
                    touched.services.insert(membership.service.clone());
                }
            }
            Resource::Certificate(_) => {}
            Resource::Gateway(_) => touched.gateways = true,
            Resource::Route(route) => {
                for parent in parents(route) {
                    remove_from(&mut self.attached, &parent, &route.key);
                    touched.parent(parent);
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
                self.service_addresses.extend(service.addresses.iter().map(|a| (*a, service.name.clone())));
                touched.services.insert(service.name.clone());
            }
            Resource::Workload(workload) => {
                for address in &workload.addresses {
                    let owners = Arc::make_mut(self.workloads.entry(*address).or_default());
                    owners.push(resource.clone());
                    owners.sort_by_key(|owner| as_workload(owner).map(|w| (!w.meshed, w.uid.clone())));
                }
                for membership in &workload.services {
                    insert_into(&mut self.members, membership.service.clone(), workload.uid.clone());
                    touched.services.insert(membership.service.clone());
                }
            }
            Resource::Certificate(_) => {}
            Resource::Gateway(_) => touched.gateways = true,
            Resource::Route(route) => {
                for parent in parents(route) {
                    insert_into(&mut self.attached, parent.clone(), route.key.clone());
                    touched.parent(parent);
                }
            }
        }
    }

    fn rebuild(&mut self, touched: &Touched) {
        for name in &touched.services {
            match self.config.resources.get(&ResourceKey::Service(name.clone())).map(|r| &**r) {
                Some(Resource::Service(service)) => {
                    let members = self.members.get(name).map(|uids| uids.iter()).into_iter().flatten();
                    let workloads: Vec<&Arc<Resource>> = members
                        .filter_map(|uid| self.config.resources.get(&ResourceKey::Workload(uid.clone())))
                        .collect();
                    let routes = self.routes(&Parent::Service(name.clone()));
                    let view = ServiceView::new(service, &workloads, &routes, self.here());
                    self.services.insert(name.clone(), Arc::new(view));
                }
                _ => {
                    self.services.remove(name);
                }
            }
        }
        if touched.gateways {
            self.rebuild_gateways();
        }
    }

    fn rebuild_gateways(&mut self) {
        let mut ports: BTreeMap<u16, Vec<ListenerView>> = BTreeMap::new();
        for resource in self.config.resources.values() {
            let Resource::Gateway(gateway) = &**resource else { continue };
            let routes = self.routes(&Parent::Gateway(gateway.name.clone()));
            for listener in &gateway.listeners {
                let view = ListenerView::new(gateway, listener, &routes);
                ports.entry(listener.target_port).or_default().push(view);
            }
        }
        self.gateway_ports =
            ports.into_iter().map(|(port, views)| (port, Arc::new(GatewayPort::new(port, views)))).collect();
    }

    fn routes(&self, parent: &Parent) -> Vec<&Route> {
        let keys = self.attached.get(parent).map(|keys| keys.iter()).into_iter().flatten();
        keys.filter_map(|key| match &**self.config.resources.get(&ResourceKey::Route(key.clone()))? {
            Resource::Route(route) => Some(route),
            _ => None,
        })
        .collect()
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
    gateways: bool,
}

impl Touched {
    fn parent(&mut self, parent: Parent) {
        match parent {
            Parent::Service(name) => {
                self.services.insert(name);
            }
            Parent::Gateway(_) => self.gateways = true,
        }
    }
}

fn parents(route: &Route) -> BTreeSet<Parent> {
    let parent = |parent: &RouteParent| match parent {
        RouteParent::Listener { gateway, .. } => Parent::Gateway(gateway.clone()),
        RouteParent::Service { service, .. } => Parent::Service(service.clone()),
    };
    route.parents.iter().map(parent).collect()
}

fn insert_into<K: std::hash::Hash + Eq, V: Ord + Clone>(
    index: &mut HashMap<K, Arc<BTreeSet<V>>>,
    key: K,
    value: V,
) {
    Arc::make_mut(index.entry(key).or_default()).insert(value);
}

fn remove_from<K: std::hash::Hash + Eq, V: Ord + Clone>(
    index: &mut HashMap<K, Arc<BTreeSet<V>>>,
    key: &K,
    value: &V,
) {
    if let Some(values) = index.get_mut(key) {
        Arc::make_mut(values).remove(value);
        if values.is_empty() {
            index.remove(key);
        }
    }
}
