//! The Gateways' listeners, by the port on which the nodes serve them.

use std::sync::Arc;

use crate::name::{Hostname, ListenerName, ObjectName};
use crate::resource::{Gateway, Listener, ListenerProtocol};

use super::hosts::{Hosts, specificity};
use super::matcher::RequestHead;
use super::table::{Match, RouteTable};

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
    /// The most specific hostname first; `None` serves every one.
    tables: Vec<(Option<Hostname>, Arc<RouteTable>)>,
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

    pub fn is_tls(&self) -> bool {
        self.listeners.iter().any(|listener| matches!(listener.protocol, ListenerProtocol::Https { .. }))
    }
}

impl ListenerView {
    pub(super) fn new(
        gateway: &Gateway,
        listener: &Listener,
        tables: Vec<(Option<Hostname>, Arc<RouteTable>)>,
    ) -> Self {
        let view = Self {
            gateway: gateway.name.clone(),
            name: listener.name.clone(),
            port: listener.port,
            hostname: listener.hostname.clone(),
            protocol: listener.protocol.clone(),
            tables: Vec::new(),
            hosts: Hosts::default(),
        };
        view.with_tables(tables)
    }

    fn with_tables(mut self, mut tables: Vec<(Option<Hostname>, Arc<RouteTable>)>) -> Self {
        tables.sort_by_cached_key(|(hostname, _)| (specificity(hostname.as_ref()), hostname.clone()));
        self.hosts = Hosts::new(tables.iter().map(|(hostname, _)| hostname.as_ref()));
        self.tables = tables;
        self
    }

    /// The same listener with these tables in place of those of their hostnames; `None` takes one away.
    pub(super) fn with_changed(&self, changed: Vec<(Option<Hostname>, Option<Arc<RouteTable>>)>) -> Self {
        let mut next = self.clone();
        let mut tables = std::mem::take(&mut next.tables);
        tables.retain(|(hostname, _)| changed.iter().all(|(other, _)| other != hostname));
        tables.extend(changed.into_iter().filter_map(|(hostname, table)| Some((hostname, table?))));
        next.with_tables(tables)
    }

    /// The rule for a request: of the most specific hostname that has one.
    pub fn find(&self, request: &RequestHead<'_>) -> Option<Match<'_>> {
        self.tables(request.host).find_map(|table| table.find(request))
    }

    /// The rules for a host, by hostname, the most specific one first.
    pub fn tables<'v>(&'v self, host: &str) -> impl Iterator<Item = &'v RouteTable> {
        self.hosts.serving(host).map(|place| &*self.tables[place].1)
    }
}
