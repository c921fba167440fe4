//! What nodes resolve themselves: the hosts outside of the cluster that stand behind XBackends. They are endpoints as
//! workloads are, but have no place among the addresses that the mesh knows: whoever dials one of them directly has nothing
//! to do with the XBackend.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::map::SharedMap;
use crate::name::{Hostname, ObjectName, ServiceAccount, Uid};
use crate::resource::{
    Health, Hints, Membership, Mode, PortPair, Resource, ResourceKey, SameNode, Service, Workload,
};

use super::{MeshView, Touched, as_workload};

impl MeshView {
    /// The Services that stand for hosts outside of the cluster, and the names of those.
    pub fn external(&self) -> impl Iterator<Item = (&ObjectName, &Hostname)> {
        self.external.iter()
    }

    /// The addresses that an external hostname was resolved to for a Service, in no particular order; `None` before it is.
    pub fn resolved(&self, name: &ObjectName) -> Option<BTreeSet<IpAddr>> {
        let members = self.external.get(name).and_then(|_| self.members.get(name))?;
        let hosts = members.values().filter_map(as_workload);
        Some(hosts.flat_map(|host| host.addresses.iter().copied()).collect())
    }

    /// The view in which an external hostname has these addresses for a Service. Where the Service is of another hostname by
    /// now, nothing changes.
    pub fn resolve(&self, name: &ObjectName, hostname: &Hostname, addresses: &BTreeSet<IpAddr>) -> Self {
        let mut next = self.clone();
        let Some(service) = next.service_named(name) else { return next };
        if service.external_hostname.as_ref() != Some(hostname) {
            return next;
        }
        let workloads = hosts(service, hostname, addresses);
        let workloads =
            workloads.into_iter().map(|host| (host.uid.clone(), Arc::new(Resource::Workload(host))));
        let mut members: SharedMap<Uid, Arc<Resource>> = SharedMap::default();
        members.extend(workloads);
        next.members.insert(name.clone(), members);
        let mut touched = Touched::default();
        touched.services.insert(name.clone());
        next.rebuild_services(self, &touched);
        next
    }

    /// Forgets what was resolved for Services that are gone, or stand for something else.
    pub(super) fn forget_addresses(&mut self, touched: &Touched) {
        let stands =
            |service: &Service| (service.external_hostname.clone(), service.ports.first().map(|p| p.port));
        for (name, before) in &touched.resolved {
            if self.service_named(name).map(stands) != Some(stands(before)) {
                self.members.remove(name);
            }
        }
    }

    fn service_named(&self, name: &ObjectName) -> Option<&Service> {
        match &**self.config.resources.get(&ResourceKey::Service(name.clone()))? {
            Resource::Service(service) => Some(service),
            _ => None,
        }
    }
}

/// A host of several addresses is several endpoints, each with an address of both families where there are both, so that
/// every client finds one of its own.
fn hosts(service: &Service, hostname: &Hostname, addresses: &BTreeSet<IpAddr>) -> Vec<Workload> {
    let of_family = |v6: bool| -> Vec<IpAddr> {
        addresses.iter().copied().filter(|address| address.is_ipv6() == v6).collect()
    };
    let families = [of_family(false), of_family(true)];
    let count = families.iter().map(Vec::len).max().unwrap_or_default();
    let host = |at: usize| {
        let own = families.iter().filter(|family| !family.is_empty());
        workload(service, hostname, own.map(|family| family[at % family.len()]).collect())
    };
    (0..count).filter_map(host).collect()
}

