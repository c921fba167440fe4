//! Gateways: which of them are ours, whether they can be served, and what their status says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service};
use mesh_ir::name::ObjectName;
use mesh_ir::resource::{self as ir, BackendTarget, Certificate, ClientCertificate, Resource, Tracing};
use serde_json::Value;

use crate::address;
use crate::api;
use crate::api::generated::gateway::GatewayDefaultScope;
use crate::certificate;
use crate::class;
use crate::gateway_service;
use crate::listener::{self, Listener, Owner};
use crate::listener_set::ListenerSet;
use crate::listener_set::merge::merge;
use crate::lookup::Lookup;
use crate::object::{Kind, ObjectId};
use crate::policy;
use crate::status::{Condition, ConditionStatus, Conditions, GatewayAddress, GatewayStatus, Status};
use crate::telemetry;

pub(crate) mod routability;

/// A Gateway of a class of ours, on its way from what it asks for to what it gets. Routes attach in between.
#[derive(Debug, PartialEq)]
pub(crate) struct Gateway {
    pub(crate) object: Arc<api::Gateway>,
    /// Its own.
    pub(crate) listeners: Vec<Listener>,
    /// Those that name it, in the order in which their listeners come after its own.
    pub(crate) listener_sets: Vec<Arc<ListenerSet>>,
    refusal: Option<Refusal>,
    /// What it shows to backends, where it names something.
    client_certificate: Option<Result<Arc<Certificate>, listener::Refusal>>,
    /// How its requests are traced.
    tracing: Option<Arc<Tracing>>,
    /// Somebody else has a Service of the name that its own would have.
    name_taken: bool,
}

/// A reason that Programmed has as well (GEP-1651).
const UNSUPPORTED_ROUTABILITY: &str = "UnsupportedRoutability";

#[derive(Debug, PartialEq)]
enum Refusal {
    /// Accepted is false for this reason.
    No(&'static str, String),
    /// Nobody will decide as long as its class is not accepted.
    Undecided(String),
}

/// What those that are attached to a Gateway are to know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Accepted,
    Refused,
    Undecided,
}

#[derive(Debug, Default)]
pub(crate) struct Finished {
    pub(crate) resources: Vec<Resource>,
    pub(crate) statuses: BTreeMap<ObjectId, Status>,
    pub(crate) owned: Vec<(ObjectId, Value)>,
    pub(crate) addresses: BTreeMap<ObjectId, Vec<IpAddr>>,
}

impl Gateway {
    /// Whether it gets a Service, and its routes are served.
    pub(crate) fn is_accepted(&self) -> bool {
        self.standing() == Standing::Accepted
    }

    pub(crate) fn standing(&self) -> Standing {
        match &self.refusal {
            None if self.listeners.iter().any(Listener::is_accepted) => Standing::Accepted,
            None | Some(Refusal::No(..)) => Standing::Refused,
            Some(Refusal::Undecided(_)) => Standing::Undecided,
        }
    }

    /// All listeners that it is to serve, its own first.
    pub(crate) fn all_listeners(&self) -> impl Iterator<Item = &Listener> {
        let sets = self.listener_sets.iter().filter(|set| set.is_served());
        self.listeners.iter().chain(sets.flat_map(|set| &set.listeners))
    }

    /// The listeners that nodes are told of: those that are served, and beside them on their ports those that are closed.
    fn told(&self) -> Vec<&Listener> {
        let place = |listener: &Listener| (listener.transport(), listener.port);
        let valid = self.all_listeners().filter(|listener| listener.is_valid());
        let served: BTreeSet<(ir::Transport, u16)> = valid.map(place).collect();
        let is_told = |l: &&Listener| l.is_valid() || l.is_closed && served.contains(&place(l));
        self.all_listeners().filter(is_told).collect()
    }

