//! The meaning of the mesh: what becomes of a request, to which endpoint it goes, and who may come in. The proxy
//! asks once a connection or request and then only moves bytes; `weir explain` and the tests ask the same.

use crate::name::{Namespace, ObjectName};
use crate::resource::{Backend, Cors, Filter, Redirect};
use crate::view::{ListenerView, Match, MeshView, RequestHead};

pub mod admit;
pub mod balance;
pub mod cors;
pub mod endpoints;
pub mod filters;
pub mod reach;
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
}

/// A response that the mesh gives itself, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    NoListener,
    /// The request's host belongs to another listener than the one that the TLS client asked for (RFC 9110 §15.5.20).
    Misdirected,
    NoRule,
    NoBackend,
    ServiceGone,
}

impl Answer {
    pub fn status(self) -> u16 {
        match self {
            Self::NoListener | Self::NoRule => 404,
            Self::Misdirected => 421,
            Self::NoBackend => 500,
            Self::ServiceGone => 503,
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Self::NoListener => "no listener serves this host",
            Self::Misdirected => {
                "this TLS connection was made for another listener of the Gateway than the one that serves this host"
            }
            Self::NoRule => "no rule of the attached routes matches this request",
            Self::NoBackend => "the rule has no valid backend with a weight above zero",
            Self::ServiceGone => "the Service no longer exists or has no such port",
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
                Some(table) => match table.find(&flow.request) {
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
            match listener.find(&flow.request) {
                Some(matched) => decide(matched, Some(listener), &flow.request),
                None => Decision { listener: Some(listener), ..answer(Answer::NoRule) },
            }
        }
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
