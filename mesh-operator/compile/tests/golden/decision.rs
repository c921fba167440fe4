//! What becomes of one request in a compiled mesh, written so that a person sees at once whether it is right.

use std::collections::BTreeMap;
use std::fmt::Write;

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use mesh_ir::config::Delta;
use mesh_ir::eval::cors::{PREFLIGHT_STATUS, preflight, share};
use mesh_ir::eval::endpoints::{Client, Origin, judged};
use mesh_ir::eval::filters::{Arrival, edit_headers, redirect_location, rewritten_path};
use mesh_ir::eval::{
    Action, ConnectionDecision, Flow, Target, connection, host_of, route, route_of_listener,
};
use mesh_ir::name::{NodeName, ObjectName};
use mesh_ir::resource::{AuthProtocol, BackendTarget, ExternalAuth, Filter, Resource, Transport};
use mesh_ir::view::{Destination, Match, MeshView, RequestHead};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// `NAMESPACE/POD`, or `outside`.
    from: String,
    /// A URL: of a Service (by ClusterIP) for a pod, of a Gateway for the outside. `tcp:` and `tls:` are connections that
    /// are not looked into, `udp:` is a client's datagrams.
    to: String,
    /// The Gateway that is dialled from outside; needed where there are several.
    gateway: Option<ObjectName>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    method: Option<String>,
    /// Shows the endpoints of the Service that it is forwarded to, as the client's node sees them (from outside: the
    /// Gateway's on `node`).
    #[serde(default)]
    endpoints: bool,
    node: Option<NodeName>,
}

#[derive(Default, Serialize)]
pub(crate) struct Shown {
    request: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    listener: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    forward: Vec<String>,
    /// What the backend sees where a filter changes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    endpoints: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mirrors: Vec<String>,
    /// Who is asked before it goes on, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorized: Vec<String>,
    /// What a browser is told, where the request comes from another origin.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cors: Vec<String>,
}