    /// The Services that its listeners ask about requests.
    pub(crate) fn authorizers(&self) -> BTreeSet<ObjectName> {
        let filters = self.all_listeners().filter(|listener| listener.is_valid()).flat_map(|l| &l.filters);
        filters
            .filter_map(|auth| match &auth.target {
                BackendTarget::Service { service, .. } => Some(service.clone()),
                BackendTarget::Invalid { .. } => None,
            })
            .collect()
    }

    /// Whether it is the same to the routes that name it, and not one of its ListenerSets, as their parent.
    pub(crate) fn is_same_to_routes(&self, other: &Self) -> bool {
        self.listeners == other.listeners && self.is_accepted() == other.is_accepted()
    }
}

/// How many routes are attached to the listeners of Gateways and ListenerSets, by place.
pub(crate) type Attached = BTreeMap<Owner, BTreeMap<usize, usize>>;

/// `None` for a Gateway of a class that is not ours.
pub(crate) fn judge(snapshot: &Lookup<'_>, name: &ObjectName) -> Option<Gateway> {
    let object = snapshot.gateways.get(name)?;
    let class = object.spec.gateway_class_name.as_str();
    let refusal = match class::is_accepted(snapshot, class)? {
        true => refuse(&object.spec),
        false => {
            Some(Refusal::Undecided(format!("GatewayClass {class} is not accepted; its status says why")))
        }
    };
    let owner = Owner::Gateway(name.clone());
    let mut listeners = listener::evaluate(snapshot, &owner, &object.spec.listeners, (name, &object.spec));
    listener::find_conflicts(&mut listeners);
    listener::find_overlaps(&mut listeners);
    let name_taken = gateway_service::is_name_taken(snapshot, name);
    let client_certificate = client_certificate(snapshot, name, &object.spec);
    let mut gateway = Gateway {
        object: object.clone(),
        listeners,
        listener_sets: Vec::new(),
        refusal,
        client_certificate,
        tracing: telemetry::of_gateway(snapshot, name).map(Arc::new),
        name_taken,
    };
    gateway.listener_sets = merge(snapshot, name, &mut gateway);
    Some(gateway)
}

/// What makes a whole Gateway impossible to serve as it was asked for.
fn refuse(spec: &api::generated::gateway::GatewaySpec) -> Option<Refusal> {
    if let Some(parameters) = spec.infrastructure.as_ref().and_then(|i| i.parameters_ref.as_ref()) {
        let message = format!(
            "spec.infrastructure.parametersRef names {} {}, and no kind of parameters is supported",
            parameters.kind, parameters.name
        );
        return Some(Refusal::No("InvalidParameters", message));
    }
    for (i, address) in spec.addresses.iter().flatten().enumerate() {
        if let Some(other) = routability::unsupported(address) {
            let message = format!(
                "spec.addresses[{i}].routability: {other} is not supported; write Cluster, or leave it out for the \
                 addresses of a load balancer"
            );
            return Some(Refusal::No(UNSUPPORTED_ROUTABILITY, message));
        }
        let r#type = address.r#type.as_deref().unwrap_or("IPAddress");
        let (reason, wrong) = match (r#type, address.value.as_deref().filter(|v| !v.is_empty())) {
            ("IPAddress", None) => continue,
            ("IPAddress", Some(value)) if value.parse::<IpAddr>().is_ok() => continue,
            ("IPAddress", Some(value)) => {
                ("Invalid", format!("spec.addresses[{i}]: {value} is not an IP address"))
            }
            (other, _) => (
                "UnsupportedAddress",
                format!("spec.addresses[{i}]: type {other} is not supported; IPAddress is"),
            ),
        };
        return Some(Refusal::No(reason, wrong));
    }
    None
}

