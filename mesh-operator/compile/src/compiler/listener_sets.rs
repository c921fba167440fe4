//! ListenerSets on their way: what each asks for, by the Gateway that it names, and what that made of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_ir::name::ObjectName;

use crate::gateway::Gateway;
use crate::listener_set::{Candidate, ListenerSet};

#[derive(Debug, Default)]
pub(crate) struct ListenerSets {
    by_gateway: BTreeMap<ObjectName, BTreeMap<ObjectName, Arc<Candidate>>>,
    gateways: BTreeMap<ObjectName, ObjectName>,
    judged: BTreeMap<ObjectName, Arc<ListenerSet>>,
}

impl ListenerSets {
    pub(crate) fn of_gateway<'s>(
        &'s self,
        gateway: &ObjectName,
    ) -> impl Iterator<Item = (&'s ObjectName, &'s Arc<Candidate>)> + use<'s> {
        self.by_gateway.get(gateway).into_iter().flatten()
    }

    pub(crate) fn judged(&self, name: &ObjectName) -> Option<&ListenerSet> {
        self.judged.get(name).map(|set| &**set)
    }

    /// Takes in what a ListenerSet asks for; gives the Gateways that this concerns.
    pub(super) fn set(&mut self, name: &ObjectName, new: Option<Candidate>) -> Vec<ObjectName> {
        let before = self.gateways.get(name).cloned();
        let of = before.as_ref().and_then(|gateway| self.by_gateway.get_mut(gateway));
        if of.as_ref().and_then(|of| of.get(name)).map(|old| &**old) == new.as_ref() {
            return Vec::new();
        }
        if let (Some(of), Some(gateway)) = (of, &before) {
            of.remove(name);
            if of.is_empty() {
                self.by_gateway.remove(gateway);
            }
        }
        let after = new.as_ref().map(|candidate| candidate.gateway.clone());
        match (new, &after) {
            (Some(candidate), Some(gateway)) => {
                self.gateways.insert(name.clone(), gateway.clone());
                let of = self.by_gateway.entry(gateway.clone()).or_default();
                of.insert(name.clone(), Arc::new(candidate));
            }
            _ => _ = self.gateways.remove(name),
        }
        let mut concerned: Vec<ObjectName> = before.into_iter().chain(after).collect();
        concerned.dedup();
        concerned
    }

    /// Takes in what a Gateway made of its ListenerSets; gives those that are not what they were.
    pub(super) fn set_judged(
        &mut self,
        name: &ObjectName,
        before: Option<&Gateway>,
        after: Option<&Gateway>,
    ) -> Vec<ObjectName> {
        fn sets(gateway: Option<&Gateway>) -> impl Iterator<Item = &Arc<ListenerSet>> {
            gateway.into_iter().flat_map(|gateway| &gateway.listener_sets)
        }
        let mut changed = Vec::new();
        let kept: BTreeSet<&ObjectName> = sets(after).map(|set| &set.name).collect();
        for set in sets(before).filter(|set| !kept.contains(&set.name)) {
            // It may name another Gateway by now, which has judged it already.
            if self.judged.get(&set.name).is_some_and(|judged| judged.gateway == *name) {
                self.judged.remove(&set.name);
                changed.push(set.name.clone());
            }
        }
        for set in sets(after) {
            if self.judged.get(&set.name) != Some(set) {
                self.judged.insert(set.name.clone(), set.clone());
                changed.push(set.name.clone());
            }
        }
        changed
    }
}
