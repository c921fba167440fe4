//! The Gateways' listeners, by the port on which the nodes serve them.

use std::sync::Arc;

use crate::name::{Hostname, ListenerName, ObjectName};
use crate::resource::{
    ClientCertificate, ClientValidation, Gateway, Listener, ListenerProtocol, ServedHostname, Transport,
};

use super::hosts::{Hosts, specificity};
use super::matcher::RequestHead;
use super::table::{Match, PreparedRule, RouteTable, Routes};

/// All listeners that share a port of the nodes, the most specific hostname first.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayPort {
    pub target_port: u16,
    pub listeners: Vec<Arc<ListenerView>>,
    hosts: Hosts,
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
    /// The most specific hostname first, and of one hostname the one that was written the most specifically; `None` serves
    /// every one.
    routes: Vec<(Option<ServedHostname>, Arc<Routes>)>,
    hosts: Hosts,
}

impl GatewayPort {
    pub(super) fn new(target_port: u16, mut listeners: Vec<Arc<ListenerView>>) -> Self {
        listeners.sort_by_cached_key(|listener| specificity(listener.hostname.as_ref()));
        let hosts = Hosts::new(listeners.iter().map(|listener| listener.hostname.as_ref()));
        Self { target_port, listeners, hosts }
    }

    /// The listener for a host (of the request, or of the TLS client's SNI): the most specific one that serves it.
    pub fn listener(&self, host: Option<&str>) -> Option<&ListenerView> {
        let place = match host {
            Some(host) => self.hosts.serving(host).next(),
            None => self.hosts.any(),
        };
        Some(&self.listeners[place?])
    }

    /// By what its clients come. The compiler gives the listeners of each transport a port of their own.
    pub fn transport(&self) -> Transport {
        self.listeners.first().map_or(Transport::Tcp, |listener| listener.protocol.transport())
    }

    /// What the port's Gateway shows to backends that are spoken to in TLS.
    pub fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.listeners.first()?.client_certificate.as_ref()
    }

    pub fn is_tls(&self) -> bool {
        self.listeners.iter().any(|listener| listener.protocol.is_tls())
    }
}

impl ListenerView {
    pub(super) fn new(
        gateway: &Gateway,
        listener: &Listener,
        routes: Vec<(Option<ServedHostname>, Arc<Routes>)>,
    ) -> Self {
        let view = Self {
            gateway: gateway.name.clone(),
            name: listener.name.clone(),
            port: listener.port,
            hostname: listener.hostname.clone(),
            protocol: listener.protocol.clone(),
            client_validation: listener.client_validation.clone(),
            client_certificate: gateway.client_certificate.clone(),
            routes: Vec::new(),
            hosts: Hosts::default(),
        };
        view.with_routes(routes)
    }

    fn with_routes(mut self, mut routes: Vec<(Option<ServedHostname>, Arc<Routes>)>) -> Self {
        routes.sort_by_cached_key(|(served, _)| {
            let hostname = served.as_ref().map(|served| &served.hostname);
            let written = served.as_ref().and_then(|served| served.written.as_ref());
            ((specificity(hostname), hostname.cloned()), (specificity(written), written.cloned()))
        });
        self.hosts = Hosts::new(routes.iter().map(|(served, _)| hostname(served)));
        self.routes = routes;
        self
    }

    /// The same listener with these routes in place of those of their hostnames; `None` takes them away.
    pub(super) fn with_changed(&self, changed: Vec<(Option<ServedHostname>, Option<Arc<Routes>>)>) -> Self {
        let mut next = self.clone();
        let mut routes = std::mem::take(&mut next.routes);
        routes.retain(|(served, _)| changed.iter().all(|(other, _)| other != served));
        routes.extend(changed.into_iter().filter_map(|(served, of)| Some((served, of?))));
        next.with_routes(routes)
    }

    /// The rule for a request: of the most specific hostname that has one.
    pub fn find(&self, request: &RequestHead<'_>) -> Option<Match<'_>> {
        self.tables(request.host).find_map(|table| table.find(request))
    }

    /// The rules for requests to a host, by hostname, the most specific one first.
    pub fn tables<'v>(&'v self, host: &str) -> impl Iterator<Item = &'v RouteTable> {
        self.hosts.serving(host).flat_map(|place| self.of_hostname(place)).filter_map(Routes::of_requests)
    }

    /// The rule for the connection of a client that names this server.
    pub fn connection(&self, server_name: Option<&str>) -> Option<&Arc<PreparedRule>> {
        let every = self.hosts.any().filter(|_| server_name.is_none());
        let serving = server_name.into_iter().flat_map(|name| self.hosts.serving(name));
        serving.chain(every).flat_map(|place| self.of_hostname(place)).find_map(Routes::of_connections)
    }

    /// The routes of one hostname, of which this is the first place.
    fn of_hostname(&self, first: usize) -> impl Iterator<Item = &Routes> {
        let routes = &self.routes[first..];
        routes
            .iter()
            .take_while(|(served, _)| hostname(served) == hostname(&routes[0].0))
            .map(|(_, of)| &**of)
    }
}

fn hostname(served: &Option<ServedHostname>) -> Option<&Hostname> {
    served.as_ref().map(|served| &served.hostname)
}