fn client_certificate(
    snapshot: &Lookup<'_>,
    name: &ObjectName,
    spec: &api::generated::gateway::GatewaySpec,
) -> Option<Result<Arc<Certificate>, listener::Refusal>> {
    let reference = spec.tls.as_ref()?.backend.as_ref()?.client_certificate_ref.as_ref()?;
    Some(certificate::resolve(snapshot, (Kind::Gateway, name), reference).map(Arc::new).map_err(
        |(reason, message)| {
            let reason = if reason == "RefNotPermitted" { reason } else { "InvalidClientCertificateRef" };
            (reason, format!("spec.tls.backend.clientCertificateRef: {message}"))
        },
    ))
}

/// What follows from all Gateways, once routes are attached.
pub(crate) fn finish(
    snapshot: &Lookup<'_>,
    gateways: &BTreeMap<ObjectName, Arc<Gateway>>,
    attached: &Attached,
) -> Finished {
    let mut finished = Finished::default();
    let mut certificates: BTreeMap<ObjectName, Arc<Certificate>> = BTreeMap::new();
    let ports = gateway_service::allocate_ports(snapshot, gateways);
    let pools = address::allocate(snapshot, &requests(snapshot, gateways));
    finished.statuses.extend(pools.statuses);
    for (name, gateway) in gateways {
        let service = gateway_service::of(snapshot, name);
        let mut addresses = addresses(&gateway.object.spec, service);
        if let Some(given) = pools.given.get(name) {
            addresses.pool = Some(given.problem.clone());
            if service.is_some() {
                finished.addresses.insert(gateway_service::id(name), given.addresses.clone());
            }
        }
        if gateway.is_accepted() {
            if !gateway.name_taken {
                finished.owned.extend(gateway_service::objects(snapshot, name, gateway, &ports));
            }
            let told = gateway.told();
            if !told.is_empty() {
                let shown = gateway.client_certificate.iter().flatten();
                for certificate in told.iter().flat_map(|l| &l.certificates).chain(shown) {
                    certificates.insert(certificate.name.clone(), certificate.clone());
                }
                finished.resources.push(resource(
                    name,
                    gateway,
                    &told,
                    addresses.known(&gateway.object.spec),
                    service,
                    &ports,
                ));
            }
        }
        finished.statuses.extend(statuses(name, gateway, &addresses, attached));
    }
    finished
        .resources
        .extend(certificates.into_values().map(|c| Resource::Certificate(Certificate::clone(&c))));
    finished
}

fn resource(
    name: &ObjectName,
    gateway: &Gateway,
    listeners: &[&Listener],
    addresses: &[IpAddr],
    service: Option<&Service>,
    ports: &gateway_service::Ports,
) -> Resource {
    let listeners = listeners.iter().filter_map(|listener| {
        Some(ir::Listener {
            name: listener.name.clone(),
            port: listener.port,
            target_port: *ports.get(&(name.clone(), (listener.transport(), listener.port)))?,
            hostname: listener.hostname.clone(),
            protocol: listener.ir_protocol(),
            client_validation: listener.client_validation.clone(),
            filters: if listener.is_closed { Vec::new() } else { listener.filters.clone() },
            closed: listener.is_closed,
        })
    });
    Resource::Gateway(ir::Gateway {
        name: name.clone(),
        addresses: addresses.to_vec(),
        announced_by: gateway_service::announced_by(service),
        client_certificate: gateway.client_certificate.as_ref().map(|resolved| match resolved {
            Ok(certificate) => ClientCertificate::Shown(certificate.name.clone()),
            Err(_) => ClientCertificate::Unresolved,
        }),
        tracing: gateway.tracing.clone(),
        listeners: listeners.collect(),
    })
}

struct Addresses {
    /// Of a load balancer.
    given: Vec<IpAddr>,
    /// ClusterIPs.
    of_cluster: Vec<IpAddr>,
    hostnames: Vec<String>,
    /// Those that were asked for and are not given.
    missing: Vec<String>,
    /// AddressPools give its addresses; why they do not give all that it asked for.
    pool: Option<Option<String>>,
}

