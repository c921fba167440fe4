//! XTelemetryPolicies: how the requests of Gateways are traced, and what is said to policies. Of several for one Gateway the
//! oldest applies, whatever it asks for.

use mesh_ir::name::ObjectName;
use mesh_ir::resource::{
    AttributeValue, Collector, Fraction, KnownAttribute, SpanAttribute, Tracing, Transport,
};

use crate::api::telemetry_policy::{
    self as api, Attribute, LocalTargetRef, Mode, Provider, SourceType, TelemetryPolicy,
};
use crate::api::{GATEWAY_GROUP, policy::TargetRef};
use crate::attach::Refusal;
use crate::backend::{self, Reference, Referrer};
use crate::class;
use crate::lookup::{Lookup, User};
use crate::object::{Kind, ObjectId};
use crate::policy::{MAX_ANCESTORS, ancestor, created};
use crate::status::{Conditions, PolicyAncestorStatus, PolicyStatus, Status};

/// OpenTelemetry's own limit of attributes for a span.
const MAX_ATTRIBUTES: usize = 128;
/// Where a policy does not say which part of the requests is sampled, all of them are.
const ALL: Fraction = Fraction { numerator: 100, denominator: 100 };
/// Headers that belong to the call itself (gRPC over HTTP2, RFC 9113 section 8.2.2), beside those that begin with `grpc-`.
const RESERVED_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// How the requests of a Gateway are traced.
pub(crate) fn of_gateway(snapshot: &Lookup<'_>, gateway: &ObjectName) -> Option<Tracing> {
    let (name, policy) = winner(snapshot, gateway)?;
    let asked = policy.spec.tracing.as_ref().filter(|tracing| tracing.mode == Mode::Enabled)?;
    let provider = asked.provider.as_ref()?;
    let (service, port) = collector(snapshot, name, provider).ok()?;
    let sampling = |fraction: &Option<api::Fraction>| fraction.as_ref().map_or(Some(ALL), read_fraction);
    let by_parent = asked.parent_based_sampling.as_ref();
    // What is not said is as OpenTelemetry's SDKs have it: who began a trace has decided for all of it.
    let parent_based = match by_parent.filter(|by_parent| by_parent.mode == Mode::Disabled) {
        Some(_) => None,
        None => Some(sampling(&by_parent.and_then(|by_parent| by_parent.sampling_rate.clone()))?),
    };
    let (attributes, _) = attributes(asked.attributes.as_deref().unwrap_or_default());
    let (headers, _) = headers(provider);
    Some(Tracing {
        policy: name.clone(),
        collector: Collector { service, port, headers },
        sampling: sampling(&asked.sampling_rate)?,
        parent_based,
        service_name: asked.service_name.clone().unwrap_or_else(|| default_service_name(gateway)),
        span_name: asked.span_name.clone(),
        attributes,
    })
}

/// What is said to a policy, and the Services that it uses, each with a Gateway that it is for.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) status: Option<(ObjectId, Status)>,
    pub(crate) uses: Vec<(ObjectName, User)>,
}

pub(crate) fn judge(snapshot: &Lookup<'_>, name: &ObjectName) -> Judged {
    let Some(policy) = snapshot.telemetry_policies.get(name) else { return Judged::default() };
    let conditions = Conditions { generation: policy.metadata.generation };
    let asked = policy.spec.tracing.as_ref();
    let provider = asked.and_then(|asked| asked.provider.as_ref());
    let collector = provider.map(|provider| collector(snapshot, name, provider)).transpose();
    let effect = effect(policy, collector.as_ref().ok());
    let mut judged = Judged::default();
    let mut ancestors = Vec::new();
    for target in &policy.spec.target_refs {
        let gateway = match accept(snapshot, name, target) {
            Ok(Target::Ours(gateway)) => Ok(gateway),
            // Whoever serves it speaks for it.
            Ok(Target::OfOthers) => continue,
            Err(refusal) => Err(refusal),
        };
        let accepted = gateway.and_then(|gateway| Ok((gateway, effect.clone()?)));
        if let (Ok((gateway, _)), Ok(Some((service, _)))) = (&accepted, &collector) {
            judged.uses.push((service.clone(), User::Gateway(gateway.clone())));
        }
        let accepted = match accepted {
            Ok((gateway, effect)) => {
                conditions.ok("Accepted", "Accepted", format!("Applies to Gateway {gateway}: {effect}"))
            }
            Err((reason, message)) => conditions.no("Accepted", reason, message),
        };
        let resolved_refs = match &collector {
            Ok(_) => conditions.ok("ResolvedRefs", "ResolvedRefs", "All references are resolved"),
            Err((reason, message)) => conditions.no("ResolvedRefs", reason, message.clone()),
        };
        let LocalTargetRef { group, kind, name: to } = target.clone();
        let target = TargetRef { group, kind, name: to, section_name: None };
        ancestors.push(PolicyAncestorStatus::new(ancestor(name, &target), vec![accepted, resolved_refs]));
    }
    ancestors.truncate(MAX_ANCESTORS);
    let id = ObjectId::namespaced(Kind::TelemetryPolicy, name);
    judged.status = Some((id, Status::Policy(PolicyStatus { ancestors })));
    judged
}

