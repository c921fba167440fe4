//! A Service as its clients' proxies see it: for each port the endpoints, and the routes that apply.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::eval::endpoints::{self, Client, Member, Origin};
use crate::map::SharedMap;
use crate::name::{Hostname, Namespace, ObjectName, Uid};
use crate::resource::{
    AppProtocol, BackendTls, CircuitBreaker, Resource, RetryBudget, RouteParent, Service, TrafficPolicy,
    Transport, Workload,
};

use super::table::{PreparedRoute, Routes};

#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    pub name: ObjectName,
    pub circuit_breaker: Option<CircuitBreaker>,
    pub retry_budget: Option<RetryBudget>,
    ports: Vec<PortView>,
    udp_ports: Vec<PortView>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PortView {
    pub service: ObjectName,
    pub port: u16,
    pub transport: Transport,
    /// Of UDP nothing is looked into.
    pub protocol: AppProtocol,
    /// How the applications behind it are spoken to in TLS.
    pub tls: Option<BackendTls>,
    /// Where what stands behind it is outside of the cluster, as the node resolved this name.
    pub external_hostname: Option<Hostname>,
    /// Whether the node has no answer yet to what that name resolves to.
    awaits_answer: bool,
    /// For how long after its last use a client's address keeps its endpoint.
    pub session_affinity: Option<Duration>,
    /// Those that new traffic of the view's node goes to, in the order of their UIDs.
    endpoints: Vec<Endpoint>,
    /// The same for Gateways, where theirs are others than the pods'.
    of_gateways: Option<Vec<Endpoint>>,
    /// Whether any endpoint that some node would use is in the mesh.
    meshed: bool,
    routes: Arc<PortRoutes>,
}

/// The routes that are attached to a port.
#[derive(Debug, Default, PartialEq)]
struct PortRoutes {
    producer: Option<Routes>,
    consumers: BTreeMap<Namespace, Routes>,
}

/// One workload behind a Service's port.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    workload: Arc<Resource>,
    /// The workload's own port.
    pub port: u16,
}

impl ServiceView {
    /// `here` is the node whose view it is, `workloads` are what stands behind it (`None` of an external hostname until there is
    /// an answer), and `before` is what it was, where its routes have not changed since.
    pub(super) fn new(
        service: &Service,
        workloads: Option<&SharedMap<Uid, Arc<Resource>>>,
        routes: &[&PreparedRoute],
        here: Client<'_>,
        before: Option<&Self>,
    ) -> Self {
        let awaits_answer = service.external_hostname.is_some() && workloads.is_none();
        let workloads: Vec<&Arc<Resource>> = workloads.map(SharedMap::values).into_iter().flatten().collect();
        let port = |transport: Transport, port: u16, protocol: AppProtocol, tls: Option<&BackendTls>| {
            let members = members(service, (transport, port), &workloads);
            let of = |client| usable(service, &members, client);
            let local = service.internal_traffic_policy == TrafficPolicy::Local;
            PortView {
                service: service.name.clone(),
                port,
                transport,
                protocol,
                tls: tls.cloned(),
                external_hostname: service.external_hostname.clone(),
                awaits_answer,
                session_affinity: service.session_affinity.map(|s| Duration::from_secs(s.into())),
                endpoints: of(Client { origin: Origin::Pod, ..here }),
                of_gateways: local.then(|| of(Client { origin: Origin::Gateway, ..here })),
                meshed: of(Client::ANYWHERE).iter().any(|endpoint| endpoint.workload().meshed),
                routes: match (transport, before.and_then(|before| before.port(port))) {
                    // Routes for a Service's own clients are of TCP.
                    (Transport::Udp, _) => Arc::default(),
                    (Transport::Tcp, Some(before)) => before.routes.clone(),
                    (Transport::Tcp, None) => Arc::new(PortRoutes::new(service, port, routes)),
                },
            }
        };
        let tcp = service.ports.iter().map(|of| port(Transport::Tcp, of.port, of.protocol, of.tls.as_ref()));
        let udp =
            service.udp_ports.iter().map(|number| port(Transport::Udp, *number, AppProtocol::Tcp, None));
        Self {
            name: service.name.clone(),
            circuit_breaker: service.circuit_breaker.clone(),
            retry_budget: service.retry_budget.clone(),
            ports: tcp.collect(),
            udp_ports: udp.collect(),
        }
    }

    pub fn port(&self, port: u16) -> Option<&PortView> {
        self.ports.iter().find(|view| view.port == port)
    }

    /// What stands behind it is for what comes in at Gateways: no client of its own is captured.
    pub fn udp_port(&self, port: u16) -> Option<&PortView> {
        self.udp_ports.iter().find(|view| view.port == port)
    }

