//! What the compilation of one unit may look at. Every look-up is noted, and a unit is compiled again when the answer to
//! one of its look-ups may have changed: there is no other way to an object, so that nothing can be forgotten.

use std::borrow::Borrow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use mesh_ir::map::SharedMap;
use mesh_ir::name::{Namespace, ObjectName};
use mesh_ir::resource::CircuitBreaker;

use crate::compiler::ListenerSets;
use crate::gateway::Gateway;
use crate::listener_set::{Candidate, ListenerSet};
use crate::object::Kind;
use crate::snapshot::{Snapshot, Tables};
use crate::workload::Endpoints;

/// Something that was looked up, found or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Query {
    One(Kind, Name),
    /// All objects of a kind in a namespace.
    In(Kind, Namespace),
    /// All objects of a kind.
    All(Kind),
    /// What a Gateway of ours came to.
    Gateway(ObjectName),
    /// The ListenerSets that name a Gateway.
    ListenerSetsOf(ObjectName),
    /// What a ListenerSet of a Gateway of ours came to.
    ListenerSet(ObjectName),
    /// The circuit breaker of a Service.
    CircuitBreaker(ObjectName),
    /// Who uses a Service.
    Users(ObjectName),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Cluster(Arc<str>),
    Namespaced(ObjectName),
}

/// By Service, who reaches it, each with the number of routes and policies that say so.
pub(crate) type Users = BTreeMap<ObjectName, BTreeMap<User, usize>>;

/// Who reaches a Service, by routes or to tell it of its traffic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum User {
    Gateway(ObjectName),
    /// Another Service, or the same: a parent of routes of the mesh.
    Service(ObjectName),
}

/// The look-ups of one unit.
#[derive(Debug, Default)]
pub(crate) struct Reads(RefCell<Vec<Query>>);

impl Reads {
    fn note(&self, query: Query) {
        self.0.borrow_mut().push(query);
    }

    /// Each once, in order.
    pub(crate) fn into_queries(self) -> Vec<Query> {
        let mut queries = self.0.into_inner();
        queries.sort();
        queries.dedup();
        queries
    }
}

/// The objects, and what other units made of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lookup<'a> {
    tables: Tables<'a>,
    /// Whom a change of these concerns they tell themselves.
    pub(crate) endpoints: &'a Endpoints,
    listener_sets: &'a ListenerSets,
    judged_gateways: &'a BTreeMap<ObjectName, Arc<Gateway>>,
    circuit_breakers: &'a BTreeMap<ObjectName, CircuitBreaker>,
    users: &'a Users,
    reads: &'a Reads,
}

impl<'a> Deref for Lookup<'a> {
    type Target = Tables<'a>;

    fn deref(&self) -> &Tables<'a> {
        &self.tables
    }
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        endpoints: &'a Endpoints,
        listener_sets: &'a ListenerSets,
        judged_gateways: &'a BTreeMap<ObjectName, Arc<Gateway>>,
        circuit_breakers: &'a BTreeMap<ObjectName, CircuitBreaker>,
        users: &'a Users,
        reads: &'a Reads,
    ) -> Self {
        let tables = snapshot.tables(reads);
        Self { tables, endpoints, listener_sets, judged_gateways, circuit_breakers, users, reads }
    }

    /// The ListenerSets that name a Gateway of ours as their parent, before they are judged.
    pub(crate) fn listener_sets_of(
        &self,
        gateway: &ObjectName,
    ) -> impl Iterator<Item = (&'a ObjectName, &'a Arc<Candidate>)> + use<'a> {
        self.reads.note(Query::ListenerSetsOf(gateway.clone()));
        self.listener_sets.of_gateway(gateway)
    }

    /// A ListenerSet of a Gateway of ours, judged.
    pub(crate) fn judged_listener_set(&self, name: &ObjectName) -> Option<&'a ListenerSet> {
        self.reads.note(Query::ListenerSet(name.clone()));
        self.listener_sets.judged(name)
    }

    /// A Gateway of a class of ours, its listeners judged.
    pub(crate) fn judged_gateway(&self, name: &ObjectName) -> Option<&'a Gateway> {
        self.reads.note(Query::Gateway(name.clone()));
        self.judged_gateways.get(name).map(|gateway| &**gateway)
    }

    /// What a policy says for a Service.
    pub(crate) fn circuit_breaker(&self, service: &ObjectName) -> Option<&'a CircuitBreaker> {
        self.reads.note(Query::CircuitBreaker(service.clone()));
        self.circuit_breakers.get(service)
    }

    /// Who reaches a Service, by routes that they took or to tell it of their traffic; the Gateways of ours first.
    pub(crate) fn users(&self, service: &ObjectName) -> impl Iterator<Item = &'a User> + use<'a> {
        self.reads.note(Query::Users(service.clone()));
        self.users.get(service).into_iter().flat_map(BTreeMap::keys)
    }

    /// The Gateways of those.
    pub(crate) fn gateways_using(
        &self,
        service: &ObjectName,
    ) -> impl Iterator<Item = &'a ObjectName> + use<'a> {
        self.users(service).filter_map(|user| match user {
            User::Gateway(gateway) => Some(gateway),
            User::Service(_) => None,
        })
    }
}

/// The objects of one kind.
#[derive(Debug)]
pub(crate) struct Table<'a, K, T> {
    kind: Kind,
    map: &'a SharedMap<K, Arc<T>>,
    reads: &'a Reads,
}

impl<K, T> Clone for Table<'_, K, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, T> Copy for Table<'_, K, T> {}

/// What an object can be looked up by.
pub(crate) trait ToName {
    fn to_name(&self) -> Name;
}

impl ToName for str {
    fn to_name(&self) -> Name {
        Name::Cluster(self.into())
    }
}

impl ToName for Arc<str> {
    fn to_name(&self) -> Name {
        Name::Cluster(self.clone())
    }
}

impl ToName for ObjectName {
    fn to_name(&self) -> Name {
        Name::Namespaced(self.clone())
    }
}

impl<'a, K: Ord, T> Table<'a, K, T> {
    pub(crate) fn new(kind: Kind, map: &'a SharedMap<K, Arc<T>>, reads: &'a Reads) -> Self {
        Self { kind, map, reads }
    }

    pub(crate) fn get<Q: Ord + ToName + ?Sized>(&self, name: &Q) -> Option<&'a Arc<T>>
    where
        K: Borrow<Q>,
    {
        self.reads.note(Query::One(self.kind, name.to_name()));
        self.map.get(name)
    }

    pub(crate) fn contains_key<Q: Ord + ToName + ?Sized>(&self, name: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(name).is_some()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a K, &'a Arc<T>)> + use<'a, K, T> {
        self.reads.note(Query::All(self.kind));
        self.map.iter()
    }
}

impl<'a, T> Table<'a, ObjectName, T> {
    pub(crate) fn in_namespace(
        &self,
        namespace: &Namespace,
    ) -> impl Iterator<Item = (&'a ObjectName, &'a Arc<T>)> + use<'a, T> {
        self.reads.note(Query::In(self.kind, namespace.clone()));
        let (first, namespace) =
            (ObjectName { namespace: namespace.clone(), name: "".into() }, namespace.clone());
        self.map.from(&first).take_while(move |(name, _)| name.namespace == namespace)
    }
}
