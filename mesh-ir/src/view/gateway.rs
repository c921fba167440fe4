//! The Gateways' listeners, by the port on which the nodes serve them.

use std::cmp::Reverse;

use crate::name::{Hostname, ListenerName, ObjectName};
use crate::resource::{Gateway, Listener, ListenerProtocol, Route, RouteParent};

use super::matcher::RequestHead;
use super::table::{Match, RouteTable};

/// All listeners that share a port of the nodes, the most specific hostname first.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayPort {
    pub target_port: u16,
    pub listeners: Vec<ListenerView>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ListenerView {
    pub gateway: ObjectName,
    pub name: ListenerName,
    pub port: u16,
    pub hostname: Option<Hostname>,
    pub protocol: ListenerProtocol,
    /// The most specific hostname first; `None` serves every one.
    tables: Vec<(Option<Hostname>, RouteTable)>,
}

impl GatewayPort {
    pub(super) fn new(target_port: u16, mut listeners: Vec<ListenerView>) -> Self {
        listeners.sort_by_key(|listener| specificity(listener.hostname.as_ref()));
        Self { target_port, listeners }
    }

    /// The listener for a host (of the request, or of the TLS client's SNI): the most specific one that serves it.
    pub fn listener(&self, host: Option<&str>) -> Option<&ListenerView> {
        self.listeners.iter().find(|listener| match (&listener.hostname, host) {
            (None, _) => true,
            (Some(hostname), Some(host)) => hostname.matches(host),
            (Some(_), None) => false,
        })
    }

    pub fn is_tls(&self) -> bool {
        self.listeners.iter().any(|listener| matches!(listener.protocol, ListenerProtocol::Https { .. }))
    }
}

impl ListenerView {
    pub(super) fn new(gateway: &Gateway, listener: &Listener, routes: &[&Route]) -> Self {
        let mut hostnames: Vec<Option<Hostname>> = Vec::new();
        for route in routes {
            for served in hostnames_at(route, gateway, listener) {
                if !hostnames.contains(&served) {
                    hostnames.push(served);
                }
            }
        }
        hostnames.sort_by_key(|hostname| specificity(hostname.as_ref()));
        let table = |hostname: &Option<Hostname>| {
            let serving: Vec<&Route> = routes
                .iter()
                .copied()
                .filter(|route| hostnames_at(route, gateway, listener).any(|served| served == *hostname))
                .collect();
            RouteTable::new(&serving)
        };
        Self {
            gateway: gateway.name.clone(),
            name: listener.name.clone(),
            port: listener.port,
            hostname: listener.hostname.clone(),
            protocol: listener.protocol.clone(),
            tables: hostnames.iter().map(|hostname| (hostname.clone(), table(hostname))).collect(),
        }
    }

    /// The rule for a request: of the most specific hostname that has one.
    pub fn find(&self, request: &RequestHead<'_>) -> Option<Match<'_>> {
        self.tables(request.host).find_map(|table| table.find(request))
    }

    /// The rules for a host, by hostname, the most specific one first.
    pub fn tables<'v>(&'v self, host: &str) -> impl Iterator<Item = &'v RouteTable> {
        let serves = move |hostname: &Option<Hostname>| hostname.as_ref().is_none_or(|h| h.matches(host));
        self.tables.iter().filter(move |(hostname, _)| serves(hostname)).map(|(_, table)| table)
    }
}

/// The hostnames that a route serves at a listener.
fn hostnames_at<'a>(
    route: &'a Route,
    gateway: &'a Gateway,
    listener: &'a Listener,
) -> impl Iterator<Item = Option<Hostname>> + 'a {
    route.parents.iter().flat_map(move |parent| match parent {
        RouteParent::Listener { gateway: name, listener: at, hostnames }
            if *name == gateway.name && *at == listener.name =>
        {
            if hostnames.is_empty() {
                vec![None]
            } else {
                hostnames.iter().cloned().map(Some).collect()
            }
        }
        _ => Vec::new(),
    })
}

/// Sorts as HTTPRoute `hostnames` says: more characters of an exact name, then of a wildcard, then any host.
fn specificity(hostname: Option<&Hostname>) -> (u8, Reverse<usize>) {
    match hostname {
        Some(Hostname::Exact(name)) => (0, Reverse(name.len())),
        Some(Hostname::Wildcard(suffix)) => (1, Reverse(suffix.len())),
        None => (2, Reverse(0)),
    }
}
