//! Compiles again what a change touches, and nothing else. The mesh is compiled in units, each a function of what it
//! looks up ([`Lookup`] takes note), in this order:
//!
//! ```text
//!   Classes   Meshes   Policies ──▶ Service   Node   Workload   ListenerSet ──▶ Gateway ──▶ Route ──▶ Gateways
//!                                                                                      └─────▶ BackendTlsPolicy,
//!                                                                                              BackendTrafficPolicy
//! ```
//!
//! A unit is due when an object or an earlier unit's result changed that it looked up the last time. A result that is
//! what it was makes nothing else due. What a unit means is in the module of its kind.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_ir::map::SharedMap;
use mesh_ir::name::{Namespace, ObjectName};
use mesh_ir::resource::{CircuitBreaker, Resource, ResourceKey, RouteKey};

use crate::gateway::{self, Attached, Gateway};
use crate::listener::Owner;
use crate::listener_set::{self, Candidate};
use crate::lookup::{Lookup, Name, Query, Reads, Users};
use crate::object::{Kind, Object, ObjectId};
use crate::snapshot::{Change, Snapshot};
use crate::status::Status;
use crate::workload::{self, Concerned, Endpoints};
use crate::{Compiled, Settings, backend_tls, class, mesh, node, policy, route, service, traffic_policy};
pub(crate) use listener_sets::ListenerSets;
use readers::Readers;

mod listener_sets;
mod readers;

/// Makes each `Compiled` from the one before.
#[derive(Debug)]
pub struct Compiler {
    settings: Settings,
    snapshot: Snapshot,
    endpoints: Endpoints,
    circuit_breakers: BTreeMap<ObjectName, CircuitBreaker>,
    listener_sets: ListenerSets,
    gateways: BTreeMap<ObjectName, Arc<Gateway>>,
    attached: Attached,
    users: Users,
    units: BTreeMap<Arc<Unit>, State>,
    readers: Readers,
    /// Keys that several units claim: two Pods that say they have one UID. The last unit has it.
    contested: BTreeSet<ResourceKey>,
    compiled: Compiled,
}

type Due = BTreeSet<Arc<Unit>>;

/// What is compiled at once. The order is that of the flow of results.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unit {
    /// All GatewayClasses.
    Classes,
    /// All XMeshes.
    Meshes,
    /// All BackendPolicies.
    Policies,
    Node(Arc<str>),
    Service(ObjectName),
    /// A Pod's workload.
    Pod(ObjectName),
    /// The workload of an endpoint that is no Pod.
    Endpoint(Namespace, IpAddr),
    /// What a ListenerSet asks for.
    ListenerSet(ObjectName),
    /// What a Gateway and its ListenerSets ask for, judged.
    Gateway(ObjectName),
    Route(RouteKey),
    /// The status of a BackendTLSPolicy; what it asks for is in the Service that it is for.
    BackendTlsPolicy(ObjectName),
    /// The same of an XBackendTrafficPolicy.
    BackendTrafficPolicy(ObjectName),
    /// What follows from all Gateways, once routes are attached: ports and addresses are given to all of them together.
    Gateways,
}

/// A unit as it was compiled last.
#[derive(Debug, Default)]
struct State {
    reads: Box<[Arc<Query>]>,
    resources: Box<[Arc<Resource>]>,
    /// The listeners that took a route.
    attached: Box<[(Owner, usize)]>,
    /// The Services that a route uses, each with a Gateway that took it.
    uses: Box<[(ObjectName, ObjectName)]>,
}

/// What came of a unit.
#[derive(Debug, Default)]
struct Outcome {
    resources: Vec<Resource>,
    attached: Vec<(Owner, usize)>,
    uses: Vec<(ObjectName, ObjectName)>,
    statuses: BTreeMap<ObjectId, Status>,
}

