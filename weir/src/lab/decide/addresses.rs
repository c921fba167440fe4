//! The addresses of Services and load balancers: which Service has which, kept for as long as the Service lives.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::lab::address::{BALANCERS, CLUSTER_IPS, Dual, Subnets};
use crate::lab::object::ObjectId;

/// What has been given out.
#[derive(Debug, Default)]
pub(crate) struct Given {
    cluster_ips: BTreeMap<ObjectId, u16>,
    balancers: BTreeMap<ObjectId, u8>,
}

impl Given {
    /// Gives every Service in the list what it needs and takes back what others had. The answers are the Services
    /// that got nothing, and why.
    pub(crate) fn update<'a>(
        &mut self,
        plan: Subnets,
        services: impl Iterator<Item = (&'a ObjectId, &'a Value)> + Clone,
    ) -> Vec<(ObjectId, String)> {
        let mut problems = Vec::new();
        let listed: BTreeMap<&ObjectId, &Value> = services.collect();
        self.cluster_ips.retain(|id, number| {
            listed
                .get(id)
                .is_some_and(|s| needs_cluster_ip(s) && asked(plan, s).is_none_or(|a| a == Ok(*number)))
        });
        self.balancers.retain(|id, _| listed.get(id).is_some_and(|service| is_balancer(service)));
        for (id, service) in &listed {
            if needs_cluster_ip(service)
                && !self.cluster_ips.contains_key(id)
                && let Err(why) = self.give_cluster_ip(plan, id, service)
            {
                problems.push(((*id).clone(), why));
            }
            if is_balancer(service) && !self.balancers.contains_key(id) {
                match self.free_balancer(plan, service) {
                    Some(host) => drop(self.balancers.insert((*id).clone(), host)),
                    None => problems.push(((*id).clone(), "every load balancer address is taken".to_owned())),
                }
            }
        }
        problems
    }

    pub(crate) fn cluster_ip(&self, plan: Subnets, id: &ObjectId) -> Option<Dual> {
        self.cluster_ips.get(id).map(|number| plan.service(*number))
    }

    pub(crate) fn balancer(&self, plan: Subnets, id: &ObjectId) -> Option<Dual> {
        self.balancers.get(id).map(|host| plan.balancer(*host))
    }

    pub(crate) fn balancers(&self, plan: Subnets) -> impl Iterator<Item = Dual> {
        self.balancers.values().map(move |host| plan.balancer(*host))
    }

    fn give_cluster_ip(&mut self, plan: Subnets, id: &ObjectId, service: &Value) -> Result<(), String> {
        let taken = |number: &u16| self.cluster_ips.values().any(|other| other == number);
        let number = match asked(plan, service) {
            Some(Ok(number)) if taken(&number) => {
                return Err(format!(
                    "spec.clusterIP {} belongs to another Service",
                    service["spec"]["clusterIP"]
                ));
            }
            Some(asked) => asked?,
            None => {
                // The name decides where the search begins, so that a Service tends to get the same address each time.
                let start = spread(&id.to_string()) % CLUSTER_IPS;
                (0..CLUSTER_IPS)
                    .map(|step| (start + step) % CLUSTER_IPS + 1)
                    .find(|number| !taken(number))
                    .ok_or("every ClusterIP is taken")?
            }
        };
        self.cluster_ips.insert(id.clone(), number);
        Ok(())
    }

    fn free_balancer(&self, plan: Subnets, service: &Value) -> Option<u8> {
        let free = |host: &u8| !self.balancers.values().any(|other| other == host);
        let wish = service["spec"]["loadBalancerIP"].as_str().and_then(|text| text.parse::<IpAddr>().ok());
        let wished =
            wish.and_then(|wish| BALANCERS.clone().find(|h| plan.balancer(*h).both().contains(&wish)));
        wished.filter(free).or_else(|| BALANCERS.clone().find(free))
    }
}

/// The Service with the addresses and families that it was given filled in.
pub(crate) fn complete(service: &mut Value, cluster_ip: Option<Dual>, balancer: Option<Dual>) {
    let families = families(service);
    if service["spec"]["type"].is_null() {
        service["spec"]["type"] = json!("ClusterIP");
    }
    if service["spec"]["type"] == "ExternalName" {
        return;
    }
    let of = |dual: Dual| -> Vec<IpAddr> {
        let pick =
            |family: &str| if family == "IPv6" { IpAddr::from(dual.v6) } else { IpAddr::from(dual.v4) };
        families.iter().map(|family| pick(family)).collect()
    };
    if let Some(given) = cluster_ip {
        let addresses = of(given);
        service["spec"]["clusterIP"] = json!(addresses[0]);
        service["spec"]["clusterIPs"] = json!(addresses);
    } else if service["spec"]["clusterIP"] == "None" {
        service["spec"]["clusterIPs"] = json!(["None"]);
    }
    service["spec"]["ipFamilies"] = json!(families);
    let policy = if families.len() == 2 { "RequireDualStack" } else { "SingleStack" };
    if service["spec"]["ipFamilyPolicy"].is_null() {
        service["spec"]["ipFamilyPolicy"] = json!(policy);
    }
    if let Some(given) = balancer {
        let ingress: Vec<Value> = of(given).iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
        service["status"]["loadBalancer"]["ingress"] = json!(ingress);
    }
}

