//! Asks `mesh_ir::eval` what becomes of the request and gathers what a person wants to know of it.

use mesh_ir::eval::filters::{Arrival, redirect_location};
use mesh_ir::eval::{self, Action, Decision, Flow, Target, why};
use mesh_ir::name::{Namespace, ObjectName, TrustDomain};
use mesh_ir::resource::{self, AppProtocol, BackendTarget, ListenerProtocol, Resource, RouteParent};
use mesh_ir::view::{Match, Matcher, MeshView, PortView, ServiceView};

use super::answer::{
    Answer, Backend, Explanation, From, HandledAs, Handling, Health, PassedOver, Reached, Request, Route,
    Rule, Timeouts, To,
};
use super::backend::Standpoint;
use super::filter::{effects, match_words, percent};
use super::limits::{self, Carried};
use super::question::{Question, Spoken};
use super::resolve::{Place, resolve};
use super::source::Source;

pub(super) fn answer(
    view: &MeshView,
    trust_domain: &TrustDomain,
    question: &Question,
) -> anyhow::Result<Explanation> {
    let source = Source::find(view, trust_domain, &question.from)?;
    let place = resolve(view, question, &source)?;
    let asking = Asking { view, trust_domain, question, source: &source };
    let mut answer = match &place {
        Place::Service { service, port, found } => asking.service(service, port, found),
        Place::Headless { service, found } => asking.headless(service, found),
        Place::Workload(workload) => asking.workload(workload),
        Place::Gateway { gateway, target_port, found } => asking.gateway(gateway, *target_port, found),
        Place::Elsewhere(what) => asking.blank(
            To::Elsewhere { what: what.clone() },
            HandledAs::LeftAlone,
            "the mesh leaves the connection as it is".into(),
        ),
    };
    answer.warnings.extend(warnings(&answer));
    Ok(answer)
}

/// Why the mesh has nothing to do with it.
pub(super) const UDP_ASIDE: &str =
    "UDP between pods does not pass through the mesh: it goes in clear, and no mode refuses it";

/// The question, and what it is asked of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) view: &'a MeshView,
    trust_domain: &'a TrustDomain,
    pub(super) question: &'a Question,
    pub(super) source: &'a Source<'a>,
}

