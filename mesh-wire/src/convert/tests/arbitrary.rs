//! Any resource, as `compile` could make it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_ir::name::{Hostname, ListenerName, NodeName, ObjectName, ServiceAccount, Uid, Zone};
use mesh_ir::resource::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const NAME: &str = "[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?";

fn object_name() -> impl Strategy<Value = ObjectName> {
    (NAME, NAME).prop_map(|(namespace, name)| ObjectName::new(&namespace, &name).unwrap())
}

fn listener_name() -> impl Strategy<Value = ListenerName> {
    (option::of(object_name()), NAME).prop_map(|(set, name)| ListenerName::new(set, &name).unwrap())
}

fn node_name() -> impl Strategy<Value = NodeName> {
    NAME.prop_map(|name| name.parse().unwrap())
}

fn zone() -> impl Strategy<Value = Zone> {
    NAME.prop_map(|name| name.parse().unwrap())
}

fn hostname() -> impl Strategy<Value = Hostname> {
    "(\\*\\.)?[a-z0-9]{1,8}(\\.[a-z]{1,8}){0,3}".prop_map(|name| name.parse().unwrap())
}

fn addresses() -> impl Strategy<Value = Vec<IpAddr>> {
    vec(any::<IpAddr>(), 0..4)
}

pub(super) fn resource() -> impl Strategy<Value = Resource> {
    prop_oneof![
        node().prop_map(Resource::Node),
        service().prop_map(Resource::Service),
        workload().prop_map(Resource::Workload),
        certificate().prop_map(Resource::Certificate),
        gateway().prop_map(Resource::Gateway),
        route().prop_map(Resource::Route),
    ]
}

pub(super) fn node() -> impl Strategy<Value = Node> {
    (node_name(), addresses(), option::of(zone())).prop_map(|(name, addresses, zone)| Node {
        name,
        addresses,
        zone,
    })
}

pub(super) fn service() -> impl Strategy<Value = Service> {
    let protocol = prop_oneof![
        Just(AppProtocol::Detect),
        Just(AppProtocol::Http),
        Just(AppProtocol::Http2),
        Just(AppProtocol::Tcp)
    ];
    let port = (any::<u16>(), "[a-z]{0,8}", protocol, option::of(backend_tls()))
        .prop_map(|(port, name, protocol, tls)| ServicePort { port, name, protocol, tls });
    let limit = || option::of(any::<u32>());
    let breaker = (limit(), limit(), limit(), limit()).prop_map(
        |(max_connections, max_pending_requests, max_requests, max_retries)| CircuitBreaker {
            max_connections,
            max_pending_requests,
            max_requests,
            max_retries,
        },
    );
    let budget = (0..=100u8, duration(), any::<u32>(), duration()).prop_map(
        |(percent, interval, min_retries, min_interval)| RetryBudget {
            percent,
            interval,
            min_retries,
            min_interval,
        },
    );
    let policy = prop_oneof![Just(TrafficPolicy::Cluster), Just(TrafficPolicy::Local)];
    let ports = (vec(port, 0..4), vec(any::<u16>(), 0..4));
    let limits = (option::of(breaker), option::of(budget));
    (object_name(), addresses(), ports, limit(), policy, limits, option::of(hostname())).prop_map(
        |(
            name,
            addresses,
            (ports, udp_ports),
            session_affinity,
            internal_traffic_policy,
            (circuit_breaker, retry_budget),
            external_hostname,
        )| Service {
            name,
            addresses,
            ports,
            udp_ports,
            session_affinity,
            internal_traffic_policy,
            circuit_breaker,
            retry_budget,
            external_hostname,
        },
    )
}