/// The policy that applies to a Gateway.
fn winner<'a>(snapshot: &Lookup<'a>, gateway: &ObjectName) -> Option<(&'a ObjectName, &'a TelemetryPolicy)> {
    let policies = snapshot.telemetry_policies.in_namespace(&gateway.namespace);
    let targets = |policy: &TelemetryPolicy| {
        policy.spec.target_refs.iter().any(|target| is_gateway(target) && target.name == *gateway.name)
    };
    policies
        .map(|(name, policy)| (name, &**policy))
        .filter(|(_, policy)| targets(policy))
        .min_by_key(|(name, policy)| (created(&policy.metadata), *name))
}

enum Target {
    Ours(ObjectName),
    OfOthers,
}

/// Whether a policy has what it targets.
fn accept(snapshot: &Lookup<'_>, policy: &ObjectName, target: &LocalTargetRef) -> Result<Target, Refusal> {
    if !is_gateway(target) {
        let message = format!(
            "targetRefs names {} {}, and an XTelemetryPolicy applies to Gateways only (group {GATEWAY_GROUP}, kind \
             Gateway)",
            target.kind, target.name
        );
        return Err(("Invalid", message));
    }
    let name = ObjectName::new(policy.namespace.as_str(), &target.name)
        .map_err(|error| ("Invalid", format!("targetRefs: {error}")))?;
    let gateway = snapshot.gateways.get(&name);
    let gateway = gateway.ok_or_else(|| ("TargetNotFound", format!("Gateway {name} does not exist")))?;
    if class::is_accepted(snapshot, &gateway.spec.gateway_class_name).is_none() {
        return Ok(Target::OfOthers);
    }
    match winner(snapshot, &name) {
        Some((winner, _)) if winner != policy => {
            let message =
                format!("XTelemetryPolicy {winner} applies to Gateway {name}; of several the oldest does");
            Err(("Conflicted", message))
        }
        _ => Ok(Target::Ours(name)),
    }
}

/// What a policy does to the Gateways that it is for, or why it cannot be followed at all.
fn effect(
    policy: &TelemetryPolicy,
    collector: Option<&Option<(ObjectName, u16)>>,
) -> Result<String, Refusal> {
    let invalid = |message: &str| Err(("Invalid", message.to_owned()));
    let Some(asked) = &policy.spec.tracing else {
        return invalid("spec has no tracing, and nothing else to ask for: set spec.tracing");
    };
    let provider = match (asked.mode, &asked.provider) {
        (Mode::Enabled, Some(provider)) => provider,
        (Mode::Enabled, None) => {
            return invalid("spec.tracing has mode Enabled and no provider: set provider.backendRef");
        }
        (_, Some(_)) => return invalid("spec.tracing has a provider, which needs mode Enabled"),
        (Mode::Disabled, None) => return Ok("no request is traced".into()),
        (Mode::ImplementationDefault, None) => {
            return Ok("no request is traced, which is Weir's default; set mode Enabled to trace".into());
        }
    };
    let by_parent = asked.parent_based_sampling.as_ref();
    let fractions = [
        ("samplingRate", asked.sampling_rate.as_ref()),
        (
            "parentBasedSampling.samplingRate",
            by_parent.and_then(|by_parent| by_parent.sampling_rate.as_ref()),
        ),
    ];
    for (field, fraction) in fractions {
        if fraction.is_some_and(|fraction| read_fraction(fraction).is_none()) {
            return invalid(&format!("spec.tracing.{field} is not a fraction between 0 and 1"));
        }
    }
    let mut effect = match collector.and_then(Option::as_ref) {
        Some((service, port)) => format!("spans go to Service {service} port {port}"),
        None => "no request is traced until provider.backendRef is resolved".into(),
    };
    let (_, mut unknown) = attributes(asked.attributes.as_deref().unwrap_or_default());
    unknown.extend(headers(provider).1);
    if !unknown.is_empty() {
        effect += &format!("; without effect: {}", unknown.join("; "));
    }
    Ok(effect)
}

