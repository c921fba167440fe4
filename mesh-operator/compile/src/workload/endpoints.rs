//! Which EndpointSlices speak of a Pod or of an address, and which Pods have an address: what joins the two, turned
//! round, and whom a change of either concerns.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_ir::map::SharedMap;
use mesh_ir::name::{Namespace, ObjectName};

use crate::api::{Endpoint, EndpointSlice, Pod};

#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    slices: SharedMap<ObjectName, Arc<EndpointSlice>>,
    /// The slices with an endpoint that names the Pod.
    naming: Lists<ObjectName, ObjectName>,
    /// The slices with an endpoint that names no Pod and has this as its first address.
    at: Lists<IpAddr, ObjectName>,
    /// The Pods that have an address to themselves. A Pod that is gone may for a moment share its successor's: the last
    /// by name counts.
    holders: Lists<IpAddr, ObjectName>,
}

/// Whose workload may have changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Concerned {
    Pod(ObjectName),
    Endpoint(Namespace, IpAddr),
}

impl Endpoints {
    pub(super) fn slice(&self, name: &ObjectName) -> Option<&EndpointSlice> {
        self.slices.get(name).map(|slice| &**slice)
    }

    pub(super) fn naming(&self, pod: &ObjectName) -> &[ObjectName] {
        self.naming.get(pod)
    }

    pub(super) fn at(&self, address: IpAddr) -> &[ObjectName] {
        self.at.get(&address)
    }

    pub(super) fn holder(&self, address: IpAddr) -> Option<&ObjectName> {
        self.holders.get(&address).last()
    }

    /// Takes in what became of a slice.
    pub(crate) fn set_slice(
        &mut self,
        name: &ObjectName,
        before: Option<&EndpointSlice>,
        after: Option<&Arc<EndpointSlice>>,
    ) -> BTreeSet<Concerned> {
        match after {
            Some(slice) => _ = self.slices.insert(name.clone(), slice.clone()),
            None => _ = self.slices.remove(name),
        }
        let old = before.map(|slice| by_subject(name, slice)).unwrap_or_default();
        let new = after.map(|slice| by_subject(name, slice)).unwrap_or_default();
        let only_endpoints_differ = before.zip(after).is_some_and(|(before, after)| {
            before.metadata.labels == after.metadata.labels && before.ports == after.ports
        });
        let mut concerned = BTreeSet::new();
        for subject in old.keys().chain(new.keys()) {
            let (old, new) = (old.get(subject), new.get(subject));
            if only_endpoints_differ && old == new {
                continue;
            }
            match (subject, old.is_some(), new.is_some()) {
                (Concerned::Pod(pod), false, _) => self.naming.insert(pod, name),
                (Concerned::Pod(pod), _, false) => self.naming.remove(pod, name),
                (Concerned::Endpoint(_, address), false, _) => self.at.insert(address, name),
                (Concerned::Endpoint(_, address), _, false) => self.at.remove(address, name),
                _ => {}
            }
            if let Concerned::Endpoint(_, address) = subject {
                concerned.extend(self.holders.get(address).iter().cloned().map(Concerned::Pod));
            }
            concerned.insert(subject.clone());
        }
        concerned
    }

    /// Takes in what became of a Pod. It is not told itself: that it changed is known.
    pub(crate) fn set_pod(
        &mut self,
        name: &ObjectName,
        before: Option<&Pod>,
        after: Option<&Pod>,
    ) -> BTreeSet<Concerned> {
        let (old, new) = (before.map(held).unwrap_or_default(), after.map(held).unwrap_or_default());
        let mut concerned = BTreeSet::new();
        for address in old.symmetric_difference(&new) {
            match new.contains(address) {
                true => self.holders.insert(address, name),
                false => self.holders.remove(address, name),
            }
            concerned.extend(self.holders.get(address).iter().cloned().map(Concerned::Pod));
            let slices = self.at.get(address).iter();
            concerned.extend(slices.map(|slice| Concerned::Endpoint(slice.namespace.clone(), *address)));
        }
        concerned
    }
}

/// The addresses that a Pod has to itself. Pods on the host's network share its address: an endpoint there is not one of
/// them in particular.
fn held(pod: &Pod) -> BTreeSet<IpAddr> {
    match pod.is_alive && !pod.on_host_network {
        true => pod.addresses.iter().copied().collect(),
        false => BTreeSet::new(),
    }
}

fn by_subject<'a>(name: &ObjectName, slice: &'a EndpointSlice) -> BTreeMap<Concerned, Vec<&'a Endpoint>> {
    let mut subjects: BTreeMap<Concerned, Vec<&Endpoint>> = BTreeMap::new();
    for endpoint in &slice.endpoints {
        let subject = match &endpoint.pod {
            Some(pod) => Some(Concerned::Pod(pod.clone())),
            None => endpoint.addresses.first().map(|a| Concerned::Endpoint(name.namespace.clone(), *a)),
        };
        if let Some(subject) = subject {
            subjects.entry(subject).or_default().push(endpoint);
        }
    }
    subjects
}

/// Few values for each of many keys, sorted.
#[derive(Debug)]
struct Lists<K, V>(BTreeMap<K, Box<[V]>>);

impl<K, V> Default for Lists<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone, V: Ord + Clone> Lists<K, V> {
    fn get(&self, key: &K) -> &[V] {
        self.0.get(key).map(|values| &**values).unwrap_or_default()
    }

    fn insert(&mut self, key: &K, value: &V) {
        let mut values = self.0.remove(key).map(Vec::from).unwrap_or_default();
        if let Err(place) = values.binary_search(value) {
            values.insert(place, value.clone());
        }
        self.0.insert(key.clone(), values.into());
    }

    fn remove(&mut self, key: &K, value: &V) {
        let mut values = self.0.remove(key).map(Vec::from).unwrap_or_default();
        values.retain(|other| other != value);
        if !values.is_empty() {
            self.0.insert(key.clone(), values.into());
        }
    }
}