impl Addresses {
    fn are_any(&self) -> bool {
        !(self.given.is_empty() && self.of_cluster.is_empty() && self.hostnames.is_empty())
    }

    /// What the nodes know it by, and announce where they are told to: ClusterIPs, which no network has, only where it
    /// has nothing else.
    fn known(&self, spec: &api::generated::gateway::GatewaySpec) -> &[IpAddr] {
        if routability::has_balancer(spec) { &self.given } else { &self.of_cluster }
    }
}

/// What the Gateways that are served want of the AddressPools.
fn requests(
    snapshot: &Lookup<'_>,
    gateways: &BTreeMap<ObjectName, Arc<Gateway>>,
) -> BTreeMap<ObjectName, address::Request> {
    let served = gateways.iter().filter(|(_, gateway)| {
        gateway.is_accepted() && !gateway.name_taken && routability::has_balancer(&gateway.object.spec)
    });
    let request = |(name, gateway): (&ObjectName, &Arc<Gateway>)| {
        let service = gateway_service::of(snapshot, name);
        let request = address::Request {
            created: policy::created(&gateway.object.metadata),
            wanted: routability::wanted_of_balancer(&gateway.object.spec)
                .filter_map(|address| address.parse().ok())
                .collect(),
            present: ingress(service).filter_map(|i| i.ip.as_deref()?.parse().ok()).collect(),
            is_ours: gateway_service::announced_by(service).is_some(),
            families: service.and_then(|service| service.spec.as_ref()?.ip_families.clone()),
        };
        (name.clone(), request)
    };
    served.map(request).collect()
}

fn ingress(service: Option<&Service>) -> impl Iterator<Item = &LoadBalancerIngress> {
    let balancer = service.and_then(|s| s.status.as_ref()).and_then(|status| status.load_balancer.as_ref());
    balancer.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten())
}

/// What its Service was given, as far as the Gateway asked for it.
fn addresses(spec: &api::generated::gateway::GatewaySpec, service: Option<&Service>) -> Addresses {
    let balancer = || ingress(service).filter(|_| routability::has_balancer(spec));
    let mut given: Vec<IpAddr> = balancer().filter_map(|i| i.ip.as_deref()?.parse().ok()).collect();
    let mut hostnames: Vec<String> = balancer().filter_map(|i| i.hostname.clone()).collect();
    let mut of_cluster = match routability::has_cluster(spec) {
        true => service.map(routability::cluster_ips).unwrap_or_default(),
        false => Vec::new(),
    };
    let wanted: Vec<&str> = routability::wanted_of_balancer(spec).collect();
    let mut missing = choose(&mut given, &wanted);
    if !wanted.is_empty() {
        hostnames.clear();
    }
    missing.extend(choose(&mut of_cluster, &routability::wanted_of_cluster(spec).collect::<Vec<_>>()));
    Addresses { given, of_cluster, hostnames, missing, pool: None }
}

/// Keeps of the addresses those that are wanted, where some are; gives those that are not there.
fn choose(given: &mut Vec<IpAddr>, wanted: &[&str]) -> Vec<String> {
    let missing = wanted.iter().filter(|wanted| !wanted.parse().is_ok_and(|ip| given.contains(&ip)));
    let missing = missing.map(|&wanted| wanted.to_owned()).collect();
    given.retain(|ip| wanted.is_empty() || wanted.iter().any(|wanted| wanted.parse() == Ok(*ip)));
    missing
}

/// Of a Gateway and of its ListenerSets.
fn statuses(
    name: &ObjectName,
    gateway: &Gateway,
    addresses: &Addresses,
    attached: &Attached,
) -> Vec<(ObjectId, Status)> {
    let attached = |owner: Owner| {
        let places = attached.get(&owner);
        move |place: usize| places.and_then(|places| places.get(&place)).copied().unwrap_or_default()
    };
    let listening = listening(gateway, addresses);
    let own = status(gateway, addresses, &listening, attached(Owner::Gateway(name.clone())));
    let mut statuses = vec![(ObjectId::namespaced(Kind::Gateway, name), Status::Gateway(own))];
    let programmed = unreachable(gateway, addresses).is_none();
    for set in &gateway.listener_sets {
        let status = set.status(&listening, programmed, attached(Owner::ListenerSet(set.name.clone())));
        let id = ObjectId::namespaced(Kind::ListenerSet, &set.name);
        statuses.push((id, Status::ListenerSet(status)));
    }
    statuses
}