impl Asking<'_> {
    fn service(&self, service: &ServiceView, port: &PortView, found: &str) -> Explanation {
        let to = To::Service {
            name: service.name.clone(),
            port: port.port,
            protocol: protocol_name(port.protocol),
            found: found.to_owned(),
        };
        let (handled, why) = self.handling(service, port);
        let mut answer = self.blank(to, handled, why);
        let standpoint = self.standpoint(matches!(handled, HandledAs::Http | HandledAs::Tcp), false);
        let client = self.source.pod().map(|pod| &pod.name.namespace);
        match handled {
            HandledAs::Refused => return answer,
            HandledAs::Tcp if eval::is_routed_whole(port, client) => {
                let target = Target::Service { client, service: &service.name, port: port.port };
                answer.routes_aside = aside(self.view, port, client);
                self.connection(&mut answer, target, &standpoint, Some(&service.name));
            }
            HandledAs::LeftAlone | HandledAs::Tcp | HandledAs::Udp => {
                answer.backends = vec![standpoint.service(service, port)];
                let why = match handled {
                    HandledAs::Tcp => "this connection is carried as bytes",
                    _ => "its connection is not the mesh's",
                };
                answer.routes_aside =
                    attached(self.view, port).map(|route| format!("{route} does not apply: {why}")).collect();
            }
            HandledAs::Http => {
                let target = Target::Service { client, service: &service.name, port: port.port };
                answer.routes_aside = aside(self.view, port, client);
                self.decide(&mut answer, target, &standpoint, Some(&service.name));
            }
        }
        if answer.handling.by != HandledAs::LeftAlone {
            let detected = port.protocol == AppProtocol::Detect;
            answer.limits = self.limits(&answer, detected);
        }
        answer
    }

    fn headless(&self, service: &ServiceView, found: &str) -> Explanation {
        let to = To::HeadlessService { name: service.name.clone(), found: found.to_owned() };
        let meshed = self.source.pod().is_some_and(|pod| pod.meshed) && !self.of_datagrams();
        let backend = self.standpoint(meshed, false).headless(service, self.question.port);
        let captured = meshed && backend.endpoints.iter().any(|endpoint| endpoint.mode.is_some());
        let (handled, why) = match captured {
            true => (
                HandledAs::Tcp,
                "the Service is headless: its name gives the addresses of its pods, the client chooses one, and the \
                 proxy carries the bytes there",
            ),
            false if self.of_datagrams() => (HandledAs::LeftAlone, UDP_ASIDE),
            false => (
                HandledAs::LeftAlone,
                "the Service is headless, and the client or all of its pods are not in the mesh",
            ),
        };
        let mut answer = self.blank(to, handled, why.into());
        answer.backends = vec![backend];
        if captured {
            answer.limits = self.limits(&answer, false);
        }
        answer
    }

    fn workload(&self, workload: &resource::Workload) -> Explanation {
        let port = self.question.port;
        let to = To::Workload { name: workload.name.clone(), port, meshed: workload.meshed };
        let captured =
            workload.meshed && self.source.pod().is_some_and(|pod| pod.meshed) && !self.of_datagrams();
        let (handled, why) = match captured {
            true => (
                HandledAs::Tcp,
                "a pod's own address was dialled: the bytes are carried to that pod, and the routes of its Services do \
                 not apply",
            ),
            false if self.of_datagrams() => (HandledAs::LeftAlone, UDP_ASIDE),
            false if workload.meshed => {
                (HandledAs::LeftAlone, "the client is not in the mesh: it dials the pod in clear")
            }
            false => (HandledAs::LeftAlone, "the pod that was dialled is not in the mesh"),
        };
        let mut answer = self.blank(to, handled, why.into());
        answer.backends = vec![self.standpoint(captured, false).workload(workload, port)];
        if captured {
            answer.limits = self.limits(&answer, false);
        }
        answer
    }

    fn gateway(&self, gateway: &resource::Gateway, target_port: u16, found: &str) -> Explanation {
        let question = self.question;
        let sni = (question.tls && question.address().is_none()).then(|| question.host.trim_end_matches('.'));
        let mut to = To::Gateway {
            name: gateway.name.clone(),
            port: question.port,
            listener: None,
            found: found.to_owned(),
        };
        let port = self.view.gateway_port(target_port);
        let takes_requests = port.is_none_or(|port| match port.is_tls() {
            true => port.listener(sni).is_none_or(|listener| listener.protocol.is_of_requests()),
            false => port.listeners().any(|listener| listener.protocol.is_of_requests()),
        });
        if !takes_requests {
            return self.gateway_connection(to, target_port, sni);
        }
        if question.spoken == Spoken::Bytes {
            let why = "its listeners there take requests of HTTP alone: dial http:// or https://";
            return self.blank(to, HandledAs::Refused, why.into());
        }
        let serves_tls = port.is_some_and(|port| port.is_tls());
        let refused = match (question.tls, serves_tls) {
            (true, false) => Some("its listeners there speak HTTP in clear, and the client begins TLS: dial http://".to_owned()),
            (false, true) => Some("its listeners there speak HTTPS, and the client begins without TLS: dial https://".to_owned()),
            (true, true) if port.is_some_and(|port| port.listener(sni).is_none()) => Some(match sni {
                Some(sni) => format!("no listener there has the hostname {sni}, so that no certificate fits: the handshake fails"),
                None => "a client that dials an address names no host in its TLS handshake, and no listener there serves \
                         every host: the handshake fails"
                    .to_owned(),
            }),
            _ => None,
        };
        if let Some(why) = refused {
            return self.blank(to, HandledAs::Refused, why);
        }
        let target = Target::Gateway { target_port, sni };
        let decision = eval::route(self.view, &Flow { target, request: question.head() });
        if let (To::Gateway { listener, .. }, Some(found)) = (&mut to, decision.listener) {
            let host = found.hostname.as_ref().map_or("any host".to_owned(), ToString::to_string);
            *listener = Some(format!("{} ({}, {host})", found.name, listener_protocol(&found.protocol)));
        }
        let why = match self.source.pod() {
            None => "by the Gateway's proxy on whichever node the connection comes in at, as HTTP",
            Some(_) => {
                "the pod reaches the Gateway as any client does, without the mesh; from there it is HTTP by the \
                        Gateway's proxy"
            }
        };
        let mut answer = self.blank(to, HandledAs::Http, why.into());
        self.decide(&mut answer, target, &self.standpoint(true, true), None);
        answer.limits = self.limits(&answer, false);
        answer
    }

    /// The decision of `eval`, as far as routes apply.
    fn decide(
        &self,
        answer: &mut Explanation,
        target: Target<'_>,
        standpoint: &Standpoint<'_>,
        service: Option<&ObjectName>,
    ) {
        let flow = Flow { target, request: self.question.head() };
        let decision = eval::route(self.view, &flow);
        answer.route = self.route(&flow, &decision, service);
        let mut path = flow.request.path.to_owned();
        let prefix = decision.matched.and_then(|matched| matched.matcher.prefix());
        if let Some(matched) = &decision.matched {
            let rule = &matched.rule.rule;
            answer.filters = effects(&rule.filters, &mut path, flow.request.host, prefix);
            answer.timeouts = Some(timeouts(&rule.timeouts));
            answer.retries = rule.retry.as_ref().map(retries);
        }
        match &decision.action {
            Action::Answer(reply) => {
                let reason = reply.reason().to_owned();
                answer.answer = Some(Answer { status: reply.status(), location: None, reason });
            }
            Action::Redirect(redirect) => {
                let arrival = Arrival {
                    scheme: if self.question.tls { "https" } else { "http" },
                    host: flow.request.host,
                    port: self.question.port,
                    path: flow.request.path,
                    query: flow.request.query,
                    prefix,
                };
                answer.answer = Some(Answer {
                    status: redirect.status,
                    location: Some(redirect_location(redirect, &arrival)),
                    reason: "the rule redirects".into(),
                });
            }
            Action::Preflight(cors) => {
                let reason = match eval::cors::allows(cors, flow.request.headers.get("origin")) {
                    true => "a preflight, which the rule's CORS filter allows",
                    false => "a preflight, of an origin that the rule's CORS filter does not allow",
                };
                answer.answer = Some(Answer {
                    status: eval::cors::PREFLIGHT_STATUS,
                    location: None,
                    reason: reason.into(),
                });
            }
            Action::ForwardToService(name, port) => {
                let found = self.view.service(name).and_then(|service| Some((service, service.port(*port)?)));
                answer.backends =
                    found.map(|(service, port)| standpoint.service(service, port)).into_iter().collect();
            }
            Action::Forward(backends) => {
                let total: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
                let shown = |backend: &resource::Backend| Backend {
                    weight: Some(backend.weight),
                    percent: 100.0 * f64::from(backend.weight) / total as f64,
                    filters: effects(&backend.filters, &mut path.clone(), flow.request.host, prefix),
                    ..self.backend(&backend.target, standpoint)
                };
                answer.backends = backends.iter().map(shown).collect();
            }
        }
    }

    pub(super) fn backend(&self, target: &BackendTarget, standpoint: &Standpoint<'_>) -> Backend {
        let nowhere = |target: String, reason: String| Backend {
            target,
            weight: None,
            percent: 0.0,
            invalid: Some(reason),
            filters: Vec::new(),
            circuit_breaker: None,
            retry_budget: None,
            session_affinity: None,
            tls: None,
            none_used: None,
            endpoints: Vec::new(),
        };
        match target {
            BackendTarget::Invalid { reason } => nowhere("nothing".into(), reason.clone()),
            BackendTarget::Service { service: name, port } => {
                let found = self.view.service(name).and_then(|service| {
                    let port =
                        if standpoint.datagrams { service.udp_port(*port) } else { service.port(*port) };
                    Some((service, port?))
                });
                match found {
                    Some((service, port)) => standpoint.service(service, port),
                    None => nowhere(
                        format!("Service {name} port {port}"),
                        "there is no such Service or port".into(),
                    ),
                }
            }
        }
    }

    fn route(&self, flow: &Flow<'_>, decision: &Decision<'_>, service: Option<&ObjectName>) -> Option<Route> {
        let tried = why::tried(self.view, flow);
        if tried.is_empty() {
            return None;
        }
        let mut passed_over: Vec<PassedOver> = Vec::new();
        let mut of: Vec<(Match<'_>, Vec<why::Miss>)> = Vec::new();
        for tried in tried {
            let Some(miss) = tried.miss else { continue };
            match of.iter_mut().find(|(matched, _)| std::sync::Arc::ptr_eq(matched.rule, tried.matched.rule))
            {
                Some((_, misses)) => misses.push(miss),
                None => of.push((tried.matched, vec![miss])),
            }
        }
        for (matched, misses) in of {
            // A rule that took the request by another of its matches was not passed over.
            if decision.matched.is_some_and(|taken| std::sync::Arc::ptr_eq(taken.rule, matched.rule)) {
                continue;
            }
            passed_over.push(PassedOver {
                route: matched.rule.route.to_string(),
                index: matched.rule.index,
                because: gathered(&misses),
            });
        }
        let rule = decision.matched.as_ref().map(|matched| self.rule(matched, service));
        Some(Route { rule, passed_over })
    }

    fn rule(&self, matched: &Match<'_>, service: Option<&ObjectName>) -> Rule {
        let prepared = matched.rule;
        let holds = |spec: &&resource::HttpMatch| Matcher::new(spec).as_ref() == Some(matched.matcher);
        let namespace = &prepared.route.name.namespace;
        Rule {
            route: prepared.route.to_string(),
            index: prepared.index,
            name: prepared.rule.name.clone(),
            role: role(service, namespace),
            by: prepared.rule.matches.iter().find(holds).map(match_words).unwrap_or_default(),
        }
    }

    pub(super) fn of_datagrams(&self) -> bool {
        self.question.spoken == Spoken::Datagrams
    }

    pub(super) fn standpoint(&self, proxied: bool, gateway: bool) -> Standpoint<'_> {
        Standpoint {
            view: self.view,
            trust_domain: self.trust_domain,
            source: self.source,
            proxied,
            gateway,
            datagrams: self.of_datagrams(),
            v6: self.question.address().is_some_and(|address| address.is_ipv6()),
        }
    }

    pub(super) fn limits(&self, answer: &Explanation, detected: bool) -> Vec<String> {
        let mut endpoints = answer.backends.iter().flat_map(|backend| &backend.endpoints);
        let forwarded = endpoints.clone().next().is_some();
        limits::lines(Carried {
            http: answer.handling.by == HandledAs::Http,
            datagrams: answer.handling.by == HandledAs::Udp,
            detected,
            forwarded,
            tls: endpoints.any(|endpoint| {
                matches!(endpoint.reached, Reached::MutualTls { .. } | Reached::MutualTlsOrWithinNode { .. })
            }) || self.question.tls && answer.handling.by == HandledAs::Http,
        })
    }

    pub(super) fn blank(&self, to: To, by: HandledAs, why: String) -> Explanation {
        let from = match self.source {
            Source::Outside => From::Outside,
            Source::Pod { workload, identity } => From::Pod {
                name: workload.name.clone(),
                node: workload.node.clone(),
                addresses: workload.addresses.clone(),
                meshed: workload.meshed,
                identity: identity.clone(),
            },
        };
        Explanation {
            request: Request {
                method: self.question.method.to_string(),
                url: self.question.url.clone(),
                headers: self.question.given.clone(),
            },
            from,
            to,
            handling: Handling { by, why },
            route: None,
            routes_aside: Vec::new(),
            filters: Vec::new(),
            timeouts: None,
            retries: None,
            answer: None,
            backends: Vec::new(),
            warnings: Vec::new(),
            limits: Vec::new(),
        }
    }
}