pub(crate) fn decide(view: &MeshView, request: &Request) -> Result<Shown, String> {
    let uri: Uri = request.to.parse().map_err(|e| format!("{}: {e}", request.to))?;
    let scheme = uri.scheme_str().ok_or("to: a URL needs a scheme")?;
    let authority = uri.authority().ok_or("to: a URL needs a host")?.as_str();
    let port = uri.port_u16().unwrap_or(if matches!(scheme, "https" | "tls") { 443 } else { 80 });
    let method: Method = request.method.as_deref().unwrap_or("GET").parse().map_err(|_| "method")?;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let name: HeaderName = name.parse().map_err(|_| "headers: a name")?;
        headers.append(name, HeaderValue::from_str(value).map_err(|_| "headers: a value")?);
    }
    let host = headers.get("host").and_then(|h| h.to_str().ok()).map_or_else(|| host_of(authority), host_of);
    let head =
        RequestHead { method: &method, path: uri.path(), query: uri.query(), host: &host, headers: &headers };

    let mut shown =
        Shown { request: format!("{method} {} from {}", request.to, request.from), ..Shown::default() };
    for (name, value) in &request.headers {
        write!(shown.request, " {name}: {value}").map_err(|e| e.to_string())?;
    }
    let client: Option<ObjectName> = match request.from.as_str() {
        "outside" => None,
        pod => Some(pod.parse().map_err(|e| format!("from: {e}"))?),
    };
    let server_name = host_of(authority);
    let transport = if scheme == "udp" { Transport::Udp } else { Transport::Tcp };
    let service;
    let target = match &client {
        Some(client) => {
            let address = host_of(authority).parse().map_err(|_| "to: a pod dials an address")?;
            match view.destination(address, port) {
                Destination::Service(port_view) => service = port_view.service.clone(),
                Destination::Workload(workload) => {
                    shown.forward.push(format!("workload {}", workload.name));
                    return Ok(shown);
                }
                Destination::Unknown => {
                    shown.answer = Some("left alone".into());
                    return Ok(shown);
                }
            }
            Target::Service { client: Some(&client.namespace), service: &service, port }
        }
        None => match target_port(view, request.gateway.as_ref(), (transport, port)) {
            Some(target_port) => Target::Gateway {
                target_port,
                sni: (scheme == "https" || scheme == "tls").then_some(server_name.as_str()),
            },
            None => {
                shown.answer = Some("connection refused".into());
                return Ok(shown);
            }
        },
    };
    if matches!(scheme, "tcp" | "tls" | "udp") {
        let targets = connect(view, target, &mut shown);
        if request.endpoints {
            for (service, port) in targets {
                let lines = endpoints(view, client.as_ref(), request, &service, (transport, port))?;
                shown.endpoints.insert(format!("{service}:{port}"), lines);
            }
        }
        return Ok(shown);
    }
    let mut decision = route(view, &Flow { target, request: head });
    if let (Action::Authorize(filters), Some(listener)) = (&decision.action, decision.listener) {
        shown.authorized.extend(filters.iter().map(authorizer));
        decision = route_of_listener(listener, &head);
    }
    shown.listener = decision.listener.map(|l| format!("{} {}", l.gateway, l.name));
    if let Some(matched) = &decision.matched {
        let name = matched.rule.rule.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
        shown.rule = Some(format!("{} rules[{}]{name}", matched.rule.route, matched.rule.index));
        effects(&mut shown, matched, &head);
    }
    if request.endpoints {
        for (service, port) in targets(&decision.action) {
            let shown_as = format!("{service}:{port}");
            shown
                .endpoints
                .insert(shown_as, endpoints(view, client.as_ref(), request, service, (transport, port))?);
        }
    }
    if let Some(cors) = decision.cors().filter(|_| headers.contains_key(ORIGIN)) {
        let told = match decision.action {
            Action::Preflight(cors) => preflight(cors, &headers),
            _ => {
                let mut told = HeaderMap::new();
                share(cors, headers.get(ORIGIN), &mut told);
                told
            }
        };
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
        };
        shown.cors = told.iter().map(line).collect();
    }
    match decision.action {
        Action::Answer(answer) => shown.answer = Some(format!("{}: {}", answer.status(), answer.reason())),
        Action::Redirect(redirect) => {
            let arrival = Arrival {
                scheme,
                host: &host,
                port,
                path: uri.path(),
                query: uri.query(),
                prefix: decision.matched.as_ref().and_then(|m| m.matcher.prefix()),
            };
            shown.redirect = Some(format!("{} {}", redirect.status, redirect_location(redirect, &arrival)));
        }
        // A listener's, which were passed above.
        Action::Authorize(_) => {}
        Action::Preflight(_) => shown.answer = Some(format!("{PREFLIGHT_STATUS}: a preflight")),
        Action::Forward(backends) => {
            shown.forward = backends.iter().map(|b| format!("{} to {}", b.weight, name(&b.target))).collect();
        }
        Action::ForwardToService(service, port) => {
            shown.forward = vec![format!("{service}:{port}, no route")]
        }
    }
    Ok(shown)
}

fn targets<'d>(action: &'d Action<'_>) -> Vec<(&'d ObjectName, u16)> {
    match action {
        Action::ForwardToService(service, port) => vec![(service, *port)],
        Action::Forward(backends) => {
            let target = |backend: &'d mesh_ir::resource::Backend| match &backend.target {
                BackendTarget::Service { service, port } => Some((service, *port)),
                BackendTarget::Invalid { .. } => None,
            };
            backends.iter().filter_map(target).collect()
        }
        Action::Answer(_) | Action::Redirect(_) | Action::Preflight(_) | Action::Authorize(_) => Vec::new(),
    }
}