fn collector(
    snapshot: &Lookup<'_>,
    policy: &ObjectName,
    provider: &Provider,
) -> Result<(ObjectName, u16), Refusal> {
    let api::BackendRef { group, kind, namespace, name, port } = &provider.backend_ref;
    let field = "spec.tracing.provider.backendRef";
    let reference = Reference::new(field.into(), group, kind, namespace, name, *port);
    let from = Referrer {
        kind: Kind::TelemetryPolicy,
        namespace: policy.namespace.as_str(),
        transport: Transport::Tcp,
        of_requests: true,
    };
    backend::resolve(snapshot, &from, &reference, true)
        .map_err(|(reason, message)| (reason, format!("{field}: {message}")))
}

/// The attributes that can be had, and what is wrong with the others.
fn attributes(written: &[Attribute]) -> (Vec<SpanAttribute>, Vec<String>) {
    let (mut attributes, mut problems) = (Vec::new(), Vec::new());
    for (i, attribute) in written.iter().enumerate() {
        let field = format!("spec.tracing.attributes[{i}]");
        if i >= MAX_ATTRIBUTES {
            problems.push(format!("{field} and all after it (a span has at most {MAX_ATTRIBUTES})"));
            break;
        }
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let value = match attribute.source_type {
            SourceType::Header => text(&attribute.header_name)
                .map(|name| AttributeValue::Header(name.to_ascii_lowercase()))
                .ok_or_else(|| format!("{field} (it has no headerName)")),
            SourceType::Literal => text(&attribute.literal_value)
                .map(AttributeValue::Literal)
                .ok_or_else(|| format!("{field} (it has no literalValue)")),
            SourceType::Attribute => {
                let key = attribute.attribute_key.as_deref().unwrap_or_default();
                KnownAttribute::from_key(key)
                    .map(AttributeValue::Known)
                    .ok_or_else(|| format!("{field} (attributeKey {key} is not known; {})", known_keys()))
            }
        };
        match value {
            Ok(value) => attributes.push(SpanAttribute { name: attribute.name.clone(), value }),
            Err(problem) => problems.push(problem),
        }
    }
    (attributes, problems)
}

fn known_keys() -> String {
    let keys: Vec<&str> = KnownAttribute::ALL.iter().map(|known| known.key()).collect();
    format!("known are {}", keys.join(", "))
}

/// The headers that go with each call to a collector, their names in lower case, and which of those written do not.
fn headers(provider: &Provider) -> (Vec<(String, mesh_ir::resource::Secret)>, Vec<String>) {
    let (mut headers, mut problems) = (Vec::new(), Vec::new());
    for (i, header) in provider.headers.iter().flatten().enumerate() {
        let name = header.name.to_ascii_lowercase();
        if RESERVED_HEADERS.contains(&name.as_str()) || name.starts_with("grpc-") {
            problems.push(format!("spec.tracing.provider.headers[{i}] ({name} belongs to the call itself)"));
        } else if headers.iter().all(|(known, _)| *known != name) {
            // Of equivalent names the first counts.
            headers.push((name, header.value.clone()));
        }
    }
    (headers, problems)
}

fn read_fraction(fraction: &api::Fraction) -> Option<Fraction> {
    let numerator = u32::try_from(fraction.numerator).ok()?;
    let denominator = u32::try_from(fraction.denominator.unwrap_or(100)).ok()?;
    (denominator > 0 && numerator <= denominator).then_some(Fraction { numerator, denominator })
}

/// What the service is called whose spans they are, where the policy gives no name: names of Gateways are unique in their
/// namespaces only.
fn default_service_name(gateway: &ObjectName) -> String {
    format!("{}.{}", gateway.name, gateway.namespace)
}

fn is_gateway(target: &LocalTargetRef) -> bool {
    target.group == GATEWAY_GROUP && target.kind == "Gateway"
}
