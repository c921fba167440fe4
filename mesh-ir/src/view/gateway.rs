//! The Gateways' listeners, by the port on which the nodes serve them.

use std::sync::Arc;

use crate::map::SharedMap;
use crate::name::{Hostname, ListenerName, ObjectName};
use crate::resource::{
    ClientCertificate, ClientValidation, ExternalAuth, Gateway, Listener, ListenerProtocol, ServedHostname,
    Tracing, Transport,
};

use super::hosts::{Hosts, specificity};
use super::matcher::RequestHead;
use super::table::{Match, PreparedRule, RouteTable, Routes};

/// Names a listener of all Gateways'.
pub(super) type ListenerKey = (ObjectName, ListenerName);

/// All listeners that share a port of the nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayPort {
    pub target_port: u16,
    listeners: SharedMap<ListenerKey, Arc<ListenerView>>,
    /// Those of one hostname in the order of their names: the first has it.
    hosts: Hosts<Arc<[Arc<ListenerView>]>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ListenerView {
    pub gateway: ObjectName,
    pub name: ListenerName,
    pub port: u16,
    pub hostname: Option<Hostname>,
    pub protocol: ListenerProtocol,
    /// What its clients must prove in TLS.
    pub client_validation: Option<Arc<ClientValidation>>,
    /// What its Gateway shows to backends that are spoken to in TLS.
    pub client_certificate: Option<ClientCertificate>,
    /// How its requests are traced.
    pub tracing: Option<Arc<Tracing>>,
    /// What its requests pass before their route is looked for.
    pub filters: Arc<[ExternalAuth]>,
    /// Whether it refuses them all.
    pub closed: bool,
    pub(super) routes: ListenerRoutes,
}

/// The routes of a listener, each under the hostname that it serves there; what it serves without one it serves for every
/// host.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ListenerRoutes(Hosts<Written>);

/// The routes of one hostname by how they write it, the most specific first.
type Written = Arc<[(Option<Hostname>, Arc<Routes>)]>;

impl GatewayPort {
    pub(super) fn new(target_port: u16) -> Self {
        Self { target_port, listeners: SharedMap::default(), hosts: Hosts::default() }
    }

    /// The port with another listener of this name; `None` takes it away.
    pub(super) fn with(&self, key: ListenerKey, listener: Option<Arc<ListenerView>>) -> Self {
        let mut next = self.clone();
        let before = match &listener {
            Some(listener) => next.listeners.insert(key.clone(), listener.clone()),
            None => next.listeners.remove(&key),
        };
        for view in [&before, &listener].into_iter().flatten() {
            let hostname = view.hostname.as_ref();
            let others = next.hosts.get(hostname).into_iter().flat_map(|alike| alike.iter());
            let mut alike: Vec<_> = others.filter(|other| other.key() != key).cloned().collect();
            alike.extend(listener.iter().filter(|listener| listener.hostname.as_ref() == hostname).cloned());
            alike.sort_by_key(|listener| listener.key());
            next.hosts.set(hostname, (!alike.is_empty()).then(|| alike.into()));
        }
        next
    }

    pub(super) fn is_empty(&self) -> bool {
        self.listeners.is_empty()
    }

    pub(super) fn listener_named(&self, key: &ListenerKey) -> Option<&Arc<ListenerView>> {
        self.listeners.get(key)
    }

    /// In the order of their names.
    pub fn listeners(&self) -> impl Iterator<Item = &ListenerView> {
        self.listeners.values().map(|listener| &**listener)
    }

    /// The listener for a host (of the request, or of the TLS client's SNI): the most specific one that serves it.
    pub fn listener(&self, host: Option<&str>) -> Option<&ListenerView> {
        let alike = match host {
            Some(host) => self.hosts.serving(host).next(),
            None => self.hosts.any(),
        };
        alike?.first().map(|listener| &**listener)
    }

    /// By what its clients come. The compiler gives the listeners of each transport a port of their own.
    pub fn transport(&self) -> Transport {
        self.listeners().next().map_or(Transport::Tcp, |listener| listener.protocol.transport())
    }

    /// What the port's Gateway shows to backends that are spoken to in TLS.
    pub fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.listeners().next()?.client_certificate.as_ref()
    }

    pub fn is_tls(&self) -> bool {
        self.listeners().any(|listener| listener.protocol.is_tls())
    }
}

impl ListenerView {
    pub(super) fn new(gateway: &Gateway, listener: &Listener, routes: ListenerRoutes) -> Self {
        Self {
            gateway: gateway.name.clone(),
            name: listener.name.clone(),
            port: listener.port,
            hostname: listener.hostname.clone(),
            protocol: listener.protocol.clone(),
            client_validation: listener.client_validation.clone(),
            client_certificate: gateway.client_certificate.clone(),
            tracing: gateway.tracing.clone(),
            filters: listener.filters.clone().into(),
            closed: listener.closed,
            routes,
        }
    }

    pub(super) fn key(&self) -> ListenerKey {
        (self.gateway.clone(), self.name.clone())
    }

    /// The rule for a request: of the most specific hostname that has one.
    pub fn find(&self, request: &RequestHead<'_>) -> Option<Match<'_>> {
        self.tables(request.host).find_map(|table| table.find(request))
    }

    /// The rules for requests to a host, by hostname, the most specific one first.
    pub fn tables<'v>(&'v self, host: &str) -> impl Iterator<Item = &'v RouteTable> {
        self.routes.serving(host).filter_map(Routes::of_requests)
    }

    /// The rule for the connection of a client that names this server.
    pub fn connection(&self, server_name: Option<&str>) -> Option<&Arc<PreparedRule>> {
        match server_name {
            Some(name) => self.routes.serving(name).find_map(Routes::of_connections),
            None => self.routes.any().find_map(Routes::of_connections),
        }
    }
}

impl ListenerRoutes {
    pub(super) fn get(&self, served: Option<&ServedHostname>) -> Option<&Arc<Routes>> {
        let (hostname, written) = parts(served);
        let of_hostname = self.0.get(hostname)?;
        of_hostname.iter().find(|(other, _)| other.as_ref() == written).map(|(_, routes)| routes)
    }

    /// Puts routes in the place of those that serve this; `None` takes them away.
    pub(super) fn set(&mut self, served: Option<&ServedHostname>, routes: Option<Arc<Routes>>) {
        let (hostname, written) = parts(served);
        let of_hostname = self.0.get(hostname).into_iter().flat_map(|of_hostname| of_hostname.iter());
        let mut next: Vec<_> = of_hostname.filter(|(other, _)| other.as_ref() != written).cloned().collect();
        next.extend(routes.map(|routes| (written.cloned(), routes)));
        next.sort_by_cached_key(|(written, _)| (specificity(written.as_ref()), written.clone()));
        self.0.set(hostname, (!next.is_empty()).then(|| next.into()));
    }

    fn serving(&self, host: &str) -> impl Iterator<Item = &Routes> {
        self.0.serving(host).flat_map(|of_hostname| of_hostname.iter()).map(|(_, routes)| &**routes)
    }

    fn any(&self) -> impl Iterator<Item = &Routes> {
        self.0.any().into_iter().flat_map(|of_hostname| of_hostname.iter()).map(|(_, routes)| &**routes)
    }
}

fn parts(served: Option<&ServedHostname>) -> (Option<&Hostname>, Option<&Hostname>) {
    let written = served.and_then(|served| served.written.as_ref());
    (served.map(|served| &served.hostname), written)
}