/// The address families of a Service, the first one first. Both, unless it asks for a single one.
pub(crate) fn families(service: &Value) -> Vec<&'static str> {
    let spec = &service["spec"];
    let listed = spec["ipFamilies"].as_array().map(Vec::as_slice).unwrap_or_default();
    let first = if listed.first().is_some_and(|family| family == "IPv6") { "IPv6" } else { "IPv4" };
    let second = if first == "IPv4" { "IPv6" } else { "IPv4" };
    if spec["ipFamilyPolicy"] == "SingleStack" { vec![first] } else { vec![first, second] }
}

pub(crate) fn is_balancer(service: &Value) -> bool {
    service["spec"]["type"] == "LoadBalancer"
}

fn needs_cluster_ip(service: &Value) -> bool {
    service["spec"]["clusterIP"] != "None" && service["spec"]["type"] != "ExternalName"
}

/// The number of the ClusterIP that the manifest itself asks for.
fn asked(plan: Subnets, service: &Value) -> Option<Result<u16, String>> {
    let text = service["spec"]["clusterIP"].as_str().filter(|text| !text.is_empty() && *text != "None")?;
    let number = text.parse().ok().and_then(|address| plan.service_number(address));
    Some(number.ok_or_else(|| {
        format!("spec.clusterIP {text:?} is not in this lab's range {}: leave it out", plan.services4())
    }))
}

/// FNV-1a, folded: the same number for the same text on every machine.
fn spread(text: &str) -> u16 {
    let hash =
        text.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> ObjectId {
        ObjectId::namespaced("", "Service", "default", name)
    }

    #[test]
    fn addresses_stay_while_the_service_lives() {
        let plan = Subnets::new(1);
        let mut given = Given::default();
        let services = [(id("a"), json!({"spec": {}})), (id("b"), json!({"spec": {"type": "LoadBalancer"}}))];
        let listed = || services.iter().map(|(id, value)| (id, value));
        assert!(given.update(plan, listed()).is_empty());
        let before = (given.cluster_ip(plan, &id("a")), given.balancer(plan, &id("b")));
        assert!(before.0.is_some() && before.1 == Some(plan.balancer(100)));
        given.update(plan, listed());
        assert_eq!((given.cluster_ip(plan, &id("a")), given.balancer(plan, &id("b"))), before);
        given.update(plan, std::iter::empty());
        assert_eq!(given.cluster_ip(plan, &id("a")), None);
        assert_eq!(given.balancers(plan).count(), 0);
    }

    #[test]
    fn asked_addresses_are_given_or_refused() {
        let plan = Subnets::new(0);
        let service = |ip: &str| json!({"spec": {"clusterIP": ip}});
        let services = [
            (id("a"), service("100.64.128.9")),
            (id("b"), service("100.64.128.9")),
            (id("c"), service("10.0.0.1")),
            (id("headless"), service("None")),
        ];
        let mut given = Given::default();
        let problems = given.update(plan, services.iter().map(|(id, value)| (id, value)));
        assert_eq!(given.cluster_ip(plan, &id("a")), Some(plan.service(9)));
        assert_eq!(given.cluster_ip(plan, &id("headless")), None);
        let refused: Vec<&str> = problems.iter().map(|(id, _)| id.name.as_str()).collect();
        assert_eq!(refused, ["b", "c"]);
    }

    #[test]
    fn complete_fills_in_what_a_cluster_would() {
        let plan = Subnets::new(0);
        let mut service = json!({"spec": {"type": "LoadBalancer"}});
        complete(&mut service, Some(plan.service(1)), Some(plan.balancer(100)));
        assert_eq!(service["spec"]["clusterIPs"], json!(["100.64.128.1", "fd77:6569:0:ffff::1"]));
        assert_eq!(service["status"]["loadBalancer"]["ingress"][0]["ip"], "100.64.0.100");
        let mut service = json!({"spec": {"ipFamilyPolicy": "SingleStack", "ipFamilies": ["IPv6"]}});
        complete(&mut service, Some(plan.service(1)), None);
        assert_eq!(service["spec"]["clusterIPs"], json!(["fd77:6569:0:ffff::1"]));
    }
}