/// Misses of the same thing as one: `path is /x, wants exactly /a or exactly /b`.
fn gathered(misses: &[why::Miss]) -> Vec<String> {
    let mut gathered: Vec<why::Miss> = Vec::new();
    for miss in misses {
        match gathered.iter_mut().find(|one| one.subject == miss.subject && one.found == miss.found) {
            Some(one) => {
                one.wanted.push_str(" or ");
                one.wanted.push_str(&miss.wanted);
            }
            None => gathered.push(miss.clone()),
        }
    }
    gathered.iter().map(ToString::to_string).collect()
}

/// What a route of this namespace is to the Service that it is attached to, or to a Gateway.
pub(super) fn role(service: Option<&ObjectName>, namespace: &Namespace) -> String {
    match service {
        None => "a route of the Gateway".to_owned(),
        Some(service) if service.namespace == *namespace => {
            "producer route: it is in the Service's own namespace and applies to all clients".to_owned()
        }
        Some(_) => format!("consumer route: it applies to the clients in its own namespace {namespace}"),
    }
}

/// The routes that are attached to this port.
fn attached<'v>(view: &'v MeshView, port: &'v PortView) -> impl Iterator<Item = &'v resource::RouteKey> {
    view.config().resources.values().filter_map(|resource| match &**resource {
        Resource::Route(route) => route
            .parents
            .iter()
            .any(|parent| match parent {
                RouteParent::Service { service, port: only } => {
                    *service == port.service && only.is_none_or(|only| only == port.port)
                }
                RouteParent::Listener { .. } => false,
            })
            .then_some(&route.key),
        _ => None,
    })
}

