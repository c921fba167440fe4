//! Gives addresses of AddressPools to Gateways: what a Gateway has it keeps, what it asks for it gets where that is
//! free, and one that asks for nothing gets the lowest that is free of each family.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_ir::name::ObjectName;

use crate::api::AddressPool;
use crate::lookup::Lookup;
use crate::object::{Kind, ObjectId};
use crate::status::{AddressPoolStatus, Conditions, Status};
use range::{Family, Range};

mod range;

/// What one Gateway has and asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// Of two that ask for the same the older gets it.
    pub(crate) created: i64,
    /// Of `spec.addresses`.
    pub(crate) wanted: Vec<IpAddr>,
    /// What its Service has.
    pub(crate) present: Vec<IpAddr>,
    /// Whether we gave it that.
    pub(crate) is_ours: bool,
    /// The Service's, as soon as it is there.
    pub(crate) families: Option<Vec<String>>,
}

#[derive(Debug, Default)]
pub(crate) struct Pools {
    /// Of the Gateways that are given their addresses here.
    pub(crate) given: BTreeMap<ObjectName, Given>,
    pub(crate) statuses: BTreeMap<ObjectId, Status>,
}

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Given {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) problem: Option<String>,
}

/// A pool as it can be given from.
struct Pool {
    ranges: Vec<Range>,
    avoid: Vec<Range>,
    problems: Vec<String>,
}

pub(crate) fn allocate(snapshot: &Lookup<'_>, requests: &BTreeMap<ObjectName, Request>) -> Pools {
    let pools: BTreeMap<&Arc<str>, Pool> =
        snapshot.address_pools.iter().map(|(name, pool)| (name, Pool::new(pool))).collect();
    let mut given: BTreeMap<ObjectName, Given> = BTreeMap::new();
    let mut by_age: Vec<(&ObjectName, &Request)> =
        requests.iter().filter(|(_, request)| is_given_here(&pools, request)).collect();
    by_age.sort_by_key(|(name, request)| (request.created, *name));

    let mut used: BTreeMap<IpAddr, &ObjectName> = BTreeMap::new();
    for (name, request) in &by_age {
        let kept = request.present.iter().filter(|address| {
            let asked = request.wanted.is_empty() || request.wanted.contains(address);
            asked && request.has_family(Family::of(address)) && holds(&pools, address)
        });
        let entry = given.entry((*name).clone()).or_default();
        for address in kept {
            let first_of_family =
                entry.addresses.iter().all(|other| Family::of(other) != Family::of(address));
            if (first_of_family || !request.wanted.is_empty()) && !used.contains_key(address) {
                used.insert(*address, name);
                entry.addresses.push(*address);
            }
        }
    }
    for (name, request) in &by_age {
        let entry = given.entry((*name).clone()).or_default();
        for address in &request.wanted {
            match used.get(address) {
                Some(holder) if holder == name => {}
                Some(holder) => {
                    let problem = format!(
                        "{address} of spec.addresses is Gateway {holder}'s; ask for another, or for none"
                    );
                    entry.problem.get_or_insert(problem);
                }
                None if !holds(&pools, address) => {
                    let problem = format!(
                        "{address} of spec.addresses is in no AddressPool; ask for another, or for none"
                    );
                    entry.problem.get_or_insert(problem);
                }
                None => {
                    used.insert(*address, name);
                    entry.addresses.push(*address);
                }
            }
        }
    }
    for (name, request) in by_age.iter().filter(|(_, request)| request.wanted.is_empty()) {
        let entry = given.entry((*name).clone()).or_default();
        for family in [Family::V4, Family::V6].into_iter().filter(|family| request.has_family(*family)) {
            if entry.addresses.iter().any(|address| Family::of(address) == family) {
                continue;
            }
            let free =
                pools.values().find_map(|pool| pool.lowest(family, |address| used.contains_key(address)));
            if let Some(free) = free {
                used.insert(free, name);
                entry.addresses.push(free);
            }
        }
        if entry.addresses.is_empty() {
            let problem = "All addresses of the AddressPools that its Service could have are in use; add a pool, or \
                           addresses to one";
            entry.problem = Some(problem.into());
        }
    }

    let assigned: BTreeSet<IpAddr> = used.into_keys().collect();
    let status = |(name, pool): (&&Arc<str>, &Pool)| {
        let id = ObjectId { kind: Kind::AddressPool, namespace: None, name: Arc::clone(name) };
        let generation = snapshot.address_pools.get(*name).and_then(|pool| pool.metadata.generation);
        (id, Status::AddressPool(pool.status(Conditions { generation }, &assigned)))
    };
    let statuses = pools.iter().map(status).collect();
    Pools { given, statuses }
}