pub(super) fn workload() -> impl Strategy<Value = Workload> {
    let pairs = || vec(any::<(u16, u16)>().prop_map(|(port, target)| PortPair { port, target }), 0..4);
    let health = prop_oneof![Just(Health::Ready), Just(Health::Draining), Just(Health::Unready)];
    let hints = (vec(node_name(), 0..3), vec(zone(), 0..3))
        .prop_map(|(for_nodes, for_zones)| Hints { for_nodes, for_zones });
    let membership = (object_name(), pairs(), pairs(), health, hints).prop_map(
        |(service, ports, udp_ports, health, hints)| Membership { service, ports, udp_ports, health, hints },
    );
    let who = (
        NAME.prop_map(|uid| uid.parse::<Uid>().unwrap()),
        object_name(),
        option::of(node_name()),
        NAME.prop_map(|account| account.parse::<ServiceAccount>().unwrap()),
    );
    let mode = prop_oneof![Just(Mode::Permissive), Just(Mode::Strict)];
    let same_node = prop_oneof![Just(SameNode::Direct), Just(SameNode::Network), Just(SameNode::Encrypt)];
    (who, addresses(), any::<bool>(), mode, same_node, vec(membership, 0..3)).prop_map(
        |((uid, name, node, service_account), addresses, meshed, mode, same_node, services)| Workload {
            uid,
            name,
            node,
            addresses,
            service_account,
            meshed,
            mode,
            same_node,
            services,
        },
    )
}

pub(super) fn certificate() -> impl Strategy<Value = Certificate> {
    (object_name(), any::<String>(), any::<String>()).prop_map(|(name, chain_pem, key)| Certificate {
        name,
        chain_pem,
        key: key.into(),
    })
}

pub(super) fn gateway() -> impl Strategy<Value = Gateway> {
    let protocol = prop_oneof![
        Just(ListenerProtocol::Http),
        vec(object_name(), 0..3).prop_map(|certificates| ListenerProtocol::Https { certificates }),
        vec(object_name(), 0..3).prop_map(|certificates| ListenerProtocol::Tls { certificates }),
        Just(ListenerProtocol::TlsPassthrough),
        Just(ListenerProtocol::Tcp),
        Just(ListenerProtocol::Udp),
    ];
    let validation = (any::<String>(), any::<bool>())
        .prop_map(|(authorities, allow_insecure)| Arc::new(ClientValidation { authorities, allow_insecure }));
    let validation = option::of(validation);
    let of_requests = (validation, vec(external_auth(), 0..3), any::<bool>());
    let listener = (listener_name(), any::<(u16, u16)>(), option::of(hostname()), protocol, of_requests)
        .prop_map(|(name, (port, target_port), hostname, protocol, (client_validation, filters, closed))| {
            Listener { name, port, target_port, hostname, protocol, client_validation, filters, closed }
        });
    let certificate =
        prop_oneof![object_name().prop_map(ClientCertificate::Shown), Just(ClientCertificate::Unresolved)];
    let settings =
        (option::of(node_name()), option::of(certificate), option::of(tracing().prop_map(Arc::new)));
    (object_name(), addresses(), settings, vec(listener, 0..4)).prop_map(
        |(name, addresses, (announced_by, client_certificate, tracing), listeners)| Gateway {
            name,
            addresses,
            announced_by,
            client_certificate,
            tracing,
            listeners,
        },
    )
}

fn tracing() -> impl Strategy<Value = Tracing> {
    let headers = vec((any::<String>(), any::<String>().prop_map(Secret::from)), 0..3);
    let collector = (object_name(), any::<u16>(), headers).prop_map(|(service, port, headers)| Collector {
        service,
        port,
        headers,
    });
    let value = prop_oneof![
        any::<String>().prop_map(AttributeValue::Header),
        any::<String>().prop_map(AttributeValue::Literal),
        proptest::sample::select(KnownAttribute::ALL).prop_map(AttributeValue::Known),
    ];
    let attribute = (any::<String>(), value).prop_map(|(name, value)| SpanAttribute { name, value });
    let names = (any::<String>(), option::of(any::<String>()));
    (object_name(), collector, fraction(), option::of(fraction()), names, vec(attribute, 0..3)).prop_map(
        |(policy, collector, sampling, parent_based, (service_name, span_name), attributes)| Tracing {
            policy,
            collector,
            sampling,
            parent_based,
            service_name,
            span_name,
            attributes,
        },
    )
}

