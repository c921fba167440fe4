use std::time::Duration;

use mesh_ir::resource::{
    HeaderMatch, HttpMatch, PathMatch, QueryMatch, Retry, Route, RouteKey, RouteKind, RouteParent, Rule,
    ServedHostname, Timeouts, ValueMatch,
};

use super::{Malformed, list, messages, name, optional, port, required, status};
use crate::proto;

impl From<&Route> for proto::Route {
    fn from(route: &Route) -> Self {
        let Route { key, created, parents, rules, gateway_rules } = route;
        let kind = match key.kind {
            RouteKind::Grpc => proto::RouteKind::Grpc,
            RouteKind::Http => proto::RouteKind::Http,
            RouteKind::Tls => proto::RouteKind::Tls,
            RouteKind::Tcp => proto::RouteKind::Tcp,
            RouteKind::Udp => proto::RouteKind::Udp,
        };
        Self {
            kind: kind.into(),
            name: key.name.to_string(),
            created: *created,
            parents: messages(parents),
            rules: messages(rules),
            gateway_rules: messages(gateway_rules),
        }
    }
}

impl TryFrom<proto::Route> for Route {
    type Error = Malformed;
    fn try_from(route: proto::Route) -> Result<Self, Malformed> {
        let kind = match route.kind() {
            proto::RouteKind::Unspecified => return Err(Malformed::unknown("the kind").within("kind")),
            proto::RouteKind::Grpc => RouteKind::Grpc,
            proto::RouteKind::Http => RouteKind::Http,
            proto::RouteKind::Tls => RouteKind::Tls,
            proto::RouteKind::Tcp => RouteKind::Tcp,
            proto::RouteKind::Udp => RouteKind::Udp,
        };
        Ok(Self {
            key: RouteKey { kind, name: name("name", &route.name)? },
            created: route.created,
            parents: list("parents", route.parents)?,
            rules: rules("rules", kind, route.rules)?,
            gateway_rules: rules("gateway_rules", kind, route.gateway_rules)?,
        })
    }
}

fn rules(field: &str, kind: RouteKind, messages: Vec<proto::Rule>) -> Result<Vec<Rule>, Malformed> {
    let rules: Vec<Rule> = list(field, messages)?;
    match rules.iter().position(|rule| rule.matches.is_empty() == kind.is_of_requests()) {
        None => Ok(rules),
        Some(at) => {
            let problem = match kind.is_of_requests() {
                true => "a rule for requests has at least one match",
                false => "a rule for connections has no matches",
            };
            Err(Malformed::new(problem).within("matches").within(&format!("[{at}]")).within(field))
        }
    }
}

impl From<&RouteParent> for proto::RouteParent {
    fn from(parent: &RouteParent) -> Self {
        use proto::route_parent::Parent as P;
        let parent = match parent {
            RouteParent::Listener { gateway, listener, hostnames } => P::Listener(proto::ListenerParent {
                gateway: gateway.to_string(),
                listener: listener.to_string(),
                hostnames: messages(hostnames),
            }),
            RouteParent::Service { service, port } => {
                P::Service(proto::ServiceParent { service: service.to_string(), port: port.map(Into::into) })
            }
        };
        Self { parent: Some(parent) }
    }
}

impl TryFrom<proto::RouteParent> for RouteParent {
    type Error = Malformed;
    fn try_from(parent: proto::RouteParent) -> Result<Self, Malformed> {
        use proto::route_parent::Parent as P;
        Ok(match parent.parent.ok_or_else(|| Malformed::unknown("the parent"))? {
            P::Listener(parent) => Self::Listener {
                gateway: name("gateway", &parent.gateway)?,
                listener: name("listener", &parent.listener)?,
                hostnames: list("hostnames", parent.hostnames)?,
            },
            P::Service(parent) => Self::Service {
                service: name("service", &parent.service)?,
                port: parent.port.map(|number| port("port", number)).transpose()?,
            },
        })
    }
}

impl From<&ServedHostname> for proto::ServedHostname {
    fn from(served: &ServedHostname) -> Self {
        let ServedHostname { hostname, written } = served;
        Self { hostname: hostname.to_string(), written: written.as_ref().map(ToString::to_string) }
    }
}

impl TryFrom<proto::ServedHostname> for ServedHostname {
    type Error = Malformed;
    fn try_from(served: proto::ServedHostname) -> Result<Self, Malformed> {
        Ok(Self {
            hostname: name("hostname", &served.hostname)?,
            written: served.written.map(|written| name("written", &written)).transpose()?,
        })
    }
}