/// The routes that are attached to this port and are for others than this client.
fn aside(view: &MeshView, port: &PortView, client: Option<&Namespace>) -> Vec<String> {
    let producer = &port.service.namespace;
    let is_consumers = |namespace: &Namespace| namespace != producer && Some(namespace) == client;
    let consumed = attached(view, port).any(|route| is_consumers(&route.name.namespace));
    attached(view, port)
        .filter_map(|route| {
            let namespace = &route.name.namespace;
            if namespace == producer {
                consumed.then(|| {
                    format!("{route} does not apply: the routes of the client's own namespace go before the Service's")
                })
            } else {
                (!is_consumers(namespace)).then(|| format!("{route} is for clients in namespace {namespace} only"))
            }
        })
        .collect()
}

fn timeouts(timeouts: &resource::Timeouts) -> Timeouts {
    let words = |duration: std::time::Duration| format!("{duration:?}");
    Timeouts { request: timeouts.request.map(words), backend_request: timeouts.backend_request.map(words) }
}

fn retries(retry: &resource::Retry) -> String {
    let resource::Retry { codes, attempts, backoff } = retry;
    let codes: String = codes.iter().map(|code| format!("{code}, ")).collect();
    format!(
        "{attempts} more at most, after {codes}a connection that cannot be made or a try that times out; \
         {backoff:?} or so before the first"
    )
}

