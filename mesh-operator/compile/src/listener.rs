//! Listeners of Gateways and ListenerSets: which of them are valid, which routes they let attach, and what their status says.

use std::fmt;
use std::sync::Arc;

use mesh_ir::name::{Hostname, ListenerName, ObjectName};
use mesh_ir::resource::{
    Certificate, ClientValidation, ExternalAuth, ListenerProtocol, RouteKind, Transport,
};

use crate::api::GATEWAY_GROUP;
use crate::api::generated::gateway::{
    GatewayListeners, GatewayListenersAllowedRoutesNamespaces as Namespaces,
    GatewayListenersAllowedRoutesNamespacesFrom as From, GatewayListenersTlsMode as Mode, GatewaySpec,
    GatewayTlsFrontendDefaultValidation as Validation, GatewayTlsFrontendDefaultValidationMode as ClientMode,
};
use crate::authorities::{self, Reference, Wrong};
use crate::certificate;
use crate::listener_filter;
use crate::lookup::Lookup;
use crate::object::Kind;
use crate::selector;
use crate::status::{Condition, Conditions, ListenerStatus, RouteGroupKind};

pub(crate) type Refusal = (&'static str, String);

/// The object whose listeners they are, and which routes name as their parent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Gateway(ObjectName),
    ListenerSet(ObjectName),
}