impl Compiler {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            snapshot: Snapshot::default(),
            endpoints: Endpoints::default(),
            circuit_breakers: BTreeMap::new(),
            listener_sets: ListenerSets::default(),
            gateways: BTreeMap::new(),
            attached: Attached::new(),
            users: Users::new(),
            units: BTreeMap::new(),
            readers: Readers::default(),
            contested: BTreeSet::new(),
            compiled: Compiled::default(),
        }
    }

    /// All that follows from the snapshot that was given last.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// Compiles what differs between this snapshot and the last, and what follows from that.
    pub fn update(&mut self, snapshot: &Snapshot) {
        let before = std::mem::replace(&mut self.snapshot, snapshot.clone());
        let mut due = BTreeSet::new();
        for change in before.changes_to(snapshot) {
            self.touch(change, &mut due);
        }
        for whole in [Unit::Classes, Unit::Meshes, Unit::Policies, Unit::Gateways] {
            if !self.units.contains_key(&whole) {
                due.insert(Arc::new(whole));
            }
        }
        while let Some(unit) = due.pop_first() {
            self.compile(unit, &mut due);
        }
    }

    /// Finds the units that an object's change makes due.
    fn touch(&mut self, change: Change, due: &mut Due) {
        let Change { kind, name, before, after } = change;
        due.extend(Unit::of(kind, &name).map(Arc::new));
        self.read_by(&Query::One(kind, name.clone()), due);
        self.read_by(&Query::All(kind), due);
        let Name::Namespaced(name) = name else { return };
        self.read_by(&Query::In(kind, name.namespace.clone()), due);
        let concerned = match kind {
            Kind::Pod => {
                let pod = |object: &Option<Object>| match object {
                    Some(Object::Pod(pod)) => Some(pod.clone()),
                    _ => None,
                };
                self.endpoints.set_pod(&name, pod(&before).as_deref(), pod(&after).as_deref())
            }
            Kind::EndpointSlice => {
                let slice = |object: &Option<Object>| match object {
                    Some(Object::EndpointSlice(slice)) => Some(slice.clone()),
                    _ => None,
                };
                self.endpoints.set_slice(&name, slice(&before).as_deref(), slice(&after).as_ref())
            }
            _ => return,
        };
        due.extend(concerned.into_iter().map(|concerned| match concerned {
            Concerned::Pod(name) => Arc::new(Unit::Pod(name)),
            Concerned::Endpoint(namespace, address) => Arc::new(Unit::Endpoint(namespace, address)),
        }));
    }

    fn read_by(&self, query: &Query, due: &mut Due) {
        due.extend(self.readers.of(query).cloned());
    }

    fn compile(&mut self, unit: Arc<Unit>, due: &mut Due) {
        let reads = Reads::default();
        let lookup = Lookup::new(
            &self.snapshot,
            &self.endpoints,
            &self.listener_sets,
            &self.gateways,
            &self.circuit_breakers,
            &self.users,
            &reads,
        );
        let mut outcome = Outcome::default();
        match &*unit {
            Unit::Classes => outcome.statuses = class::compile(&lookup),
            Unit::Meshes => outcome.statuses = mesh::compile(&lookup, &self.settings.trust_domain),
            Unit::Policies => {
                let policies = policy::compile(&lookup);
                outcome.statuses = policies.statuses;
                self.set_circuit_breakers(policies.circuit_breakers, due);
            }
            Unit::Node(name) => outcome.resources.extend(node::compile(&lookup, name)),
            Unit::Service(name) => outcome.resources.extend(service::compile(&lookup, name)),
            Unit::Pod(name) => outcome.resources.extend(workload::of_pod(&lookup, &self.settings, name)),
            Unit::Endpoint(namespace, address) => {
                outcome.resources.extend(workload::of_endpoint(&lookup, namespace, *address));
            }
            Unit::ListenerSet(name) => {
                let candidate = listener_set::evaluate(&lookup, name);
                self.set_listener_set(name, candidate, due);
            }
            Unit::Gateway(name) => {
                let gateway = gateway::judge(&lookup, name);
                self.set_gateway(name, gateway, due);
            }
            Unit::Route(key) => {
                let route = route::compile(&lookup, key);
                outcome.resources.extend(route.resource);
                outcome.statuses.extend(route.status);
                outcome.attached = route.attached;
                outcome.uses = route.uses;
            }
            Unit::BackendTlsPolicy(name) => outcome.statuses.extend(backend_tls::status(&lookup, name)),
            Unit::BackendTrafficPolicy(name) => {
                outcome.statuses.extend(traffic_policy::status(&lookup, name));
            }
            Unit::Gateways => {
                let finished = gateway::finish(&lookup, &self.gateways, &self.attached);
                outcome.statuses = finished.statuses;
                outcome.resources = finished.resources;
                let owned = finished.owned.into_iter().map(|(id, object)| (id, Arc::new(object)));
                replace(&mut self.compiled.owned, owned.collect());
                replace(&mut self.compiled.addresses, finished.addresses);
            }
        }
        self.settle(unit, reads, outcome, due);
    }

    fn set_circuit_breakers(&mut self, new: BTreeMap<ObjectName, CircuitBreaker>, due: &mut Due) {
        let old = std::mem::replace(&mut self.circuit_breakers, new);
        let names: BTreeSet<&ObjectName> = old.keys().chain(self.circuit_breakers.keys()).collect();
        for name in names.into_iter().filter(|name| old.get(*name) != self.circuit_breakers.get(*name)) {
            self.read_by(&Query::CircuitBreaker(name.clone()), due);
        }
    }

    fn set_listener_set(&mut self, name: &ObjectName, new: Option<Candidate>, due: &mut Due) {
        for gateway in self.listener_sets.set(name, new) {
            self.read_by(&Query::ListenerSetsOf(gateway), due);
        }
    }

    fn set_gateway(&mut self, name: &ObjectName, new: Option<Gateway>, due: &mut Due) {
        let new = new.map(Arc::new);
        let old = match &new {
            Some(gateway) => self.gateways.insert(name.clone(), gateway.clone()),
            None => self.gateways.remove(name),
        };
        if old == new {
            return;
        }
        let same_to_routes = matches!((&old, &new), (Some(old), Some(new)) if old.is_same_to_routes(new));
        if !same_to_routes {
            self.read_by(&Query::Gateway(name.clone()), due);
        }
        for set in self.listener_sets.set_judged(name, old.as_deref(), new.as_deref()) {
            self.read_by(&Query::ListenerSet(set), due);
        }
        due.insert(Arc::new(Unit::Gateways));
    }

    /// Puts what came of a unit in the place of what came of it the last time.
    fn settle(&mut self, unit: Arc<Unit>, reads: Reads, outcome: Outcome, due: &mut Due) {
        let (unit, old) = self.units.remove_entry(&unit).unwrap_or_else(|| (unit, State::default()));
        let own = |query: &Query| matches!(query, Query::One(kind, name) if Unit::of(*kind, name).as_ref() == Some(&*unit));
        let mut reads = reads.into_queries();
        // That its own object makes it due needs no note.
        reads.retain(|query| !own(query));
        let reads = self.readers.replace(&unit, &old.reads, reads);

        if *old.attached != *outcome.attached {
            self.count_attached(&old.attached, &outcome.attached);
            due.insert(Arc::new(Unit::Gateways));
        }
        if *old.uses != *outcome.uses {
            self.count_uses(&old.uses, &outcome.uses, due);
        }
        self.set_statuses(&unit, outcome.statuses);

        let known: BTreeMap<ResourceKey, &Arc<Resource>> =
            old.resources.iter().map(|resource| (resource.key(), resource)).collect();
        let same = |resource: Resource| match known.get(&resource.key()) {
            Some(before) if ***before == resource => Arc::clone(before),
            _ => Arc::new(resource),
        };
        let resources: Box<[Arc<Resource>]> = outcome.resources.into_iter().map(same).collect();
        let is_gone = |state: &State, unit: &Unit| {
            let whole = matches!(unit, Unit::Classes | Unit::Meshes | Unit::Policies | Unit::Gateways);
            !whole && state.resources.is_empty() && state.reads.is_empty()
        };
        let state = State {
            reads,
            resources: resources.clone(),
            attached: outcome.attached.into(),
            uses: outcome.uses.into(),
        };
        if !is_gone(&state, &unit) {
            self.units.insert(unit.clone(), state);
        }
        self.set_resources(&unit, &old.resources, &resources);
    }

    fn count_attached(&mut self, old: &[(Owner, usize)], new: &[(Owner, usize)]) {
        for (owner, place) in new {
            *self.attached.entry(owner.clone()).or_default().entry(*place).or_default() += 1;
        }
        for (owner, place) in old {
            let Some(places) = self.attached.get_mut(owner) else { continue };
            if let Some(count) = places.get_mut(place) {
                *count -= 1;
            }
            places.retain(|_, count| *count > 0);
            if places.is_empty() {
                self.attached.remove(owner);
            }
        }
    }

    fn count_uses(
        &mut self,
        old: &[(ObjectName, ObjectName)],
        new: &[(ObjectName, ObjectName)],
        due: &mut Due,
    ) {
        for (service, gateway) in new {
            *self.users.entry(service.clone()).or_default().entry(gateway.clone()).or_default() += 1;
        }
        for (service, gateway) in old {
            let Some(gateways) = self.users.get_mut(service) else { continue };
            if let Some(count) = gateways.get_mut(gateway) {
                *count -= 1;
            }
            gateways.retain(|_, count| *count > 0);
            if gateways.is_empty() {
                self.users.remove(service);
            }
        }
        for (service, _) in old.iter().chain(new) {
            self.read_by(&Query::Users(service.clone()), due);
        }
    }

    /// Each kind of object has its status from one kind of unit.
    fn set_statuses(&mut self, unit: &Unit, new: BTreeMap<ObjectId, Status>) {
        let first = |kind: Kind| ObjectId { kind, namespace: None, name: "".into() };
        let old: Vec<ObjectId> = match unit {
            Unit::Classes => self.with_status(&first(Kind::GatewayClass)),
            Unit::Meshes => self.with_status(&first(Kind::XMesh)),
            Unit::Policies => self.with_status(&first(Kind::BackendPolicy)),
            Unit::Gateways => [Kind::Gateway, Kind::ListenerSet, Kind::AddressPool]
                .iter()
                .flat_map(|kind| self.with_status(&first(*kind)))
                .collect(),
            Unit::Route(key) => vec![ObjectId::namespaced(Kind::of_routes(key.kind), &key.name)],
            Unit::BackendTlsPolicy(name) => vec![ObjectId::namespaced(Kind::BackendTlsPolicy, name)],
            Unit::BackendTrafficPolicy(name) => {
                vec![ObjectId::namespaced(Kind::XBackendTrafficPolicy, name)]
            }
            _ => return,
        };
        for id in old.iter().filter(|id| !new.contains_key(*id)) {
            self.compiled.statuses.remove(id);
        }
        for (id, status) in new {
            if self.compiled.statuses.get(&id).is_none_or(|before| **before != status) {
                self.compiled.statuses.insert(id, Arc::new(status));
            }
        }
    }

    fn with_status(&self, first: &ObjectId) -> Vec<ObjectId> {
        let ids = self.compiled.statuses.from(first).map(|(id, _)| id);
        ids.take_while(|id| id.kind == first.kind).cloned().collect()
    }

    fn set_resources(&mut self, unit: &Unit, old: &[Arc<Resource>], new: &[Arc<Resource>]) {
        let mut touched: BTreeSet<ResourceKey> = BTreeSet::new();
        for resource in new {
            let key = resource.key();
            let before = self.compiled.config.resources.get(&key);
            let is_own = |before: &Arc<Resource>| old.iter().any(|own| Arc::ptr_eq(own, before));
            match before {
                Some(before) if Arc::ptr_eq(before, resource) => {}
                Some(before) if !is_own(before) => {
                    self.contested.insert(key.clone());
                    touched.insert(key);
                }
                _ => _ = self.compiled.config.resources.insert(key.clone(), resource.clone()),
            }
        }
        for resource in old {
            let key = resource.key();
            if self.contested.contains(&key) {
                touched.insert(key);
            } else if !new.iter().any(|new| new.key() == key) {
                self.compiled.config.resources.remove(&key);
            }
        }
        for key in touched {
            self.decide(unit, key);
        }
    }

    /// Gives a key to the last of the units that claim it. They are all of one kind.
    fn decide(&mut self, unit: &Unit, key: ResourceKey) {
        let claims = self
            .units
            .iter()
            .filter(|(other, _)| std::mem::discriminant(&***other) == std::mem::discriminant(unit));
        let claims: Vec<Arc<Resource>> = claims
            .flat_map(|(_, state)| state.resources.iter().filter(|resource| resource.key() == key).cloned())
            .collect();
        if claims.len() < 2 {
            self.contested.remove(&key);
        }
        match claims.last() {
            Some(resource) => _ = self.compiled.config.resources.insert(key, resource.clone()),
            None => _ = self.compiled.config.resources.remove(&key),
        }
    }
}