fn fraction() -> impl Strategy<Value = Fraction> {
    (any::<u32>(), 1u32..).prop_map(|(numerator, denominator)| Fraction { numerator, denominator })
}

fn backend_tls() -> impl Strategy<Value = BackendTls> {
    let name = prop_oneof![
        hostname().prop_map(SubjectAltName::Hostname),
        any::<String>().prop_map(SubjectAltName::Uri)
    ];
    let trust = prop_oneof![Just(Trust::System), any::<String>().prop_map(Trust::Authorities)];
    let asked_by = prop_oneof![
        object_name().prop_map(AskedBy::BackendTlsPolicy),
        object_name().prop_map(AskedBy::XBackend)
    ];
    let shown =
        prop_oneof![Just(Shown::Gateways), Just(Shown::Nothing), object_name().prop_map(Shown::Certificate)];
    let client = (asked_by, hostname(), vec(name, 0..3), trust, shown);
    let client = client.prop_map(|(asked_by, server_name, subject_alt_names, trust, shown)| {
        BackendTls::Client(Arc::new(TlsClient { asked_by, server_name, subject_alt_names, trust, shown }))
    });
    prop_oneof![client, any::<String>().prop_map(|reason| BackendTls::Invalid { reason: reason.into() })]
}

pub(super) fn route() -> impl Strategy<Value = Route> {
    let served = (hostname(), option::of(hostname()))
        .prop_map(|(hostname, written)| ServedHostname { hostname, written });
    let parent = prop_oneof![
        (object_name(), listener_name(), vec(served, 0..3)).prop_map(|(gateway, listener, hostnames)| {
            RouteParent::Listener { gateway, listener, hostnames }
        }),
        (object_name(), option::of(any::<u16>()))
            .prop_map(|(service, port)| RouteParent::Service { service, port }),
    ];
    let kind = proptest::sample::select(RouteKind::ALL.as_slice());
    let rules = || vec(rule(), 0..3);
    (kind, object_name(), any::<i64>(), vec(parent, 0..3), rules(), rules()).prop_map(
        |(kind, name, created, parents, mut rules, mut gateway_rules)| {
            if !kind.is_of_requests() {
                rules.iter_mut().chain(&mut gateway_rules).for_each(|rule| rule.matches.clear());
            }
            Route { key: RouteKey { kind, name }, created, parents, rules, gateway_rules }
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let backend = (any::<u32>(), target(), vec(filter(), 0..2), option::of(session()))
        .prop_map(|(weight, target, filters, session)| Backend { weight, target, filters, session });
    let timeouts = (option::of(duration()), option::of(duration()))
        .prop_map(|(request, backend_request)| Timeouts { request, backend_request });
    let retry = (vec(100u16..1000, 0..3), any::<u32>(), duration())
        .prop_map(|(codes, attempts, backoff)| Retry { codes, attempts, backoff });
    let backends = vec(backend, 0..3);
    (
        option::of(".{0,8}"),
        vec(http_match(), 1..3),
        vec(filter(), 0..3),
        backends,
        timeouts,
        option::of(retry),
    )
        .prop_map(|(name, matches, filters, backends, timeouts, retry)| Rule {
            name,
            matches,
            filters,
            backends,
            timeouts,
            retry,
        })
}

fn duration() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0u32..1_000_000_000).prop_map(|(secs, nanos)| Duration::new(secs, nanos))
}