/// Why no listener of a Gateway can be reached, whatever it is.
fn listening(gateway: &Gateway, addresses: &Addresses) -> Result<(), listener::Refusal> {
    if !gateway.is_accepted() {
        return Err(("Invalid", "The Gateway is not accepted".into()));
    }
    match addresses.are_any() {
        true => Ok(()),
        false => Err(("Pending", "The Gateway has no address yet".into())),
    }
}

fn status(
    gateway: &Gateway,
    addresses: &Addresses,
    listening: &Result<(), listener::Refusal>,
    attached: impl Fn(usize) -> usize,
) -> GatewayStatus {
    let conditions = Conditions { generation: gateway.object.metadata.generation };
    let mut shown = Vec::new();
    if gateway.is_accepted() {
        let address = |r#type, value, routability| GatewayAddress { r#type, value, routability };
        let ips = addresses.given.iter().map(|ip| address("IPAddress", ip.to_string(), None));
        let names = addresses.hostnames.iter().map(|name| address("Hostname", name.clone(), None));
        let of_cluster = addresses.of_cluster.iter();
        let of_cluster =
            of_cluster.map(|ip| address("IPAddress", ip.to_string(), Some(routability::CLUSTER)));
        shown.extend(ips.chain(names).chain(of_cluster));
    }
    // Where no ListenerSet may attach and none wants to, there is nothing to count.
    let counts = gateway.object.spec.allowed_listeners.is_some() || !gateway.listener_sets.is_empty();
    let sets = || gateway.listener_sets.iter().filter(|set| set.is_accepted()).count();
    GatewayStatus {
        addresses: shown,
        conditions: [
            accepted(gateway, conditions),
            resolved_refs(gateway, conditions),
            programmed(gateway, addresses, conditions),
        ]
        .into_iter()
        .chain(default_scope(gateway, conditions))
        .chain(insecure_clients(gateway, conditions))
        .collect(),
        listeners: gateway
            .listeners
            .iter()
            .enumerate()
            .map(|(place, l)| l.status(conditions, listening.clone(), attached(place)))
            .collect(),
        attached_listener_sets: counts.then(|| u32::try_from(sets()).unwrap_or(u32::MAX)),
    }
}

fn accepted(gateway: &Gateway, conditions: Conditions) -> Condition {
    match &gateway.refusal {
        Some(Refusal::No(reason, message)) => return conditions.no("Accepted", reason, message.clone()),
        Some(Refusal::Undecided(message)) => {
            return conditions.condition("Accepted", ConditionStatus::Unknown, "Pending", message.clone());
        }
        None => {}
    }
    let complaints: Vec<String> = gateway.listeners.iter().filter_map(Listener::complaint).collect();
    if complaints.is_empty() {
        return conditions.ok("Accepted", "Accepted", "Served by Weir");
    }
    let status = if gateway.is_accepted() { ConditionStatus::True } else { ConditionStatus::False };
    conditions.condition("Accepted", status, "ListenersNotValid", complaints.join("; "))
}

/// That it claims routes which ask for a default Gateway (GEP-3793); the others have no such condition.
fn default_scope(gateway: &Gateway, conditions: Conditions) -> Option<Condition> {
    let is_default = gateway.object.spec.default_scope == Some(GatewayDefaultScope::All);
    is_default.then(|| conditions.ok("DefaultGateway", "DefaultScope", "Gateway has default scope All"))
}