fn workload(service: &Service, hostname: &Hostname, addresses: Vec<IpAddr>) -> Option<Workload> {
    let shown: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    let ports = service.ports.iter().map(|port| PortPair { port: port.port, target: port.port });
    Some(Workload {
        uid: Uid::new(&format!("external.{}", shown.join("."))).ok()?,
        name: ObjectName::new(service.name.namespace.as_str(), &hostname.to_string()).ok()?,
        node: None,
        addresses,
        service_account: ServiceAccount::new("default").ok()?,
        meshed: false,
        mode: Mode::Permissive,
        same_node: SameNode::default(),
        services: vec![Membership {
            service: service.name.clone(),
            ports: ports.collect(),
            udp_ports: Vec::new(),
            health: Health::Ready,
            hints: Hints::default(),
        }],
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::Delta;
    use crate::eval::endpoints::Origin;

    fn service(hostname: &str, port: u16, protocol: &str) -> Arc<Resource> {
        let value = json!({
            "kind": "Service", "name": "shop/XBackend:api", "addresses": [], "externalHostname": hostname,
            "ports": [{"port": port, "protocol": protocol}],
        });
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn applied(view: &MeshView, upsert: Arc<Resource>) -> MeshView {
        view.apply(&Delta { upserts: vec![upsert], removes: Vec::new() })
    }

    fn resolved(view: &MeshView, hostname: &str, addresses: &[&str]) -> MeshView {
        let addresses: BTreeSet<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
        view.resolve(&"shop/XBackend:api".parse().unwrap(), &hostname.parse().unwrap(), &addresses)
    }

    fn endpoints(view: &MeshView, port: u16) -> Vec<Vec<String>> {
        let port = view.service_port(&"shop/XBackend:api".parse().unwrap(), port).unwrap();
        let of = |workload: &Workload| workload.addresses.iter().map(IpAddr::to_string).collect();
        port.endpoints(Origin::Pod).iter().map(|endpoint| of(endpoint.workload())).collect()
    }

    #[test]
    fn view_external_hosts_are_endpoints_and_no_workloads() {
        let view = applied(&MeshView::default(), service("api.example", 443, "Http"));
        let view = resolved(&view, "api.example", &["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        assert_eq!(endpoints(&view, 443), [["192.0.2.1", "2001:db8::1"], ["192.0.2.2", "2001:db8::1"]]);
        assert!(view.workload("192.0.2.1".parse().unwrap()).is_none());
        assert_eq!(view.workloads().count(), 0);
        assert!(endpoints(&resolved(&view, "api.example", &[]), 443).is_empty());
    }

    #[test]
    fn view_external_hosts_await_their_first_answer_whatever_it_is() {
        let awaits = |view: &MeshView| {
            let port = view.service_port(&"shop/XBackend:api".parse().unwrap(), 443).unwrap();
            (port.awaits_answer(), port.why_none(Origin::Pod).contains("has not been resolved"))
        };
        let view = applied(&MeshView::default(), service("api.example", 443, "Http"));
        assert_eq!(awaits(&view), (true, true));
        let answered = resolved(&view, "api.example", &[]);
        assert_eq!(awaits(&answered), (false, false));
        assert_eq!(awaits(&applied(&answered, service("other.example", 443, "Http"))), (true, true));
    }

    #[test]
    fn view_external_addresses_last_as_long_as_hostname_and_port() {
        let view = applied(&MeshView::default(), service("api.example", 443, "Http"));
        let view = resolved(&view, "api.example", &["192.0.2.1"]);
        assert_eq!(endpoints(&applied(&view, service("api.example", 443, "Http2")), 443).len(), 1);
        assert!(endpoints(&applied(&view, service("api.example", 444, "Http")), 444).is_empty());
        let other = applied(&view, service("other.example", 443, "Http"));
        assert!(endpoints(&other, 443).is_empty());
        assert!(
            endpoints(&resolved(&other, "api.example", &["192.0.2.1"]), 443).is_empty(),
            "an answer too late"
        );
        let key = ResourceKey::Service("shop/XBackend:api".parse().unwrap());
        let gone = view.apply(&Delta { upserts: Vec::new(), removes: vec![key] });
        assert!(endpoints(&applied(&gone, service("api.example", 443, "Http")), 443).is_empty());
    }
}
