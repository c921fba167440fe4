//! The meaning of the mesh: what becomes of a request, to which endpoint it goes, and who may come in. The proxy
//! asks once a connection or request and then only moves bytes; `weir explain` and the tests ask the same.

use std::sync::Arc;

use crate::name::{Namespace, ObjectName};
use crate::resource::{Backend, Cors, ExternalAuth, Filter, Redirect};
use crate::view::{ListenerView, Match, MeshView, PortView, PreparedRule, RequestHead, Routes};

pub mod admit;
pub mod balance;
pub mod cors;
pub mod datagrams;
pub mod endpoints;
pub mod external;
pub mod external_auth;
pub mod filters;
pub mod reach;
pub mod sampling;
pub mod why;

/// A request and where it came in.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    pub target: Target<'a>,
    pub request: RequestHead<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// A mesh client dialled a Service.
    Service { client: Option<&'a Namespace>, service: &'a ObjectName, port: u16 },
    /// A client reached a Gateway; with TLS, `sni` chose the listener and the request must not leave it.
    Gateway { target_port: u16, sni: Option<&'a str> },
}

#[derive(Clone, Debug)]
pub struct Decision<'v> {
    /// The rule that applies, if a route does.
    pub matched: Option<Match<'v>>,
    /// The Gateway's listener that took the request, where one did.
    pub listener: Option<&'v ListenerView>,
    pub action: Action<'v>,
}

#[derive(Clone, Debug)]
pub enum Action<'v> {
    Answer(Answer),
    Redirect(&'v Redirect),
    /// A browser asks whether it may send a request that the rule would take.
    Preflight(&'v Cors),
    /// These are asked first, in this order; when all let the request go on, [`route_of_listener`] says how.
    Authorize(&'v [ExternalAuth]),
    /// To one of these, by weight.
    Forward(&'v [Backend]),
    /// No route is attached: to the Service that was dialled.
    ForwardToService(ObjectName, u16),
}

impl<'v> Decision<'v> {
    /// What the rule says of other origins; it holds for every response.
    pub fn cors(&self) -> Option<&'v Cors> {
        cors_of(self.matched.as_ref()?)
    }

    /// Those that the rule's own filters ask whether a request may go on.
    pub fn authorizers(&self) -> impl Iterator<Item = &'v ExternalAuth> {
        let filters = self.matched.map_or(&[][..], |matched| &matched.rule.rule.filters);
        filters.iter().filter_map(|filter| match filter {
            Filter::ExternalAuth(auth) => Some(auth),
            _ => None,
        })
    }
}

/// A response that the mesh gives itself, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    NoListener,
    /// The request's host belongs to another listener than the one that the TLS client asked for (RFC 9110 §15.5.20).
    Misdirected,
    /// The host's listener cannot be served, and what comes to it must not pass without its filters (GEP-5224).
    ListenerClosed,
    NoRule,
    NoBackend,
    ServiceGone,
    /// The connection was made before the route.
    RoutedWhole,
}

impl Answer {
    pub fn status(self) -> u16 {
        match self {
            Self::NoListener | Self::NoRule => 404,
            Self::Misdirected => 421,
            Self::ListenerClosed | Self::NoBackend => 500,
            Self::ServiceGone | Self::RoutedWhole => 503,
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Self::NoListener => "no listener serves this host",
            Self::Misdirected => {
                "this TLS connection was made for another listener of the Gateway than the one that serves this host"
            }
            Self::ListenerClosed => {
                "the listener of this host has filters and cannot be served; the status of its Gateway or ListenerSet says why"
            }
            Self::NoRule => "no rule of the attached routes matches this request",
            Self::NoBackend => "the rule has no valid backend with a weight above zero",
            Self::ServiceGone => "the Service no longer exists or has no such port",
            Self::RoutedWhole => "the port has a route of connections by now: connect anew",
        }
    }
}

/// What becomes of a connection that is not looked into.
#[derive(Clone, Debug)]
pub enum ConnectionDecision<'v> {
    /// To one of the rule's backends, by weight; it is refused where none has any.
    Forward(&'v Arc<PreparedRule>),
    /// No route is attached: to the Service that was dialled.
    ForwardToService(ObjectName, u16),
    Refuse(Answer),
}

/// Whether connections of a client to a Service's port are routed as a whole, whatever is spoken in them.
pub fn is_routed_whole(port: &PortView, client: Option<&Namespace>) -> bool {
    matches!(port.routes(client), Some(Routes::Connections(_)))
}

