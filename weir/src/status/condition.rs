//! The conditions of a status that are not as wanted, and what to do about each.

use serde::Serialize;
use serde_json::Value;

use crate::operator::StatusEntry;

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Complaint {
    /// `HTTPRoute bookinfo/reviews`.
    pub(crate) object: String,
    /// The part of it that this is about: `listener http`, `parent Service reviews`; empty for all of it.
    pub(crate) part: String,
    /// The conditions that say so: `Accepted=False`; none where it is about the status as a whole.
    pub(crate) conditions: Vec<String>,
    pub(crate) reason: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) advice: Option<&'static str>,
}

pub(crate) fn name(entry: &StatusEntry) -> String {
    match &entry.namespace {
        Some(namespace) => format!("{} {namespace}/{}", entry.kind, entry.name),
        None => format!("{} {}", entry.kind, entry.name),
    }
}

/// All that is wrong with an object, in the order of its status.
pub(crate) fn complaints(entry: &StatusEntry) -> Vec<Complaint> {
    let mut complaints: Vec<Complaint> = Vec::new();
    for (part, condition) in conditions(&entry.status) {
        let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
        let (kind, status) = (text("type"), text("status"));
        if wanted(&kind).is_none_or(|wanted| wanted == status) {
            continue;
        }
        let (reason, message) = (text("reason"), text("message"));
        let shown = format!("{kind}={status}");
        match complaints.iter_mut().find(|c| c.part == part && c.message == message && c.reason == reason) {
            Some(same) => same.conditions.push(shown),
            None => complaints.push(Complaint {
                object: name(entry),
                advice: advice(&entry.kind, &reason),
                part,
                conditions: vec![shown],
                reason,
                message,
            }),
        }
    }
    complaints.extend(outdated(entry));
    complaints
}

/// What a status says of an older object than the one that is there, or does not say at all.
fn outdated(entry: &StatusEntry) -> Option<Complaint> {
    let generation = entry.generation?;
    let ours = conditions(&entry.status).into_iter();
    let ours = ours.filter(|(_, condition)| condition["type"].as_str().is_some_and(|t| wanted(t).is_some()));
    let observed: Vec<i64> =
        ours.map(|(_, c)| c["observedGeneration"].as_i64().unwrap_or(generation)).collect();
    let (reason, message) = match observed.iter().min() {
        None => ("NoStatus", "Nothing has been said of it".to_owned()),
        Some(oldest) if *oldest < generation => {
            let message = format!("What is said of it is of its generation {oldest}; it is at {generation}");
            ("Outdated", message)
        }
        Some(_) => return None,
    };
    Some(Complaint {
        object: name(entry),
        part: String::new(),
        conditions: Vec::new(),
        advice: advice(&entry.kind, reason),
        reason: reason.to_owned(),
        message,
    })
}

/// Every condition, with the part of the object that it is about.
fn conditions(status: &Value) -> Vec<(String, &Value)> {
    let own = list_of(status, "conditions").iter().map(|condition| (String::new(), condition));
    let mut all: Vec<(String, &Value)> = own.collect();
    for (field, what) in [("listeners", "listener"), ("parents", "parent"), ("ancestors", "target")] {
        for part in list_of(status, field) {
            let part_name = match part.get("parentRef").or(part.get("ancestorRef")) {
                Some(reference) => format!("{what} {}", reference_words(reference)),
                None => format!("{what} {}", part["name"].as_str().unwrap_or_default()),
            };
            all.extend(list_of(part, "conditions").iter().map(|condition| (part_name.clone(), condition)));
        }
    }
    all
}

fn list_of<'v>(value: &'v Value, field: &str) -> &'v [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A parentRef, as far as it is written out; its kind is Gateway where it names none.
fn reference_words(reference: &Value) -> String {
    let text = |field: &str| reference[field].as_str();
    let mut words = format!("{} ", text("kind").unwrap_or("Gateway"));
    if let Some(namespace) = text("namespace") {
        words.push_str(namespace);
        words.push('/');
    }
    words.push_str(text("name").unwrap_or_default());
    if let Some(section) = text("sectionName") {
        words.push_str(" section ");
        words.push_str(section);
    }
    if let Some(port) = reference["port"].as_i64() {
        words.push_str(&format!(" port {port}"));
    }
    words
}

/// The status that a condition has when all is well; none for conditions that say nothing about that.
fn wanted(condition: &str) -> Option<&'static str> {
    match condition {
        "Accepted" | "Programmed" | "ResolvedRefs" => Some("True"),
        "PartiallyInvalid" | "Conflicted" => Some("False"),
        _ => None,
    }
}

