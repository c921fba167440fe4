//! A Service as its clients' proxies see it: for each port the endpoints, and the routes that apply.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::name::{Namespace, ObjectName};
use crate::resource::{AppProtocol, CircuitBreaker, Health, Resource, Route, RouteParent, Service, Workload};

use super::table::RouteTable;

#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    pub name: ObjectName,
    pub circuit_breaker: Option<CircuitBreaker>,
    ports: Vec<PortView>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PortView {
    pub service: ObjectName,
    pub port: u16,
    pub protocol: AppProtocol,
    /// Those that new traffic goes to: the ready ones, or while none is, the draining ones.
    pub endpoints: Vec<Endpoint>,
    producer: Option<RouteTable>,
    consumers: BTreeMap<Namespace, RouteTable>,
}

/// One workload behind a Service's port.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    workload: Arc<Resource>,
    /// The workload's own port.
    pub port: u16,
}

impl ServiceView {
    pub(super) fn new(service: &Service, workloads: &[&Arc<Resource>], routes: &[&Route]) -> Self {
        let port = |port: &crate::resource::ServicePort| PortView {
            service: service.name.clone(),
            port: port.port,
            protocol: port.protocol,
            endpoints: endpoints(service, port.port, workloads),
            producer: table(service, port.port, routes, &service.name.namespace),
            consumers: consumers(service, port.port, routes),
        };
        Self {
            name: service.name.clone(),
            circuit_breaker: service.circuit_breaker.clone(),
            ports: service.ports.iter().map(port).collect(),
        }
    }

    pub fn port(&self, port: u16) -> Option<&PortView> {
        self.ports.iter().find(|view| view.port == port)
    }

    pub fn ports(&self) -> &[PortView] {
        &self.ports
    }

    /// Whether the mesh has something to say about this port (an endpoint in the mesh, a route, a policy). Traffic to
    /// any other is left to the cluster's own balancing.
    pub fn is_captured(&self, port: &PortView) -> bool {
        self.circuit_breaker.is_some()
            || port.has_routes()
            || port.endpoints.iter().any(|endpoint| endpoint.workload().meshed)
    }
}

impl PortView {
    /// The routes that apply to a client of this namespace: its own namespace's, else those of the Service's.
    pub fn routes(&self, client: Option<&Namespace>) -> Option<&RouteTable> {
        client.and_then(|namespace| self.consumers.get(namespace)).or(self.producer.as_ref())
    }

    pub fn has_routes(&self) -> bool {
        self.producer.is_some() || !self.consumers.is_empty()
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

fn endpoints(service: &Service, port: u16, workloads: &[&Arc<Resource>]) -> Vec<Endpoint> {
    let with = |wanted: Health| -> Vec<Endpoint> {
        workloads
            .iter()
            .filter_map(|resource| {
                let Resource::Workload(workload) = &***resource else { return None };
                let member =
                    workload.services.iter().find(|m| m.service == service.name && m.health == wanted)?;
                let pair = member.ports.iter().find(|pair| pair.port == port)?;
                Some(Endpoint { workload: (*resource).clone(), port: pair.target })
            })
            .collect()
    };
    let ready = with(Health::Ready);
    if ready.is_empty() { with(Health::Draining) } else { ready }
}

/// The table of the routes in `namespace` that are attached to this port, if there is any.
fn table(service: &Service, port: u16, routes: &[&Route], namespace: &Namespace) -> Option<RouteTable> {
    let attached = |route: &Route| {
        route.parents.iter().any(|parent| match parent {
            RouteParent::Service { service: name, port: only } => {
                *name == service.name && only.is_none_or(|only| only == port)
            }
            RouteParent::Listener { .. } => false,
        })
    };
    let here: Vec<&Route> =
        routes.iter().copied().filter(|r| r.key.name.namespace == *namespace && attached(r)).collect();
    (!here.is_empty()).then(|| RouteTable::new(&here))
}

fn consumers(service: &Service, port: u16, routes: &[&Route]) -> BTreeMap<Namespace, RouteTable> {
    let namespaces = routes.iter().map(|route| &route.key.name.namespace);
    namespaces
        .filter(|namespace| **namespace != service.name.namespace)
        .filter_map(|namespace| Some((namespace.clone(), table(service, port, routes, namespace)?)))
        .collect()
}