/// That clients are let in who prove nothing.
fn insecure_clients(gateway: &Gateway, conditions: Conditions) -> Option<Condition> {
    let message = "spec.tls.frontend lets clients in without a certificate, or with one that is not good: what they \
                   may do is for the backends to decide";
    let insecure = listener::allows_insecure_clients(&gateway.object.spec);
    insecure.then(|| conditions.ok("InsecureFrontendValidationMode", "ConfigurationChanged", message))
}

fn resolved_refs(gateway: &Gateway, conditions: Conditions) -> Condition {
    if let Some(Err((reason, message))) = &gateway.client_certificate {
        return conditions.no("ResolvedRefs", reason, message.clone());
    }
    let unresolved = gateway.listeners.iter().filter(|l| !l.has_resolved_refs());
    let names: Vec<&str> = unresolved.map(|l| l.name.section()).collect();
    match names.is_empty() {
        true => conditions.ok("ResolvedRefs", "ResolvedRefs", "All references are resolved"),
        false => {
            let message = format!("References of these listeners are not resolved: {}", names.join(", "));
            conditions.no("ResolvedRefs", "ListenersNotResolved", message)
        }
    }
}

fn programmed(gateway: &Gateway, addresses: &Addresses, conditions: Conditions) -> Condition {
    let no = |reason, message: String| conditions.no("Programmed", reason, message);
    if let Some(Refusal::Undecided(message)) = &gateway.refusal {
        return conditions.condition("Programmed", ConditionStatus::Unknown, "Pending", message.clone());
    }
    if let Some(Refusal::No(reason @ UNSUPPORTED_ROUTABILITY, message)) = &gateway.refusal {
        return no(*reason, message.clone());
    }
    if !gateway.is_accepted() {
        return no("Invalid", "The Gateway is not accepted".into());
    }
    if !gateway.listeners.iter().any(Listener::is_valid) {
        return no("Invalid", "None of its listeners can be served; their conditions say why".into());
    }
    match unreachable(gateway, addresses) {
        Some((reason, message)) => no(reason, message),
        None => conditions.ok("Programmed", "Programmed", "The nodes are told to serve it"),
    }
}

/// Why clients cannot reach an accepted Gateway, whatever its listeners are.
fn unreachable(gateway: &Gateway, addresses: &Addresses) -> Option<listener::Refusal> {
    let no = |reason, message: String| Some((reason, message));
    if gateway.name_taken {
        let service =
            gateway_service::service_name(gateway.object.metadata.name.as_deref().unwrap_or_default());
        let message = format!(
            "It needs a Service called {service}, and there is one that Weir did not make; rename that"
        );
        return no("AddressNotAssigned", message);
    }
    if !addresses.missing.is_empty() && addresses.pool == Some(None) {
        let message = "Its Service has not all of spec.addresses yet; an AddressPool has them for it";
        return no("AddressNotAssigned", message.into());
    }
    if !addresses.missing.is_empty() {
        let message = addresses.pool.clone().flatten().unwrap_or_else(|| {
            format!(
                "These addresses of spec.addresses could not be given to it: {}; ask for others, or for none",
                addresses.missing.join(", ")
            )
        });
        return no("AddressNotUsable", message);
    }
    let spec = &gateway.object.spec;
    if routability::has_balancer(spec) && addresses.given.is_empty() && addresses.hostnames.is_empty() {
        let message = match &addresses.pool {
            Some(Some(problem)) => problem.as_str(),
            Some(None) => "Its Service has no address yet; an AddressPool has one for it",
            None => {
                "Its Service has no address yet; something in the cluster must give addresses to Services of \
                 type LoadBalancer"
            }
        };
        return no("AddressNotAssigned", message.into());
    }
    if routability::has_cluster(spec) && addresses.of_cluster.is_empty() {
        return no("AddressNotAssigned", "Its Service has no ClusterIP yet".into());
    }
    None
}