impl Unit {
    /// The unit that is about an object.
    fn of(kind: Kind, name: &Name) -> Option<Self> {
        Some(match (kind, name) {
            (Kind::Node, Name::Cluster(name)) => Self::Node(name.clone()),
            (Kind::Service, Name::Namespaced(name)) => Self::Service(name.clone()),
            (Kind::Pod, Name::Namespaced(name)) => Self::Pod(name.clone()),
            (Kind::ListenerSet, Name::Namespaced(name)) => Self::ListenerSet(name.clone()),
            (Kind::Gateway, Name::Namespaced(name)) => Self::Gateway(name.clone()),
            (Kind::BackendTlsPolicy, Name::Namespaced(name)) => Self::BackendTlsPolicy(name.clone()),
            (Kind::XBackendTrafficPolicy, Name::Namespaced(name)) => Self::BackendTrafficPolicy(name.clone()),
            (kind, Name::Namespaced(name)) => {
                Self::Route(RouteKey { kind: kind.as_route()?, name: name.clone() })
            }
            _ => return None,
        })
    }
}

/// Makes a map hold these, and leaves what it holds already.
fn replace<V: Clone + PartialEq>(map: &mut SharedMap<ObjectId, V>, new: BTreeMap<ObjectId, V>) {
    let gone: Vec<ObjectId> = map.keys().filter(|id| !new.contains_key(*id)).cloned().collect();
    for id in gone {
        map.remove(&id);
    }
    for (id, value) in new {
        if map.get(&id) != Some(&value) {
            map.insert(id, value);
        }
    }
}
