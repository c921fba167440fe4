//! A backend's endpoints, and how each of them is reached from the source.

use std::net::{IpAddr, SocketAddr};

use mesh_ir::eval::admit::{self, admit};
use mesh_ir::eval::endpoints::{self, Client, Excluded, Origin};
use mesh_ir::eval::reach::{self, Reach};
use mesh_ir::name::{Identity, Namespace, ServiceAccount, TrustDomain};
use mesh_ir::resource::{self, BackendTls, Workload};
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
    /// What is sent has no part in mutual TLS and modes.
    pub(super) datagrams: bool,
    /// Whether the client dialled an IPv6 address.
    pub(super) v6: bool,
}

impl Standpoint<'_> {
    /// A Service's port, as what all of the traffic goes to.
    pub(super) fn service(&self, service: &ServiceView, port: &PortView) -> Backend {
        let client = self.client();
        let judged = endpoints::judged(self.view, &service.name, (port.transport, port.port), client);
        let shown = |judged: &endpoints::Judged<'_>| Endpoint {
            used: judged.excluded.is_none(),
            unused: judged.excluded.and_then(beside_health),
            ..self.endpoint(judged.workload, judged.port, Some(health(judged.health)))
        };
        let mut endpoints: Vec<Endpoint> = judged.iter().map(shown).collect();
        endpoints.sort_by(|a, b| a.workload.cmp(&b.workload));
        Backend {
            target: format!("Service {} port {}", service.name, port.port),
            weight: None,
            percent: 100.0,
            invalid: None,
            filters: Vec::new(),
            circuit_breaker: service.circuit_breaker.clone().filter(|_| self.proxied),
            retry_budget: service.retry_budget.clone().filter(|_| self.proxied && !self.datagrams),
            session_affinity: port.session_affinity.map(|time| time.as_secs()),
            tls: port.tls.as_ref().filter(|_| self.proxied).map(|tls| self.tls(tls)),
            none_used: endpoints.iter().all(|endpoint| !endpoint.used).then(|| port.why_none(client.origin)),
            endpoints,
        }
    }

    /// The pods that the name of a headless Service gives, each dialled at the port of the URL.
    pub(super) fn headless(&self, service: &ServiceView, port: u16) -> Backend {
        let member = |workload: &Workload| {
            let membership = workload.services.iter().find(|m| m.service == service.name)?;
            let used = membership.health == resource::Health::Ready;
            Some(Endpoint { used, ..self.endpoint(workload, port, Some(health(membership.health))) })
        };
        let mut endpoints: Vec<Endpoint> = self.view.workloads().filter_map(member).collect();
        endpoints.sort_by(|a, b| a.workload.cmp(&b.workload));
        Backend {
            target: format!("the pods of headless Service {} port {port}", service.name),
            weight: None,
            percent: 100.0,
            invalid: None,
            filters: Vec::new(),
            circuit_breaker: None,
            retry_budget: None,
            session_affinity: None,
            tls: None,
            none_used: endpoints.iter().all(|endpoint| !endpoint.used).then_some("has no ready endpoint"),
            endpoints,
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
            retry_budget: None,
            session_affinity: None,
            tls: None,
            none_used: None,
            endpoints: vec![self.endpoint(workload, port, None)],
        }
    }

    fn tls(&self, tls: &BackendTls) -> String {
        let which = match self.gateway {
            true => "what is not passed through",
            false => "requests",
        };
        match tls {
            BackendTls::Client(client) => {
                format!("in TLS for {} ({which}), by BackendTLSPolicy {}", client.server_name, client.policy)
            }
            BackendTls::Invalid { reason } => format!("not at all ({which}): {reason}"),
        }
    }

    /// A Gateway's client comes in at no node in particular, so that no endpoint is near it.
    fn client(&self) -> Client<'_> {
        if self.gateway {
            return Client::ANYWHERE;
        }
        let node = self.source.node();
        Client { origin: Origin::Pod, node, zone: node.and_then(|node| self.view.node_zone(node)) }
    }

    /// One that is used.
    fn endpoint(&self, workload: &Workload, port: u16, health: Option<Health>) -> Endpoint {
        let reached = self.reached(workload);
        let asked = workload.meshed && !self.datagrams;
        let refusal = asked.then(|| self.refusal(workload, &reached)).flatten();
        Endpoint {
            workload: workload.name.clone(),
            address: self.address(workload).map(|address| SocketAddr::new(address, port)),
            node: workload.node.clone(),
            health,
            used: true,
            unused: None,
            reached,
            mode: asked.then_some(workload.mode),
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
        if !self.proxied || self.datagrams {
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

fn beside_health(excluded: Excluded) -> Option<String> {
    match excluded {
        Excluded::NotReady => None,
        _ => Some(excluded.to_string()),
    }
}

fn health(health: resource::Health) -> Health {
    match health {
        resource::Health::Ready => Health::Ready,
        resource::Health::Draining => Health::Draining,
        resource::Health::Unready => Health::Unready,
    }
}