    /// Its TCP ports.
    pub fn ports(&self) -> &[PortView] {
        &self.ports
    }

    /// Whether the mesh has something to say about this port (an endpoint in the mesh, a route, a policy). Traffic to
    /// any other is left to the cluster's own balancing.
    pub fn is_captured(&self, port: &PortView) -> bool {
        self.circuit_breaker.is_some() || port.has_routes() || port.meshed
    }
}

impl PortView {
    /// Those that new traffic from this node goes to, in the order of their UIDs.
    pub fn endpoints(&self, origin: Origin) -> &[Endpoint] {
        match (origin, &self.of_gateways) {
            (Origin::Gateway, Some(endpoints)) => endpoints,
            _ => &self.endpoints,
        }
    }

    /// Whether it has no endpoints only because its external hostname is being resolved for the first time.
    pub fn awaits_answer(&self) -> bool {
        self.awaits_answer
    }

    /// Why [`PortView::endpoints`] are none, where they are.
    pub fn why_none(&self, origin: Origin) -> &'static str {
        match (origin, &self.of_gateways) {
            _ if self.awaits_answer => {
                "has no address yet: its hostname has not been resolved, as no resolver has answered so far"
            }
            _ if self.external_hostname.is_some() => {
                "has no address: its hostname does not resolve to one that may be dialled, or is one too many; mesh-node's log \
                 says which"
            }
            (Origin::Pod, Some(_)) => {
                "has no ready endpoint on the client's node, and its internalTrafficPolicy is Local"
            }
            _ => "has no ready endpoint",
        }
    }

    /// The routes that apply to a client of this namespace: its own namespace's, else those of the Service's.
    pub fn routes(&self, client: Option<&Namespace>) -> Option<&Routes> {
        let routes = &*self.routes;
        client.and_then(|namespace| routes.consumers.get(namespace)).or(routes.producer.as_ref())
    }

    pub fn has_routes(&self) -> bool {
        self.routes.producer.is_some() || !self.routes.consumers.is_empty()
    }
}

impl Endpoint {
    pub fn workload(&self) -> &Workload {
        match &*self.workload {
            Resource::Workload(workload) => workload,
            other => unreachable!("an endpoint holds a workload, not {}", other.key()),
        }
    }
}

/// The workloads that serve a port of the Service, and at which of their own.
fn members<'w>(
    service: &Service,
    (transport, port): (Transport, u16),
    workloads: &[&'w Arc<Resource>],
) -> Vec<(Member<'w>, &'w Arc<Resource>, u16)> {
    let member = |resource: &&'w Arc<Resource>| {
        let Resource::Workload(workload) = &***resource else { return None };
        let (member, target) = Member::of(workload, &service.name, (transport, port))?;
        Some((member, *resource, target))
    };
    workloads.iter().filter_map(member).collect()
}

fn usable(
    service: &Service,
    members: &[(Member<'_>, &Arc<Resource>, u16)],
    client: Client<'_>,
) -> Vec<Endpoint> {
    let alone: Vec<Member<'_>> = members.iter().map(|(member, ..)| *member).collect();
    let judged = endpoints::judge(&alone, service.internal_traffic_policy, client);
    let used = members.iter().zip(judged).filter(|(_, excluded)| excluded.is_none());
    used.map(|((_, workload, port), _)| Endpoint { workload: (*workload).clone(), port: *port }).collect()
}

impl PortRoutes {
    fn new(service: &Service, port: u16, routes: &[&PreparedRoute]) -> Self {
        let is_attached = |parent: &RouteParent| match parent {
            RouteParent::Service { service: name, port: only } => {
                *name == service.name && only.is_none_or(|only| only == port)
            }
            RouteParent::Listener { .. } => false,
        };
        let mut by_namespace: BTreeMap<&Namespace, Vec<&PreparedRoute>> = BTreeMap::new();
        for prepared in routes.iter().filter(|p| p.route().parents.iter().any(is_attached)) {
            by_namespace.entry(&prepared.route().key.name.namespace).or_default().push(prepared);
        }
        // One kind of route has the port: the compiler says so, and refuses the others.
        let table = |routes: Vec<&PreparedRoute>| {
            let first = routes.iter().map(|prepared| prepared.route().key.kind).min();
            Routes::new(routes.into_iter().filter(|prepared| Some(prepared.route().key.kind) == first))
        };
        Self {
            producer: by_namespace.remove(&service.name.namespace).map(table),
            consumers: by_namespace.into_iter().map(|(name, routes)| (name.clone(), table(routes))).collect(),
        }
    }
}