impl Owner {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Gateway(_) => Kind::Gateway,
            Self::ListenerSet(_) => Kind::ListenerSet,
        }
    }

    pub(crate) fn name(&self) -> &ObjectName {
        match self {
            Self::Gateway(name) | Self::ListenerSet(name) => name,
        }
    }

    /// What tells its listeners from others of a Gateway.
    fn set(&self) -> Option<&ObjectName> {
        match self {
            Self::Gateway(_) => None,
            Self::ListenerSet(name) => Some(name),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind().as_str(), self.name())
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Listener {
    pub(crate) name: ListenerName,
    pub(crate) port: u16,
    pub(crate) hostname: Option<Hostname>,
    /// As its owner writes it.
    pub(crate) protocol: String,
    /// TLS is not ended here.
    passes_tls_through: bool,
    /// Of the kinds that its protocol can carry, those that it lets attach.
    kinds: Vec<RouteKind>,
    namespaces: Namespaces,
    pub(crate) accepted: Result<(), Refusal>,
    pub(crate) conflict: Option<Refusal>,
    pub(crate) overlap: Option<String>,
    resolved: Result<(), Refusal>,
    pub(crate) certificates: Vec<Arc<Certificate>>,
    /// What clients must prove, where TLS is ended here.
    pub(crate) client_validation: Option<Arc<ClientValidation>>,
    /// What is wrong with that. Of several authorities those that are not wrong are served.
    client_authorities: Result<(), Refusal>,
    /// What its requests pass before their route is looked for.
    pub(crate) filters: Vec<ExternalAuth>,
    /// What is wrong with what those refer to. They are served all the same, and refuse.
    filter_references: Result<(), Refusal>,
    /// Whether its requests are to pass filters, those that cannot be served among them.
    is_filtered: bool,
    /// Whether it holds its hosts although it is not served, so that what was to pass its filters passes nowhere else.
    pub(crate) is_closed: bool,
}

/// The listeners of a Gateway, or of a ListenerSet of it, each for itself. Listeners without a well-formed name or port are
/// not among them (the API server lets none through).
pub(crate) fn evaluate(
    snapshot: &Lookup<'_>,
    owner: &Owner,
    listeners: &[GatewayListeners],
    (gateway, spec): (&ObjectName, &GatewaySpec),
) -> Vec<Listener> {
    let one = |listener: &GatewayListeners| {
        // What clients must prove is the Gateway's to say, and what it refers to as well.
        let validation = validation(spec, listener.port).map(|validation| (gateway, validation));
        self::one(snapshot, owner, listener, validation)
    };
    listeners.iter().filter_map(one).collect()
}

/// Whether a Gateway asks clients for certificates and lets them in without.
pub(crate) fn allows_insecure_clients(spec: &GatewaySpec) -> bool {
    let frontend = spec.tls.as_ref().and_then(|tls| tls.frontend.as_ref());
    let default = frontend.and_then(|frontend| frontend.default.validation.as_ref());
    let per_port = frontend.iter().flat_map(|frontend| frontend.per_port.iter().flatten());
    let mut all = default.into_iter().chain(per_port.filter_map(|port| port.tls.validation.as_ref()));
    all.any(|validation| validation.mode == Some(ClientMode::AllowInsecureFallback))
}

/// What a Gateway asks of the clients of one of its ports.
fn validation(spec: &GatewaySpec, port: i32) -> Option<&Validation> {
    let frontend = spec.tls.as_ref()?.frontend.as_ref()?;
    match frontend.per_port.iter().flatten().find(|per_port| per_port.port == port) {
        Some(per_port) => per_port.tls.validation.as_ref(),
        None => frontend.default.validation.as_ref(),
    }
}

impl Listener {
    /// Whether it is distinct and of a kind that we serve, its references aside.
    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted.is_ok() && self.conflict.is_none()
    }

    /// Whether nodes serve it.
    pub(crate) fn is_valid(&self) -> bool {
        // A kind of route that is not known does not keep the known ones from being served.
        let refs = match &self.resolved {
            Ok(()) => true,
            Err((reason, _)) => *reason == "InvalidRouteKinds" && !self.kinds.is_empty(),
        };
        self.is_accepted() && refs
    }

    /// Whether another listener would take its requests past its filters.
    pub(crate) fn is_to_be_closed(&self) -> bool {
        self.is_filtered && !self.is_valid() && self.conflict.is_none()
    }

    pub(crate) fn has_resolved_refs(&self) -> bool {
        self.references().is_ok()
    }

    /// All that it refers to: certificates, kinds of routes, what its clients must prove, and who is asked about its requests.
    fn references(&self) -> Result<&(), &Refusal> {
        self.resolved.as_ref().and(self.client_authorities.as_ref()).and(self.filter_references.as_ref())
    }

    /// Whether routes of this kind in this namespace may attach.
    pub(crate) fn allows(
        &self,
        snapshot: &Lookup<'_>,
        owner: &Owner,
        kind: RouteKind,
        namespace: &str,
    ) -> bool {
        let namespace_allowed = match self.namespaces.from.as_ref().unwrap_or(&From::Same) {
            From::All => true,
            From::Same => namespace == owner.name().namespace.as_str(),
            From::Selector => {
                selector::matches_namespace(snapshot, self.namespaces.selector.as_ref(), namespace)
            }
        };
        namespace_allowed && self.kinds.contains(&kind)
    }

    pub(crate) fn ir_protocol(&self) -> ListenerProtocol {
        let certificates = || self.certificates.iter().map(|c| c.name.clone()).collect();
        match self.protocol.as_str() {
            "HTTPS" => ListenerProtocol::Https { certificates: certificates() },
            "TLS" if self.passes_tls_through => ListenerProtocol::TlsPassthrough,
            "TLS" => ListenerProtocol::Tls { certificates: certificates() },
            "TCP" => ListenerProtocol::Tcp,
            "UDP" => ListenerProtocol::Udp,
            _ => ListenerProtocol::Http,
        }
    }

    /// For a message.
    pub(crate) fn shown_hostname(&self) -> String {
        self.hostname.as_ref().map_or("every hostname".into(), |hostname| format!("hostname {hostname}"))
    }

    pub(crate) fn transport(&self) -> Transport {
        transport(&self.protocol)
    }

    pub(crate) fn is_tls(&self) -> bool {
        is_tls(&self.protocol)
    }

    /// For its owner's conditions: which listener it is and what is wrong with it.
    pub(crate) fn complaint(&self) -> Option<String> {
        let wrong = self.accepted.as_ref().err().or(self.conflict.as_ref()).or(self.references().err())?;
        Some(format!("listener {}: {}", self.name.section(), wrong.1))
    }

    /// `gateway` is whether the Gateway can be served, or else the reason why it is not programmed; `attached` the number
    /// of the routes whose Accepted condition is true for this listener.
    pub(crate) fn status(
        &self,
        conditions: Conditions,
        gateway: Result<(), Refusal>,
        attached: usize,
    ) -> ListenerStatus {
        let of = |r#type, result: Result<&(), &Refusal>, ok: &'static str, message: &str| match result {
            Ok(_) => conditions.ok(r#type, ok, message),
            Err((reason, message)) => conditions.no(r#type, reason, message.clone()),
        };
        let accepted = match &self.conflict {
            Some(refusal) => Err(refusal),
            None => self.accepted.as_ref(),
        };
        let mut list = vec![of("Accepted", accepted, "Accepted", "The listener is valid")];
        list.push(match &self.conflict {
            Some((reason, message)) => conditions.ok("Conflicted", reason, message.clone()),
            None => conditions.no("Conflicted", "NoConflicts", "No other listener is in its way"),
        });
        if let Some(message) = &self.overlap {
            list.push(conditions.ok("OverlappingTLSConfig", "OverlappingHostnames", message.clone()));
        }
        list.push(of("ResolvedRefs", self.references(), "ResolvedRefs", "All references are resolved"));
        list.push(self.programmed(conditions, gateway));
        ListenerStatus {
            name: self.name.section().to_owned(),
            supported_kinds: self
                .kinds
                .iter()
                .map(|k| RouteGroupKind { group: GATEWAY_GROUP, kind: k.as_kind() })
                .collect(),
            attached_routes: u32::try_from(attached).unwrap_or(u32::MAX),
            conditions: list,
        }
    }

    fn programmed(&self, conditions: Conditions, gateway: Result<(), Refusal>) -> Condition {
        if let Some((reason, message)) = &self.conflict {
            return conditions.no("Programmed", reason, message.clone());
        }
        if !self.is_valid() {
            let message = "The listener is not served; its other conditions say why";
            return conditions.no("Programmed", "Invalid", message);
        }
        match gateway {
            Ok(()) => conditions.ok("Programmed", "Programmed", "The nodes are told to serve it"),
            Err((reason, message)) => conditions.no("Programmed", reason, message),
        }
    }
}

fn is_tls(protocol: &str) -> bool {
    matches!(protocol, "HTTPS" | "TLS")
}

/// By what the clients of a protocol come.
pub(crate) fn transport(protocol: &str) -> Transport {
    if protocol == Transport::Udp.name() { Transport::Udp } else { Transport::Tcp }
}

/// Whether clients may reach listeners of both protocols by one port, told apart by a hostname: in the request, or in the
/// ClientHello.
pub(crate) fn share_ports(protocol: &str, other: &str) -> bool {
    protocol == other || is_tls(protocol) && is_tls(other)
}

fn one(
    snapshot: &Lookup<'_>,
    owner: &Owner,
    spec: &GatewayListeners,
    client_validation: Option<(&ObjectName, &Validation)>,
) -> Option<Listener> {
    let hostname = match spec.hostname.as_deref().filter(|h| !h.is_empty()) {
        Some(hostname) => Some(hostname.parse().ok()?),
        None => None,
    };
    let mode = spec.tls.as_ref().and_then(|tls| tls.mode.as_ref());
    let passes_tls_through = spec.protocol == "TLS" && mode == Some(&Mode::Passthrough);
    let ends_tls = matches!(spec.protocol.as_str(), "HTTPS" | "TLS") && !passes_tls_through;
    let carried: &[RouteKind] = match spec.protocol.as_str() {
        "HTTP" | "HTTPS" => &[RouteKind::Http, RouteKind::Grpc],
        "TLS" if passes_tls_through => &[RouteKind::Tls],
        "TLS" => &[RouteKind::Tls, RouteKind::Tcp],
        "TCP" => &[RouteKind::Tcp],
        "UDP" => &[RouteKind::Udp],
        _ => &[],
    };
    let mut accepted = if carried.is_empty() {
        let message =
            format!("protocol {} is not supported; HTTP, HTTPS, TLS, TCP and UDP are", spec.protocol);
        Err(("UnsupportedProtocol", message))
    } else {
        Ok(())
    };
    let filters = listener_filter::evaluate(snapshot, owner, spec);
    accepted = accepted.and(filters.accepted);
    let (kinds, unknown) = allowed_kinds(spec, carried);
    let mut resolved = match unknown.is_empty() {
        true => Ok(()),
        false => {
            let message =
                format!("allowedRoutes.kinds: {} cannot attach to {}", unknown.join(", "), spec.protocol);
            Err(("InvalidRouteKinds", message))
        }
    };
    let mut certificates = Vec::new();
    if ends_tls {
        match certificates_of(snapshot, owner, spec) {
            Ok(found) => certificates = certificate::unique(found),
            Err(refusal) => resolved = Err(refusal),
        }
    }
    let client_validation = client_validation.filter(|_| ends_tls);
    let client_validation = client_validation.map(|(gateway, v)| validated(snapshot, gateway, v));
    let (client_validation, client_authorities) = client_validation.unwrap_or((None, Ok(())));
    if let (None, Err((_, message))) = (&client_validation, &client_authorities) {
        accepted = accepted.and(Err(("NoValidCACertificate", message.clone())));
    }
    Some(Listener {
        name: ListenerName::new(owner.set().cloned(), &spec.name).ok()?,
        port: crate::service::port_number(spec.port)?,
        hostname,
        protocol: spec.protocol.clone(),
        passes_tls_through,
        kinds,
        namespaces: spec.allowed_routes.as_ref().and_then(|a| a.namespaces.clone()).unwrap_or_default(),
        accepted,
        conflict: None,
        overlap: None,
        resolved,
        certificates,
        client_validation,
        client_authorities,
        filters: filters.filters,
        filter_references: filters.resolved,
        is_filtered: filters.are_any,
        is_closed: false,
    })
}

/// The kinds of routes that may attach, and the names of those that are asked for and cannot.
fn allowed_kinds(spec: &GatewayListeners, carried: &[RouteKind]) -> (Vec<RouteKind>, Vec<String>) {
    let asked = spec.allowed_routes.as_ref().and_then(|allowed| allowed.kinds.as_deref()).unwrap_or_default();
    if asked.is_empty() {
        return (carried.to_vec(), Vec::new());
    }
    let (mut kinds, mut unknown) = (Vec::new(), Vec::new());
    for kind in asked {
        let is_ours = kind.group.as_deref().unwrap_or(GATEWAY_GROUP) == GATEWAY_GROUP;
        match RouteKind::from_kind(&kind.kind).filter(|k| is_ours && carried.contains(k)) {
            Some(kind) if kinds.contains(&kind) => {}
            Some(kind) => kinds.push(kind),
            None if is_ours => unknown.push(kind.kind.clone()),
            None => {
                let group = kind.group.as_deref().unwrap_or_default();
                unknown.push(format!("{} of group {group}", kind.kind));
            }
        }
    }
    (kinds, unknown)
}

/// What clients must prove by the authorities that could be resolved, if any, and what is wrong with the others.
fn validated(
    snapshot: &Lookup<'_>,
    gateway: &ObjectName,
    validation: &Validation,
) -> (Option<Arc<ClientValidation>>, Result<(), Refusal>) {
    let references = validation.ca_certificate_refs.iter().map(|reference| Reference {
        group: &reference.group,
        kind: &reference.kind,
        namespace: reference.namespace.as_deref(),
        name: &reference.name,
    });
    let from = (Kind::Gateway, gateway.namespace.as_str());
    let field = "the Gateway's spec.tls.frontend: caCertificateRefs";
    let found = authorities::gather(snapshot, from, field, references);
    let problems = match found.problems.first() {
        // The API server lets no empty list through; one that asks for nothing is not what lets everybody in.
        None if found.pem.is_empty() => Err(("InvalidCACertificateRef", format!("{field} is empty"))),
        None => Ok(()),
        Some((wrong, _)) => {
            let reason = match wrong {
                Wrong::Kind => "InvalidCACertificateKind",
                Wrong::NotPermitted => "RefNotPermitted",
                Wrong::Unusable => "InvalidCACertificateRef",
            };
            let problems: Vec<&str> = found.problems.iter().map(|(_, problem)| problem.as_str()).collect();
            Err((reason, problems.join("; ")))
        }
    };
    let client_validation = (!found.pem.is_empty()).then(|| {
        Arc::new(ClientValidation {
            authorities: found.pem,
            allow_insecure: validation.mode == Some(ClientMode::AllowInsecureFallback),
        })
    });
    (client_validation, problems)
}

fn certificates_of(
    snapshot: &Lookup<'_>,
    owner: &Owner,
    spec: &GatewayListeners,
) -> Result<Vec<Arc<Certificate>>, Refusal> {
    let references = spec.tls.as_ref().and_then(|tls| tls.certificate_refs.as_deref()).unwrap_or_default();
    if references.is_empty() {
        return Err(("InvalidCertificateRef", "tls.certificateRefs names no certificate".into()));
    }
    let resolve = |(i, reference)| {
        certificate::resolve(snapshot, (owner.kind(), owner.name()), reference)
            .map(Arc::new)
            .map_err(|(reason, message)| (reason, format!("tls.certificateRefs[{i}]: {message}")))
    };
    references.iter().enumerate().map(resolve).collect()
}

/// Listeners of one object that are not distinct conflict, and none of them wins (the specification forbids it).
pub(crate) fn find_conflicts(listeners: &mut [Listener]) {
    let conflict = |i: usize, this: &Listener| {
        let others = || {
            let others = listeners
                .iter()
                .enumerate()
                .filter(|(j, o)| *j != i && o.port == this.port && o.transport() == this.transport());
            others.map(|(_, other)| other).filter(|other| other.is_accepted())
        };
        let protocol = others().find(|other| !share_ports(&this.protocol, &other.protocol)).map(|other| {
            let message = format!(
                "port {} is for {} here and for {} in listener {}",
                this.port,
                this.protocol,
                other.protocol,
                other.name.section()
            );
            ("ProtocolConflict", message)
        });
        let hostname = others().find(|other| other.hostname == this.hostname).map(|other| {
            let (shown, section) = (this.shown_hostname(), other.name.section());
            let message = format!("port {} and {shown} are those of listener {section} too", this.port);
            ("HostnameConflict", message)
        });
        protocol.or(hostname)
    };
    let of_each = |(i, this): (usize, &Listener)| this.is_accepted().then(|| conflict(i, this)).flatten();
    let conflicts: Vec<Option<Refusal>> = listeners.iter().enumerate().map(of_each).collect();
    for (listener, conflict) in listeners.iter_mut().zip(conflicts) {
        listener.conflict = listener.conflict.take().or(conflict);
    }
}

/// TLS listeners of one object and port whose hostnames overlap must be told so: a client may reuse a connection that was made
/// for one of them to ask another.
pub(crate) fn find_overlaps(listeners: &mut [Listener]) {
    for i in 0..listeners.len() {
        let this = &listeners[i];
        if !this.is_tls() || !this.is_accepted() {
            continue;
        }
        let overlaps = |other: &&Listener| match (&this.hostname, &other.hostname) {
            (Some(a), Some(b)) => a.intersect(b).is_some(),
            _ => true,
        };
        let others = listeners
            .iter()
            .enumerate()
            .filter(|(j, o)| *j != i && o.port == this.port && o.is_tls() && o.is_accepted());
        let names: Vec<String> = others
            .map(|(_, other)| other)
            .filter(overlaps)
            .map(|other| other.name.section().to_owned())
            .collect();
        if !names.is_empty() {
            listeners[i].overlap = Some(format!("Its hostname overlaps with that of {}", names.join(", ")));
        }
    }
}