fn advice(kind: &str, reason: &str) -> Option<&'static str> {
    Some(match (kind, reason) {
        ("TLSRoute" | "TCPRoute", "BackendNotFound") => {
            "create that Service, or correct backendRefs; until then its share of the connections is refused"
        }
        ("UDPRoute", "BackendNotFound") => {
            "create that Service, or correct backendRefs; until then its share of the clients' datagrams is dropped"
        }
        (_, "BackendNotFound") => {
            "create that Service, or correct backendRefs; until then its share is answered 500"
        }
        (_, "RefNotPermitted") => {
            "add a ReferenceGrant in the namespace that is referred to, or refer to an object of the own one"
        }
        ("BackendTLSPolicy", "InvalidKind") => {
            "name ConfigMaps (or Secrets, or ClusterTrustBundles) in validation.caCertificateRefs"
        }
        (_, "InvalidKind") => "backendRefs can name Services only",
        ("HTTPRoute" | "GRPCRoute", "UnsupportedProtocol") => {
            "correct the Service's appProtocol, or say by a BackendTLSPolicy how its TLS is verified"
        }
        ("TLSRoute" | "TCPRoute", "UnsupportedProtocol") => "refer to a TCP port of the Service",
        ("UDPRoute", "UnsupportedProtocol") => "refer to a UDP port of the Service",
        (_, "NoMatchingParent") => "correct name, namespace, sectionName or port of that parentRef",
        (_, "NotAllowedByListeners") => "set allowedRoutes of the listener, or move the route",
        (_, "NoMatchingListenerHostname") => {
            "give the route a hostname that the listener serves, or widen the listener's"
        }
        (_, "UnsupportedValue") => {
            "change what the message names; the rest of the object applies where it can"
        }
        (_, "TargetNotFound") => "create the Service, or correct targetRefs",
        ("BackendPolicy" | "BackendTLSPolicy" | "XBackendTrafficPolicy", "Conflicted") => {
            "remove one of the two policies, or let them target different Services"
        }
        ("HTTPRoute" | "TLSRoute" | "TCPRoute", "Conflicted") => {
            "attach it to another port of the Service, or remove the route that the message names"
        }
        ("ListenerSet", "NotAllowed") => {
            "set spec.allowedListeners of the Gateway, or move the ListenerSet to a namespace that it lets attach"
        }
        (_, "ParentNotAccepted" | "ParentNotProgrammed") => "see the Gateway that parentRef names",
        (_, "PortUnavailable") => "use a port that the Gateway has already, or another Gateway",
        (_, "TooManyListeners") => "remove listeners that are not needed, or use another Gateway",
        (_, "HostnameConflict" | "ProtocolConflict" | "ListenerConflict") => {
            "give one of the listeners another port or hostname"
        }
        (_, "InvalidCertificateRef") => {
            "correct tls.certificateRefs, or the Secret (type kubernetes.io/tls, PEM in tls.crt and tls.key)"
        }
        (_, "InvalidClientCertificateRef") => {
            "correct spec.tls.backend.clientCertificateRef, or the Secret (type kubernetes.io/tls)"
        }
        (_, "InvalidCACertificateKind") => {
            "name ConfigMaps (or Secrets, or ClusterTrustBundles) in spec.tls.frontend's caCertificateRefs"
        }
        (_, "InvalidCACertificateRef" | "NoValidCACertificate") => {
            "correct caCertificateRefs, or the ConfigMap (certificates in PEM under ca.crt) or ClusterTrustBundle"
        }
        (_, "InvalidRouteKinds") => "take out of allowedRoutes.kinds what Weir does not serve",
        (_, "UnsupportedProtocol") => "use HTTP, HTTPS, TLS, TCP or UDP for the listener",
        (_, "UnsupportedRoutability") => "write routability Cluster in spec.addresses, or leave it out",
        (_, "UnsupportedAddress" | "AddressNotUsable") => {
            "ask in spec.addresses for other addresses, or for none"
        }
        (_, "AddressNotAssigned") => {
            "see to it that Services of type LoadBalancer get addresses in this cluster"
        }
        (_, "ListenersNotValid" | "ListenersNotResolved") => "see the listeners",
        (_, "InvalidParameters") => "correct or remove parametersRef",
        (_, "NoStatus" | "Outdated") => {
            "wait a moment; if it stays so, see to it that a mesh-operator leads, and read that one's log"
        }
        (_, "Pending") => "wait for what the message names",
        (_, "Invalid") => "see the message, and the other conditions of the object",
        _ => return None,
    })
}