/// Every endpoint with what is made of it, which is checked to be what the view of the client's node holds.
fn endpoints(
    view: &MeshView,
    client: Option<&ObjectName>,
    request: &Request,
    service: &ObjectName,
    (transport, port): (Transport, u16),
) -> Result<Vec<String>, String> {
    let pod = client.and_then(|client| view.workloads().find(|workload| workload.name == *client));
    let node = pod.and_then(|pod| pod.node.clone()).or_else(|| request.node.clone());
    let node = node.ok_or("endpoints: the client's node is not known")?;
    let origin = if client.is_some() { Origin::Pod } else { Origin::Gateway };
    let zone = view.node_zone(&node);
    let judged = judged(view, service, (transport, port), Client { origin, node: Some(&node), zone });
    let upserts = view.config().resources.values().cloned().collect();
    let own = MeshView::at(node.clone()).apply(&Delta { upserts, removes: Vec::new() });
    let held = match transport {
        Transport::Tcp => own.service_port(service, port),
        Transport::Udp => own.service_udp_port(service, port),
    };
    let held = held.ok_or("endpoints: there is no such port")?.endpoints(origin);
    let used = judged.iter().filter(|judged| judged.excluded.is_none());
    if !used.map(|used| &used.workload.uid).eq(held.iter().map(|endpoint| &endpoint.workload().uid)) {
        return Err(format!("the view of {node} holds other endpoints of {service}: {held:?}"));
    }
    let line = |judged: &mesh_ir::eval::endpoints::Judged<'_>| {
        let name = format!("{}:{}", judged.workload.name, judged.port);
        match judged.excluded {
            None => format!("{name} used"),
            Some(excluded) => format!("{name} not: {excluded}"),
        }
    };
    Ok(judged.iter().map(line).collect())
}

/// Gives the Services that the connection, or the client's datagrams, may go to.
fn connect(view: &MeshView, target: Target<'_>, shown: &mut Shown) -> Vec<(ObjectName, u16)> {
    match connection(view, target) {
        ConnectionDecision::Forward(rule) => {
            shown.rule = Some(format!("{} rules[{}]", rule.route, rule.index));
            let backends = rule.rule.backends.iter();
            shown.forward = backends.map(|b| format!("{} to {}", b.weight, name(&b.target))).collect();
            let forward = Action::Forward(&rule.rule.backends);
            targets(&forward).into_iter().map(|(service, port)| (service.clone(), port)).collect()
        }
        ConnectionDecision::ForwardToService(service, port) => {
            shown.forward = vec![format!("{service}:{port}, no route")];
            vec![(service, port)]
        }
        ConnectionDecision::Refuse(answer) => {
            shown.answer = Some(format!("refused: {}", answer.reason()));
            Vec::new()
        }
    }
}

fn effects(shown: &mut Shown, matched: &Match<'_>, head: &RequestHead<'_>) {
    let mut headers = head.headers.clone();
    for filter in &matched.rule.rule.filters {
        match filter {
            Filter::RequestHeaders(edit) => edit_headers(edit, &mut headers),
            Filter::Rewrite(rewrite) => {
                let path = rewrite.path.as_ref();
                shown.path = path.map(|path| rewritten_path(path, head.path, matched.matcher.prefix()));
                shown.host = rewrite.hostname.clone();
            }
            Filter::Mirror(mirror) => {
                let fraction = mirror.fraction;
                let share = format!("{}/{}", fraction.numerator, fraction.denominator);
                shown.mirrors.push(format!("{share} to {}", name(&mirror.target)));
            }
            Filter::ExternalAuth(auth) => shown.authorized.push(authorizer(auth)),
            Filter::ResponseHeaders(_) | Filter::Redirect(_) | Filter::Cors(_) => {}
        }
    }
    if headers != *head.headers {
        for (name, value) in &headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            shown.headers.entry(name.to_string()).or_default().push(value);
        }
    }
}

fn authorizer(auth: &ExternalAuth) -> String {
    let protocol = match auth.protocol {
        AuthProtocol::Http { .. } => "HTTP",
        AuthProtocol::Grpc { .. } => "gRPC",
    };
    format!("{} by {protocol}", name(&auth.target))
}

fn name(target: &BackendTarget) -> String {
    match target {
        BackendTarget::Service { service, port } => format!("{service}:{port}"),
        BackendTarget::Invalid { reason } => format!("500: {reason}"),
    }
}

/// The node port of a Gateway's port.
fn target_port(
    view: &MeshView,
    gateway: Option<&ObjectName>,
    (transport, port): (Transport, u16),
) -> Option<u16> {
    let gateways = view.config().resources.values().filter_map(|resource| match &**resource {
        Resource::Gateway(found) if gateway.is_none_or(|name| *name == found.name) => Some(found),
        _ => None,
    });
    let is_it = |l: &&mesh_ir::resource::Listener| l.port == port && l.protocol.transport() == transport;
    gateways.flat_map(|g| &g.listeners).find(is_it).map(|l| l.target_port)
}