/// A Gateway whose addresses something else gives is left alone, and so are all where there is no pool.
fn is_given_here(pools: &BTreeMap<&Arc<str>, Pool>, request: &Request) -> bool {
    let from_pools = request.present.iter().all(|address| holds(pools, address));
    request.is_ours || (!pools.is_empty() && from_pools)
}

fn holds(pools: &BTreeMap<&Arc<str>, Pool>, address: &IpAddr) -> bool {
    pools.values().any(|pool| pool.holds(address))
}

impl Request {
    fn has_family(&self, family: Family) -> bool {
        self.families.as_ref().is_none_or(|families| families.iter().any(|name| name == family.as_str()))
    }
}

impl Pool {
    fn new(pool: &AddressPool) -> Self {
        let mut problems = Vec::new();
        let mut read = |field: &str, texts: &[String]| {
            let mut ranges = Vec::new();
            for (i, text) in texts.iter().enumerate() {
                match text.parse::<Range>() {
                    Ok(range) => ranges.push(range),
                    Err(problem) => problems.push(format!("spec.{field}[{i}]: {problem}")),
                }
            }
            range::union(ranges)
        };
        let (ranges, avoid) = (read("addresses", &pool.spec.addresses), read("avoid", &pool.spec.avoid));
        Self { ranges, avoid, problems }
    }

    fn holds(&self, address: &IpAddr) -> bool {
        let is_in = |ranges: &[Range]| ranges.iter().any(|range| range.contains(address));
        is_in(&self.ranges) && !is_in(&self.avoid)
    }

    fn lowest(&self, family: Family, is_used: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
        for range in self.ranges.iter().filter(|range| range.family == family) {
            let mut next = Some(range.first);
            while let Some(number) = next.filter(|number| *number <= range.last) {
                let address = family.address(number);
                next = match self.avoid.iter().find(|avoid| avoid.contains(&address)) {
                    Some(avoid) => avoid.last.checked_add(1),
                    None if is_used(&address) => number.checked_add(1),
                    None => return Some(address),
                };
            }
        }
        None
    }

    fn status(&self, conditions: Conditions, assigned: &BTreeSet<IpAddr>) -> AddressPoolStatus {
        let avoided =
            self.ranges.iter().flat_map(|range| self.avoid.iter().map(|avoid| range.overlap(avoid)));
        let size = self.ranges.iter().fold(0_u128, |sum, range| sum.saturating_add(range.size()));
        let capacity = size.saturating_sub(avoided.fold(0, u128::saturating_add));
        let accepted = match self.problems.is_empty() {
            true => conditions.ok("Accepted", "Accepted", "Gateways get addresses of it"),
            false => conditions.no("Accepted", "Invalid", self.problems.join("; ")),
        };
        let held = assigned.iter().filter(|address| self.holds(address)).count();
        AddressPoolStatus {
            capacity: i64::try_from(capacity).unwrap_or(i64::MAX),
            assigned: i64::try_from(held).unwrap_or(i64::MAX),
            conditions: vec![accepted],
        }
    }
}

#[cfg(test)]
mod tests;