pub(super) fn listener_protocol(protocol: &ListenerProtocol) -> &'static str {
    match protocol {
        ListenerProtocol::Http => "HTTP",
        ListenerProtocol::Https { .. } => "HTTPS",
        ListenerProtocol::Tls { .. } => "TLS",
        ListenerProtocol::TlsPassthrough => "TLS, passed through",
        ListenerProtocol::Tcp => "TCP",
        ListenerProtocol::Udp => "UDP",
    }
}

fn protocol_name(protocol: AppProtocol) -> &'static str {
    match protocol {
        AppProtocol::Detect => "protocol not declared",
        AppProtocol::Http => "HTTP",
        AppProtocol::Http2 => "HTTP/2",
        AppProtocol::Tcp => "TCP",
    }
}

fn warnings(answer: &Explanation) -> Vec<String> {
    let mut warnings = Vec::new();
    let (what, empty, refused) = match answer.handling.by {
        HandledAs::Http => ("requests", "answered 503", "answered 503"),
        HandledAs::Udp => ("clients' datagrams", "dropped", "dropped"),
        _ => ("connections", "refused", "reset"),
    };
    for backend in answer.backends.iter().filter(|backend| backend.percent > 0.0) {
        let share = percent(backend.percent);
        if let Some(reason) = &backend.invalid {
            let outcome = if answer.handling.by == HandledAs::Http { "answered 500" } else { empty };
            warnings.push(format!("{share} of the {what} are {outcome}: {reason}"));
            continue;
        }
        let used = || backend.endpoints.iter().filter(|endpoint| endpoint.used);
        if let Some(why) = backend.none_used {
            warnings.push(format!("{share} of the {what} are {empty}: {} {why}", backend.target));
        } else if used().all(|endpoint| endpoint.health == Some(Health::Draining)) {
            warnings.push(format!(
                "no endpoint of {} is ready: those that are ending still serve",
                backend.target
            ));
        }
        for endpoint in used() {
            if let Some(refusal) = &endpoint.refusal {
                warnings.push(format!(
                    "pod {} refuses it, so that it is {refused}: {refusal}",
                    endpoint.workload
                ));
            }
        }
    }
    warnings
}
