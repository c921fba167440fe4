//! A backend's endpoints, and how each of them is reached from the source.

use std::net::{IpAddr, SocketAddr};

use mesh_ir::eval::admit::{self, admit};
use mesh_ir::eval::reach::{self, Reach};
use mesh_ir::name::{Identity, Namespace, ObjectName, ServiceAccount, TrustDomain};
use mesh_ir::resource::{self, Workload};
use mesh_ir::view::{MeshView, PortView, ServiceView};

use super::answer::{Backend, Endpoint, Health, Reached};
use super::source::Source;

/// From where endpoints are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standpoint<'a> {
    pub(super) view: &'a MeshView,
    pub(super) trust_domain: &'a TrustDomain,
    pub(super) source: &'a Source<'a>,
    /// Whether a proxy of the mesh dials, and not the client itself.
    pub(super) proxied: bool,
    /// Whether that proxy is a Gateway's.
    pub(super) gateway: bool,
    /// Whether the client dialled an IPv6 address.
    pub(super) v6: bool,
}

impl Standpoint<'_> {
    /// A Service's port, as what all of the traffic goes to.
    pub(super) fn service(&self, service: &ServiceView, port: &PortView) -> Backend {
        Backend {
            target: format!("Service {} port {}", service.name, port.port),
            weight: None,
            percent: 100.0,
            invalid: None,
            filters: Vec::new(),
            circuit_breaker: service.circuit_breaker.clone().filter(|_| self.proxied),
            endpoints: self.members(&service.name, |workload, membership| {
                let pair = membership.ports.iter().find(|pair| pair.port == port.port)?;
                Some((pair.target, port.endpoints.iter().any(|e| e.workload().uid == workload.uid)))
            }),
        }
    }

    /// The pods that the name of a headless Service gives, each dialled at the port of the URL.
    pub(super) fn headless(&self, service: &ServiceView, port: u16) -> Backend {
        Backend {
            target: format!("the pods of headless Service {} port {port}", service.name),
            weight: None,
            percent: 100.0,
            invalid: None,
            filters: Vec::new(),
            circuit_breaker: None,
            endpoints: self.members(&service.name, |_, membership| {
                Some((port, membership.health == resource::Health::Ready))
            }),
        }
    }

    /// A workload that was dialled itself.
    pub(super) fn workload(&self, workload: &Workload, port: u16) -> Backend {
        Backend {
            target: format!("pod {} port {port}", workload.name),
            weight: None,
            percent: 100.0,
            invalid: None,
            filters: Vec::new(),
            circuit_breaker: None,
            endpoints: vec![self.endpoint(workload, port, None, true)],
        }
    }

    /// The workloads that serve a Service, in the order of their names; `place` says at which port, and whether new
    /// traffic goes there.
    fn members(
        &self,
        service: &ObjectName,
        place: impl Fn(&Workload, &resource::Membership) -> Option<(u16, bool)>,
    ) -> Vec<Endpoint> {
        let member = |workload: &Workload| {
            let membership = workload.services.iter().find(|m| m.service == *service)?;
            let (port, used) = place(workload, membership)?;
            Some(self.endpoint(workload, port, Some(health(membership.health)), used))
        };
        let mut endpoints: Vec<Endpoint> = self.view.workloads().filter_map(member).collect();
        endpoints.sort_by(|a, b| a.workload.cmp(&b.workload));
        endpoints
    }

    fn endpoint(&self, workload: &Workload, port: u16, health: Option<Health>, used: bool) -> Endpoint {
        let reached = self.reached(workload);
        let refusal = workload.meshed.then(|| self.refusal(workload, &reached)).flatten();
        Endpoint {
            workload: workload.name.clone(),
            address: self.address(workload).map(|address| SocketAddr::new(address, port)),
            node: workload.node.clone(),
            health,
            used,
            reached,
            mode: workload.meshed.then_some(workload.mode),
            refusal,
        }
    }

    /// Of a family that the client has, the dialled one first.
    fn address(&self, workload: &Workload) -> Option<IpAddr> {
        let has = |v6: bool| match self.source.pod() {
            Some(pod) if !self.gateway => pod.addresses.iter().any(|address| address.is_ipv6() == v6),
            _ => true,
        };
        reach::address(workload, has, self.v6)
    }

    fn reached(&self, workload: &Workload) -> Reached {
        if !self.proxied {
            return Reached::Plaintext;
        }
        let same_node =
            workload.node.is_some() && (self.gateway || self.source.node() == workload.node.as_ref());
        let source = match self.source.pod() {
            Some(pod) if !self.gateway => reach::Source::Workload(&pod.uid, pod.same_node),
            _ => reach::Source::Gateway,
        };
        match (reach::reach(source, workload, self.trust_domain, same_node), &workload.node) {
            (Reach::WithinNode(identity), Some(node)) if self.gateway => {
                Reached::MutualTlsOrWithinNode { node: node.clone(), identity }
            }
            (Reach::WithinNode(identity), _) => Reached::WithinNode { identity },
            (Reach::PodNetwork(identity), _) => Reached::PodNetwork { identity },
            (Reach::MutualTls(identity), _) => Reached::MutualTls { identity },
            (Reach::Plaintext, _) => Reached::Plaintext,
        }
    }

    /// Why the workload would not let the client in, asked as its node would be.
    fn refusal(&self, workload: &Workload, reached: &Reached) -> Option<String> {
        let gateway;
        let peer = match (reached, self.source) {
            (Reached::Plaintext, _) => admit::Peer::Plaintext,
            (_, Source::Pod { identity: Some(identity), .. }) if !self.gateway => {
                admit::Peer::Identity(identity)
            }
            _ => {
                gateway = gateway_identity(self.trust_domain)?;
                admit::Peer::Identity(&gateway)
            }
        };
        admit(workload, peer).err().map(|refusal| refusal.to_string())
    }
}

/// Who a Gateway is to the workloads that it dials.
pub(super) fn gateway_identity(trust_domain: &TrustDomain) -> Option<Identity> {
    Some(Identity {
        trust_domain: trust_domain.clone(),
        namespace: Namespace::new("weir-system").ok()?,
        service_account: ServiceAccount::new("mesh-node").ok()?,
    })
}

fn health(health: resource::Health) -> Health {
    match health {
        resource::Health::Ready => Health::Ready,
        resource::Health::Draining => Health::Draining,
        resource::Health::Unready => Health::Unready,
    }
}