fn session() -> impl Strategy<Value = SessionPersistence> {
    let cookie = (".{0,8}", ".{0,8}", any::<bool>())
        .prop_map(|(name, path, permanent)| SessionCarrier::Cookie { name, path, permanent });
    let carrier = prop_oneof![cookie, ".{0,8}".prop_map(|name| SessionCarrier::Header { name })];
    (carrier, option::of(duration()))
        .prop_map(|(carrier, absolute_timeout)| SessionPersistence { carrier, absolute_timeout })
}

fn http_match() -> impl Strategy<Value = HttpMatch> {
    let path = prop_oneof![
        any::<String>().prop_map(PathMatch::Exact),
        any::<String>().prop_map(PathMatch::Prefix),
        any::<String>().prop_map(PathMatch::Regex),
    ];
    let value = || {
        prop_oneof![any::<String>().prop_map(ValueMatch::Exact), any::<String>().prop_map(ValueMatch::Regex)]
    };
    let header = (any::<String>(), value()).prop_map(|(name, value)| HeaderMatch { name, value });
    let query = (any::<String>(), value()).prop_map(|(name, value)| QueryMatch { name, value });
    (path, vec(header, 0..3), vec(query, 0..3), option::of("[A-Z]{1,7}"))
        .prop_map(|(path, headers, query, method)| HttpMatch { path, headers, query, method })
}

fn filter() -> impl Strategy<Value = Filter> {
    let pairs = || vec(any::<(String, String)>(), 0..3);
    let edit = || {
        (pairs(), pairs(), vec(any::<String>(), 0..3)).prop_map(|(set, add, remove)| HeaderEdit {
            set,
            add,
            remove,
        })
    };
    let text = || option::of(any::<String>());
    let path = || {
        option::of(prop_oneof![
            any::<String>().prop_map(PathRewrite::ReplaceFullPath),
            any::<String>().prop_map(PathRewrite::ReplacePrefixMatch),
        ])
    };
    let redirect = (text(), text(), path(), option::of(any::<u16>()), 100u16..1000)
        .prop_map(|(scheme, hostname, path, port, status)| Redirect { scheme, hostname, path, port, status });
    let rewrite = (text(), path()).prop_map(|(hostname, path)| Rewrite { hostname, path });
    let mirror = (target(), fraction()).prop_map(|(target, fraction)| Mirror { target, fraction });
    let list = || vec(any::<String>(), 0..3);
    let cors = (list(), any::<bool>(), list(), list(), list(), any::<u32>()).prop_map(
        |(allow_origins, allow_credentials, allow_methods, allow_headers, expose_headers, max_age)| Cors {
            allow_origins,
            allow_credentials,
            allow_methods,
            allow_headers,
            expose_headers,
            max_age,
        },
    );
    prop_oneof![
        edit().prop_map(Filter::RequestHeaders),
        edit().prop_map(Filter::ResponseHeaders),
        redirect.prop_map(Filter::Redirect),
        rewrite.prop_map(Filter::Rewrite),
        mirror.prop_map(Filter::Mirror),
        cors.prop_map(Filter::Cors),
        external_auth().prop_map(Filter::ExternalAuth),
    ]
}

fn external_auth() -> impl Strategy<Value = ExternalAuth> {
    let list = || vec(any::<String>(), 0..3);
    let http = (any::<String>(), list(), list()).prop_map(
        |(path_prefix, allowed_headers, allowed_response_headers)| AuthProtocol::Http {
            path_prefix,
            allowed_headers,
            allowed_response_headers,
        },
    );
    let grpc = list().prop_map(|allowed_headers| AuthProtocol::Grpc { allowed_headers });
    (target(), prop_oneof![http, grpc], any::<u32>()).prop_map(|(target, protocol, max_body)| ExternalAuth {
        target,
        protocol,
        max_body,
    })
}

fn target() -> impl Strategy<Value = BackendTarget> {
    prop_oneof![
        (object_name(), any::<u16>()).prop_map(|(service, port)| BackendTarget::Service { service, port }),
        any::<String>().prop_map(|reason| BackendTarget::Invalid { reason }),
    ]
}