impl From<&Rule> for proto::Rule {
    fn from(rule: &Rule) -> Self {
        let Rule { name, matches, filters, backends, timeouts, retry } = rule;
        let Timeouts { request, backend_request } = timeouts;
        Self {
            name: name.clone(),
            matches: messages(matches),
            filters: messages(filters),
            backends: messages(backends),
            request_timeout: request.as_ref().map(Into::into),
            backend_request_timeout: backend_request.as_ref().map(Into::into),
            retry: retry.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<proto::Rule> for Rule {
    type Error = Malformed;
    fn try_from(rule: proto::Rule) -> Result<Self, Malformed> {
        Ok(Self {
            name: rule.name,
            matches: list("matches", rule.matches)?,
            filters: list("filters", rule.filters)?,
            backends: list("backends", rule.backends)?,
            timeouts: Timeouts {
                request: optional("request_timeout", rule.request_timeout)?,
                backend_request: optional("backend_request_timeout", rule.backend_request_timeout)?,
            },
            retry: optional("retry", rule.retry)?,
        })
    }
}

impl From<&Duration> for proto::Duration {
    fn from(duration: &Duration) -> Self {
        Self { seconds: duration.as_secs(), nanos: duration.subsec_nanos() }
    }
}

impl TryFrom<proto::Duration> for Duration {
    type Error = Malformed;
    fn try_from(duration: proto::Duration) -> Result<Self, Malformed> {
        // `Duration::new` would carry what is over a second, and panic where that overflows.
        if duration.nanos >= 1_000_000_000 {
            return Err(Malformed::new("it is a second or more").within("nanos"));
        }
        Ok(Self::new(duration.seconds, duration.nanos))
    }
}

impl From<&Retry> for proto::Retry {
    fn from(retry: &Retry) -> Self {
        let Retry { codes, attempts, backoff } = retry;
        Self {
            codes: codes.iter().copied().map(Into::into).collect(),
            attempts: *attempts,
            backoff: Some(backoff.into()),
        }
    }
}

impl TryFrom<proto::Retry> for Retry {
    type Error = Malformed;
    fn try_from(retry: proto::Retry) -> Result<Self, Malformed> {
        let codes = retry.codes.into_iter().map(|code| status("codes", code));
        Ok(Self {
            codes: codes.collect::<Result<_, _>>()?,
            attempts: retry.attempts,
            backoff: required("backoff", retry.backoff)?,
        })
    }
}

impl From<&HttpMatch> for proto::HttpMatch {
    fn from(http_match: &HttpMatch) -> Self {
        let HttpMatch { path, headers, query, method } = http_match;
        use proto::http_match::Path as P;
        let path = match path {
            PathMatch::Exact(path) => P::Exact(path.clone()),
            PathMatch::Prefix(path) => P::Prefix(path.clone()),
            PathMatch::Regex(path) => P::Regex(path.clone()),
        };
        Self {
            path: Some(path),
            headers: headers.iter().map(|m| named(&m.name, &m.value)).collect(),
            query: query.iter().map(|m| named(&m.name, &m.value)).collect(),
            method: method.clone(),
        }
    }
}

impl TryFrom<proto::HttpMatch> for HttpMatch {
    type Error = Malformed;
    fn try_from(http_match: proto::HttpMatch) -> Result<Self, Malformed> {
        use proto::http_match::Path as P;
        let path = match http_match.path {
            None => return Err(Malformed::unknown("the match").within("path")),
            Some(P::Exact(path)) => PathMatch::Exact(path),
            Some(P::Prefix(path)) => PathMatch::Prefix(path),
            Some(P::Regex(path)) => PathMatch::Regex(path),
        };
        Ok(Self {
            path,
            headers: list("headers", http_match.headers)?,
            query: list("query", http_match.query)?,
            method: http_match.method,
        })
    }
}

fn named(name: &str, value: &ValueMatch) -> proto::NamedMatch {
    use proto::named_match::Value as P;
    let value = match value {
        ValueMatch::Exact(value) => P::Exact(value.clone()),
        ValueMatch::Regex(value) => P::Regex(value.clone()),
    };
    proto::NamedMatch { name: name.into(), value: Some(value) }
}

fn value(value: Option<proto::named_match::Value>) -> Result<ValueMatch, Malformed> {
    use proto::named_match::Value as P;
    match value {
        None => Err(Malformed::unknown("the match").within("value")),
        Some(P::Exact(value)) => Ok(ValueMatch::Exact(value)),
        Some(P::Regex(value)) => Ok(ValueMatch::Regex(value)),
    }
}

impl TryFrom<proto::NamedMatch> for HeaderMatch {
    type Error = Malformed;
    fn try_from(named: proto::NamedMatch) -> Result<Self, Malformed> {
        Ok(Self { name: named.name, value: value(named.value)? })
    }
}

impl TryFrom<proto::NamedMatch> for QueryMatch {
    type Error = Malformed;
    fn try_from(named: proto::NamedMatch) -> Result<Self, Malformed> {
        Ok(Self { name: named.name, value: value(named.value)? })
    }
}