/// What becomes of a connection as a whole. A Service's port with routes of requests leaves what is not HTTP alone.
pub fn connection<'v>(view: &'v MeshView, target: Target<'_>) -> ConnectionDecision<'v> {
    match target {
        Target::Service { client, service, port } => {
            let Some(port_view) = view.service_port(service, port) else {
                return ConnectionDecision::Refuse(Answer::ServiceGone);
            };
            match port_view.routes(client) {
                None | Some(Routes::Requests(_)) => {
                    ConnectionDecision::ForwardToService(port_view.service.clone(), port)
                }
                Some(Routes::Connections(rule)) => match rule {
                    Some(rule) => ConnectionDecision::Forward(rule),
                    None => ConnectionDecision::Refuse(Answer::NoRule),
                },
            }
        }
        Target::Gateway { target_port, sni } => {
            let Some(listener) = view.gateway_port(target_port).and_then(|port| port.listener(sni)) else {
                return ConnectionDecision::Refuse(Answer::NoListener);
            };
            match listener.connection(sni) {
                Some(rule) => ConnectionDecision::Forward(rule),
                None => ConnectionDecision::Refuse(Answer::NoRule),
            }
        }
    }
}

/// What becomes of a request.
pub fn route<'v>(view: &'v MeshView, flow: &Flow<'_>) -> Decision<'v> {
    let answer = |answer| Decision { matched: None, listener: None, action: Action::Answer(answer) };
    match flow.target {
        Target::Service { client, service, port } => {
            let Some(port_view) = view.service_port(service, port) else {
                return answer(Answer::ServiceGone);
            };
            match port_view.routes(client) {
                None => Decision {
                    matched: None,
                    listener: None,
                    action: Action::ForwardToService(port_view.service.clone(), port),
                },
                // It replaces the Service's own routing, also for a connection that began before it was there.
                Some(Routes::Connections(_)) => answer(Answer::RoutedWhole),
                Some(Routes::Requests(table)) => match table.find(&flow.request) {
                    Some(matched) => decide(matched, None, &flow.request),
                    None => answer(Answer::NoRule),
                },
            }
        }
        Target::Gateway { target_port, sni } => {
            let Some(port) = view.gateway_port(target_port) else { return answer(Answer::NoListener) };
            let of_host = port.listener(Some(flow.request.host));
            let listener = sni.map_or(of_host, |sni| port.listener(Some(sni)));
            let Some(listener) = listener else { return answer(Answer::NoListener) };
            if of_host.is_some_and(|of_host| !std::ptr::eq(of_host, listener)) {
                return Decision { listener: Some(listener), ..answer(Answer::Misdirected) };
            }
            if listener.closed {
                return Decision { listener: Some(listener), ..answer(Answer::ListenerClosed) };
            }
            if !listener.filters.is_empty() {
                let action = Action::Authorize(&listener.filters);
                return Decision { matched: None, listener: Some(listener), action };
            }
            route_of_listener(listener, &flow.request)
        }
    }
}

/// What becomes of a request that has passed the filters of its listener. They may have changed it; the listener stays.
pub fn route_of_listener<'v>(listener: &'v ListenerView, request: &RequestHead<'_>) -> Decision<'v> {
    match listener.find(request) {
        Some(matched) => decide(matched, Some(listener), request),
        None => Decision { matched: None, listener: Some(listener), action: Action::Answer(Answer::NoRule) },
    }
}

fn decide<'v>(
    matched: Match<'v>,
    listener: Option<&'v ListenerView>,
    request: &RequestHead<'_>,
) -> Decision<'v> {
    if let Some(cors) = cors_of(&matched).filter(|_| cors::is_preflight(request)) {
        return Decision { matched: Some(matched), listener, action: Action::Preflight(cors) };
    }
    let rule = &matched.rule.rule;
    let redirect = rule.filters.iter().find_map(|filter| match filter {
        Filter::Redirect(redirect) => Some(redirect),
        _ => None,
    });
    let action = match redirect {
        Some(redirect) => Action::Redirect(redirect),
        None if rule.backends.iter().all(|backend| backend.weight == 0) => Action::Answer(Answer::NoBackend),
        None => Action::Forward(&rule.backends),
    };
    Decision { matched: Some(matched), listener, action }
}

fn cors_of<'v>(matched: &Match<'v>) -> Option<&'v Cors> {
    matched.rule.rule.filters.iter().find_map(|filter| match filter {
        Filter::Cors(cors) => Some(cors),
        _ => None,
    })
}

/// The host of an authority, in lower case, without port or trailing dot.
pub fn host_of(authority: &str) -> String {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(address, _)| address),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    host.trim_end_matches('.').to_ascii_lowercase()
}
