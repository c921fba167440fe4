//! Objects of every kind, made up with so few names that they meet.

use mesh_compile::{Kind, Object, manifest};
use proptest::prelude::*;
use serde_json::{Value, json};

const NAMESPACES: [&str; 2] = ["shop", "edge"];

pub(super) fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        3 => a_namespace(),
        1 => node(),
        6 => pod(),
        5 => service(),
        6 => slice(),
        1 => class(),
        4 => gateway(),
        5 => listener_set(),
        2 => gateway_service(),
        1 => secret(),
        2 => grant(),
        9 => route(),
        2 => policy(),
        2 => tls_policy(),
        2 => traffic_policy(),
        1 => trust_bundle(),
        1 => mesh(),
        1 => definition(),
        2 => telemetry_policy(),
        4 => xbackend(),
        2 => authority(),
        1 => pool(),
        1 => network_policy(),
    ]
}

fn namespace() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&NAMESPACES[..])
}

fn read(kind: Kind, value: Value) -> Object {
    Object::from_json(kind, &value).unwrap_or_else(|e| panic!("{e}: {value:#}"))
}

fn labels(key: &str, value: Option<&str>) -> Value {
    value.map_or(json!({}), |value| json!({ key: value }))
}

fn a_namespace() -> impl Strategy<Value = Object> {
    let mesh = proptest::option::of(proptest::sample::select(&["enabled", "disabled"][..]));
    (namespace(), mesh, any::<bool>()).prop_map(|(name, mesh, strict)| {
        let mut all = labels("weir.dev/mesh", mesh);
        if strict {
            all["weir.dev/mode"] = json!("strict");
        }
        read(Kind::Namespace, json!({ "metadata": { "name": name, "labels": all } }))
    })
}

fn node() -> impl Strategy<Value = Object> {
    (0..2_u8, 0..2_u8).prop_map(|(id, net)| {
        let addresses = json!([{ "type": "InternalIP", "address": format!("192.168.{net}.{id}") }]);
        let value = json!({ "metadata": { "name": format!("n{id}") }, "status": { "addresses": addresses } });
        read(Kind::Node, value)
    })
}

fn pod() -> impl Strategy<Value = Object> {
    let uid = proptest::option::weighted(0.2, 0..2_u8);
    (namespace(), 0..3_u8, 0..4_u8, uid, 0..10_u8).prop_map(|(namespace, id, address, uid, special)| {
        let metadata = json!({
            "name": format!("p{id}"), "namespace": namespace, "uid": uid.map(|uid| format!("uid-{uid}")),
            "labels": labels("weir.dev/mesh", (special == 1).then_some("disabled")),
            "deletionTimestamp": (special == 4).then_some("2026-01-01T00:00:00Z"),
        });
        let phase = if special == 2 { "Succeeded" } else { "Running" };
        let spec = json!({ "containers": [], "nodeName": "n1", "hostNetwork": special == 3 });
        let ready = json!([{ "type": "Ready", "status": if special == 5 { "False" } else { "True" } }]);
        let status = json!({ "phase": phase, "podIP": format!("10.1.0.{address}"), "conditions": ready });
        read(Kind::Pod, json!({ "metadata": metadata, "spec": spec, "status": status }))
    })
}

fn service() -> impl Strategy<Value = Object> {
    (namespace(), 0..3_u8, 0..6_u8, any::<bool>()).prop_map(|(namespace, id, special, second)| {
        let (r#type, address) = match special {
            0 => ("ExternalName", None),
            1 => ("ClusterIP", Some("None".to_owned())),
            _ => ("ClusterIP", Some(format!("10.0.0.{id}"))),
        };
        let mut ports = vec![json!({ "name": "http", "port": 80, "protocol": "TCP" })];
        ports.extend(second.then(|| json!({ "name": "admin", "port": 81, "protocol": "TCP" })));
        ports.extend(second.then(|| json!({ "name": "dns", "port": 80, "protocol": "UDP" })));
        let metadata = json!({ "name": format!("s{id}"), "namespace": namespace });
        let spec = json!({ "type": r#type, "clusterIP": address, "ports": ports });
        read(Kind::Service, json!({ "metadata": metadata, "spec": spec }))
    })
}

fn slice() -> impl Strategy<Value = Object> {
    let endpoint =
        (proptest::option::weighted(0.6, 0..3_u8), 0..4_u8, 0..3_u8).prop_map(|(pod, address, health)| {
            json!({
                "addresses": [format!("10.1.0.{address}")],
                "targetRef": pod.map(|pod| json!({ "kind": "Pod", "name": format!("p{pod}") })),
                "conditions": { "ready": health == 0, "serving": health != 2, "terminating": health == 1 },
            })
        });
    let endpoints = proptest::collection::vec(endpoint, 0..4);
    (namespace(), 0..3_u8, 0..4_u8, endpoints, any::<bool>()).prop_map(
        |(namespace, id, service, endpoints, second)| {
            let mut ports = vec![json!({ "name": "http", "port": 8080, "protocol": "TCP" })];
            ports.extend(second.then(|| json!({ "name": "admin", "port": 8081, "protocol": "TCP" })));
            ports.extend(second.then(|| json!({ "name": "dns", "port": 8053, "protocol": "UDP" })));
            let metadata = json!({
                "name": format!("e{id}"), "namespace": namespace,
                "labels": { "kubernetes.io/service-name": format!("s{service}") },
            });
            let value = json!({
                "metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
            });
            read(Kind::EndpointSlice, value)
        },
    )
}

fn class() -> impl Strategy<Value = Object> {
    (0..2_u8, any::<bool>()).prop_map(|(id, ours)| {
        let controller = if ours { mesh_compile::CONTROLLER } else { "example.com/other" };
        let name = if id == 0 { mesh_compile::GATEWAY_CLASS } else { "other" };
        let value = json!({ "metadata": { "name": name }, "spec": { "controllerName": controller } });
        read(Kind::GatewayClass, value)
    })
}

fn gateway() -> impl Strategy<Value = Object> {
    let from = proptest::sample::select(&["Same", "All", "Selector"][..]);
    let class = prop_oneof![4 => Just(mesh_compile::GATEWAY_CLASS), 1 => Just("other")];
    let hostname = proptest::option::of(Just("*.example.com"));
    let modes = (any::<bool>(), proptest::option::of(any::<bool>()), any::<bool>(), any::<bool>());
    let sets =
        proptest::option::weighted(0.8, proptest::sample::select(&["None", "Same", "All", "Selector"][..]));
    let secured = (proptest::option::of((0..3_u8, any::<bool>())), any::<bool>());
    let with = (sets, secured, proptest::option::of(listener_filter()));
    (namespace(), 0..2_u8, class, from, hostname, modes, any::<bool>(), with).prop_map(
        |(namespace, id, class, from, hostname, (tls, passes, tcp, udp), wants, (sets, (clients, shows), asked))| {
            let selector = json!({ "matchLabels": { "weir.dev/mesh": "enabled" } });
            let allowed = json!({ "namespaces": { "from": from, "selector": selector } });
            let mut listeners = vec![json!({
                "name": "http", "port": 80, "protocol": "HTTP", "hostname": hostname, "allowedRoutes": allowed,
                "filters": asked.map(|asked| json!({ "requests": [asked] })),
            })];
            listeners.extend(tls.then(|| {
                json!({
                    "name": "https", "port": 443, "protocol": "HTTPS",
                    "tls": { "certificateRefs": [{ "name": "certificate", "namespace": "edge" }] },
                })
            }));
            listeners.extend(passes.map(|passes| {
                let mode = if passes { "Passthrough" } else { "Terminate" };
                json!({
                    "name": "tls", "port": 443, "protocol": "TLS", "hostname": "*.example.com",
                    "allowedRoutes": allowed,
                    "tls": {
                        "mode": mode, "certificateRefs": [{ "name": "certificate", "namespace": "edge" }],
                    },
                })
            }));
            listeners.extend(tcp.then(|| {
                json!({ "name": "tcp", "port": 9000, "protocol": "TCP", "allowedRoutes": allowed })
            }));
            listeners.extend(udp.then(|| {
                json!({ "name": "udp", "port": 9000, "protocol": "UDP", "allowedRoutes": allowed })
            }));
            let addresses = wants.then(|| match tls {
                true => json!([{ "type": "IPAddress", "value": "192.0.2.1" }]),
                false => json!([{ "type": "IPAddress", "routability": "Cluster" }]),
            });
            let metadata = json!({ "name": format!("g{id}"), "namespace": namespace, "generation": 1 });
            let certificate = shows.then(|| json!({ "name": "certificate", "namespace": "edge" }));
            let frontend = clients.map(|(authority, insecure)| {
                let mode = if insecure { "AllowInsecureFallback" } else { "AllowValidOnly" };
                let reference = json!({
                    "group": "", "kind": "ConfigMap", "name": format!("ca{authority}"), "namespace": "edge",
                });
                json!({ "default": { "validation": { "mode": mode, "caCertificateRefs": [reference] } } })
            });
            let tls = json!({ "backend": { "clientCertificateRef": certificate }, "frontend": frontend });
            let sets =
                sets.map(|from| json!({ "namespaces": { "from": from, "selector": allowed["namespaces"]["selector"] } }));
            let spec = json!({
                "gatewayClassName": class, "listeners": listeners, "addresses": addresses, "allowedListeners": sets,
                "tls": tls,
            });
            read(Kind::Gateway, json!({ "metadata": metadata, "spec": spec }))
        },
    )
}

/// One that cannot be served closes its listener.
fn listener_filter() -> impl Strategy<Value = Value> {
    let reference = json!({ "group": "example.com", "kind": "Guard", "name": "g" });
    let unknown = Just(json!({ "type": "ExtensionRef", "extensionRef": reference }));
    prop_oneof![2 => external_auth(), 1 => unknown]
}

/// A filter of a listener or a route.
fn external_auth() -> impl Strategy<Value = serde_json::Value> {
    (namespace(), 0..3_u8, 80..82_u16).prop_map(|(ns, id, port)| {
        let server = json!({ "namespace": ns, "name": format!("s{id}"), "port": port });
        json!({
            "type": "ExternalAuth",
            "externalAuth": { "protocol": "HTTP", "backendRef": server, "http": {} },
        })
    })
}

fn listener_set() -> impl Strategy<Value = Object> {
    let listener =
        (0..3_u8, 0..3_u8, proptest::option::of(0..3_u8)).prop_map(|(port, protocol, hostname)| {
            let (port, protocol) = match protocol {
                0 => ([80, 443, 9000][usize::from(port)], "HTTP"),
                1 => ([443, 444, 443][usize::from(port)], "HTTPS"),
                _ => ([80, 9000, 9001][usize::from(port)], "TCP"),
            };
            let tls = (protocol == "HTTPS")
                .then(|| json!({ "certificateRefs": [{ "name": "certificate", "namespace": "edge" }] }));
            let hostname =
                hostname.map(|place| ["*.example.com", "a.example.com", "b.test"][usize::from(place)]);
            json!({ "port": port, "protocol": protocol, "hostname": hostname, "tls": tls })
        });
    let parent = (namespace(), 0..2_u8);
    (namespace(), 0..3_u8, parent, proptest::collection::vec(listener, 1..4), 0..2_u8).prop_map(
        |(namespace, id, (gateway_namespace, gateway), mut listeners, age)| {
            for (place, listener) in listeners.iter_mut().enumerate() {
                // Some are called as the Gateway's own.
                listener["name"] = json!(["http", "tcp", "more"][place]);
            }
            let metadata = json!({
                "name": format!("l{id}"), "namespace": namespace, "generation": 1,
                "creationTimestamp": format!("2026-01-0{}T00:00:00Z", age + 1),
            });
            let parent = json!({ "name": format!("g{gateway}"), "namespace": gateway_namespace });
            let spec = json!({ "parentRef": parent, "listeners": listeners });
            read(Kind::ListenerSet, json!({ "metadata": metadata, "spec": spec }))
        },
    )
}

/// As the API server gives back what was made for a Gateway, or as somebody else's of that name.
fn gateway_service() -> impl Strategy<Value = Object> {
    (namespace(), 0..2_u8, any::<bool>(), 0..3_u8).prop_map(|(namespace, id, ours, address)| {
        let labels = match ours {
            true => json!({
                mesh_compile::GATEWAY_NAME_LABEL: format!("g{id}"),
                mesh_compile::MANAGED_BY_LABEL: mesh_compile::MANAGER,
            }),
            false => json!({}),
        };
        let metadata = json!({ "name": format!("g{id}-weir"), "namespace": namespace, "labels": labels });
        let spec = json!({
            "type": "LoadBalancer",
            "ports": [{ "name": "port-80", "port": 80, "targetPort": 20100 + u16::from(address) }],
        });
        let ingress = json!([{ "ip": format!("192.0.2.{address}") }]);
        let status = json!({ "loadBalancer": { "ingress": ingress } });
        read(Kind::Service, json!({ "metadata": metadata, "spec": spec, "status": status }))
    })
}

fn secret() -> impl Strategy<Value = Object> {
    any::<bool>().prop_map(|valid| {
        let case = include_str!("../../../../tests/golden/gateway-https/in.yaml");
        let objects = manifest::parse(case).into_iter().filter_map(|parsed| parsed.ok().flatten());
        let mut secrets = objects.filter_map(|object| match object {
            Object::Secret(secret) => Some(secret),
            _ => None,
        });
        let mut secret = (*secrets.next().unwrap()).clone();
        secret.metadata.name = Some("certificate".into());
        secret.metadata.namespace = Some("edge".into());
        if !valid {
            secret.data = None;
        }
        secret.into()
    })
}

fn grant() -> impl Strategy<Value = Object> {
    let from_kind = prop_oneof![
        4 => route_kind(),
        3 => Just(Kind::Gateway),
        3 => Just(Kind::ListenerSet),
        2 => Just(Kind::TelemetryPolicy),
        2 => Just(Kind::XBackend),
    ];
    let to_kind =
        proptest::sample::select(&[Kind::Service, Kind::Secret, Kind::ConfigMap, Kind::XBackend][..]);
    (namespace(), namespace(), from_kind, to_kind).prop_map(|(namespace, from, from_kind, to_kind)| {
        let value = json!({
            "metadata": { "name": "grant", "namespace": namespace },
            "spec": {
                "from": [{ "group": from_kind.group(), "kind": from_kind.as_str(), "namespace": from }],
                "to": [{ "group": to_kind.group(), "kind": to_kind.as_str() }],
            },
        });
        read(Kind::ReferenceGrant, value)
    })
}

fn route_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::HttpRoute),
        2 => Just(Kind::GrpcRoute),
        1 => Just(Kind::TlsRoute),
        1 => Just(Kind::TcpRoute),
        1 => Just(Kind::UdpRoute),
    ]
}

fn route() -> impl Strategy<Value = Object> {
    let section = proptest::sample::select(&["http", "tls", "tcp", "udp"][..]);
    let parent = prop_oneof![
        (namespace(), 0..2_u8, proptest::option::of(section)).prop_map(
            |(ns, id, section)| json!({ "namespace": ns, "name": format!("g{id}"), "sectionName": section })
        ),
        (namespace(), 0..3_u8, proptest::option::of(proptest::sample::select(&["http", "tcp"][..]))).prop_map(
            |(ns, id, section)| {
                json!({ "kind": "ListenerSet", "namespace": ns, "name": format!("l{id}"), "sectionName": section })
            }
        ),
        (namespace(), 0..3_u8, proptest::option::of(80..82_u16)).prop_map(|(ns, id, port)| {
            json!({ "group": "", "kind": "Service", "namespace": ns, "name": format!("s{id}"), "port": port })
        }),
    ];
    let backend = (namespace(), 0..3_u8, 80..83_u16, 0..3_u8).prop_map(|(ns, id, port, weight)| match port {
        82 => json!({
            "group": "gateway.networking.x-k8s.io", "kind": "XBackend", "namespace": ns, "name": format!("x{id}"),
            "weight": weight,
        }),
        _ => json!({ "namespace": ns, "name": format!("s{id}"), "port": port, "weight": weight }),
    });
    let hostname = proptest::option::of(proptest::sample::select(&["a.example.com", "b.test"][..]));
    let parents = proptest::collection::vec(parent, 0..3);
    let backends = proptest::collection::vec(backend, 0..3);
    let asked = (any::<bool>(), proptest::option::of(external_auth()));
    (route_kind(), namespace(), 0..3_u8, parents, backends, hostname, asked).prop_map(
        |(kind, namespace, id, parents, backends, hostname, (servable, asked))| {
            let mut rule = json!({ "backendRefs": backends });
            if kind == Kind::GrpcRoute && !servable {
                rule["matches"] = json!([{ "method": { "type": "RegularExpression", "service": "(" } }]);
            }
            if let Some(asked) = asked.filter(|_| kind == Kind::HttpRoute) {
                rule["filters"] = json!([asked]);
            }
            let value = json!({
                "metadata": { "name": format!("r{id}"), "namespace": namespace, "generation": 1 },
                "spec": {
                    "parentRefs": parents, "hostnames": hostname.into_iter().collect::<Vec<_>>(),
                    "rules": [rule],
                },
            });
            read(kind, value)
        },
    )
}

fn policy() -> impl Strategy<Value = Object> {
    (namespace(), 0..3_u8, 0..3_u8, 0..3_u8).prop_map(|(namespace, id, service, limit)| {
        let target = json!({ "group": "", "kind": "Service", "name": format!("s{service}") });
        let value = json!({
            "metadata": { "name": format!("b{id}"), "namespace": namespace },
            // None at all is refused.
            "spec": { "targetRefs": [target], "circuitBreaker": { "maxRequests": limit } },
        });
        read(Kind::BackendPolicy, value)
    })
}

fn authority() -> impl Strategy<Value = Object> {
    (namespace(), 0..3_u8, 0..3_u8).prop_map(|(namespace, id, good)| {
        let case = include_str!("../../../../tests/golden/backend-tls-one-port-before-all/in.yaml");
        let pem: Vec<&str> = case
            .lines()
            .map(str::trim)
            .skip_while(|line| !line.contains("BEGIN CERTIFICATE"))
            .take_while(|line| *line != "---")
            .collect();
        let text = match good {
            0 => "nonsense".to_owned(),
            _ => pem.join("\n"),
        };
        let metadata = json!({ "name": format!("ca{id}"), "namespace": namespace });
        read(Kind::ConfigMap, json!({ "metadata": metadata, "data": { "ca.crt": text } }))
    })
}

fn tls_policy() -> impl Strategy<Value = Object> {
    let port = proptest::option::of(proptest::sample::select(&["http", "admin"][..]));
    (namespace(), 0..3_u8, 0..3_u8, port, 0..5_u8, 0..2_u8).prop_map(
        |(namespace, id, service, port, authority, age)| {
            let target = json!({
                "group": "", "kind": "Service", "name": format!("s{service}"), "sectionName": port,
            });
            let validation = match authority {
                3 => json!({ "hostname": "a.example", "wellKnownCACertificates": "System" }),
                4 => json!({
                    "hostname": "a.example",
                    "caCertificateRefs": [{
                        "group": "certificates.k8s.io", "kind": "ClusterTrustBundle", "name": "bundle",
                    }],
                }),
                authority => json!({
                    "hostname": "a.example",
                    "caCertificateRefs": [{
                        "group": "", "kind": "ConfigMap", "name": format!("ca{authority}"),
                    }],
                }),
            };
            let value = json!({
                "metadata": {
                    "name": format!("t{id}"), "namespace": namespace, "generation": 1,
                    "creationTimestamp": format!("2026-01-0{}T00:00:00Z", age + 1),
                },
                "spec": { "targetRefs": [target], "validation": validation },
            });
            read(Kind::BackendTlsPolicy, value)
        },
    )
}

fn trust_bundle() -> impl Strategy<Value = Object> {
    any::<bool>().prop_map(|valid| {
        let case = include_str!("../../../../tests/golden/trust-bundle/in.yaml");
        let objects = manifest::parse(case).into_iter().filter_map(|parsed| parsed.ok().flatten());
        let mut bundles = objects.filter_map(|object| match object {
            Object::ClusterTrustBundle(bundle) => Some(bundle),
            _ => None,
        });
        let mut bundle = match valid {
            true => (*bundles.next().unwrap()).clone(),
            false => Default::default(),
        };
        bundle.metadata.name = "bundle".into();
        bundle.into()
    })
}

fn mesh() -> impl Strategy<Value = Object> {
    any::<bool>().prop_map(|ours| {
        let controller = if ours { mesh_compile::CONTROLLER } else { "example.com/other" };
        let value = json!({ "metadata": { "name": "weir" }, "spec": { "controllerName": controller } });
        read(Kind::XMesh, value)
    })
}

fn definition() -> impl Strategy<Value = Object> {
    proptest::sample::select(&["v1.4.1", "v1.7.0", "v1.8.0"][..]).prop_map(|version| {
        let metadata = json!({
            "name": "gateways.gateway.networking.k8s.io",
            "annotations": { mesh_compile::BUNDLE_VERSION_ANNOTATION: version },
        });
        read(Kind::CustomResourceDefinition, json!({ "metadata": metadata }))
    })
}

fn traffic_policy() -> impl Strategy<Value = Object> {
    (namespace(), 0..3_u8, 0..3_u8, 0..3_u8, 0..2_u8).prop_map(|(namespace, id, service, share, age)| {
        let target = json!({ "group": "", "kind": "Service", "name": format!("s{service}") });
        // One of them cannot be followed.
        let percent = [10, 20, 200][usize::from(share)];
        let value = json!({
            "metadata": {
                "name": format!("x{id}"), "namespace": namespace, "generation": 1,
                "creationTimestamp": format!("2026-01-0{}T00:00:00Z", age + 1),
            },
            "spec": { "targetRefs": [target], "retryConstraint": { "budget": { "percent": percent } } },
        });
        read(Kind::XBackendTrafficPolicy, value)
    })
}

fn telemetry_policy() -> impl Strategy<Value = Object> {
    let namespaces = (namespace(), namespace());
    (namespaces, 0..2_u8, 0..3_u8, 0..3_u8, any::<bool>(), 0..2_u8).prop_map(
        |((namespace, other), id, gateway, service, enabled, age)| {
            let target =
                json!({ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": format!("g{gateway}") });
            let reference = json!({ "namespace": other, "name": format!("s{service}"), "port": 80 });
            let tracing = match enabled {
                true => json!({ "mode": "Enabled", "provider": { "backendRef": reference } }),
                false => json!({ "mode": "Disabled" }),
            };
            let value = json!({
                "metadata": {
                    "name": format!("x{id}"), "namespace": namespace, "generation": 1,
                    "creationTimestamp": format!("2026-01-0{}T00:00:00Z", age + 1),
                },
                "spec": { "targetRefs": [target], "tracing": tracing },
            });
            read(Kind::TelemetryPolicy, value)
        },
    )
}

fn xbackend() -> impl Strategy<Value = Object> {
    (namespace(), 0..3_u8, 0..5_u8, 80..82_u16, any::<bool>()).prop_map(|(namespace, id, special, port, persists)| {
        let metadata = json!({ "name": format!("x{id}"), "namespace": namespace, "generation": 1 });
        let authority = json!({ "group": "", "kind": "ConfigMap", "name": format!("ca{id}") });
        let validation = json!({ "hostname": "a.example", "caCertificateRefs": [authority] });
        let certificate = json!({ "name": "certificate", "namespace": "edge" });
        let mut spec = match special {
            0 | 1 => json!({
                "type": "EndpointSelector", "endpointSelector": { "matchLabels": { "weir.dev/mesh": "disabled" } },
                "sessionPersistence": persists.then(|| json!({ "type": "Header", "header": { "name": "x" } })),
            }),
            _ => json!({ "type": "ExternalHostname", "externalHostname": { "hostname": "a.example" } }),
        };
        spec["port"] = json!({ "number": port });
        spec["tls"] = match special {
            2 => json!({ "mode": "ClientAndServer", "validation": validation, "clientCertificateRef": certificate }),
            1 => json!({ "mode": "ServerOnly", "validation": validation }),
            _ => json!({ "mode": "None" }),
        };
        spec["protocol"] = if special == 4 { json!("MCP") } else { Value::Null };
        read(Kind::XBackend, json!({ "metadata": metadata, "spec": spec }))
    })
}

fn pool() -> impl Strategy<Value = Object> {
    (0..2_u8, 1..4_u8).prop_map(|(id, last)| {
        let addresses = json!([format!("192.0.2.0-192.0.2.{last}")]);
        let value =
            json!({ "metadata": { "name": format!("pool{id}") }, "spec": { "addresses": addresses } });
        read(Kind::AddressPool, value)
    })
}

fn network_policy() -> impl Strategy<Value = Object> {
    (namespace(), 0..2_u8, any::<bool>()).prop_map(|(namespace, id, all)| {
        let selector = if all { json!({}) } else { json!({ "matchLabels": { "weir.dev/mesh": "disabled" } }) };
        let value = json!({
            "metadata": { "name": format!("n{id}"), "namespace": namespace }, "spec": { "podSelector": selector },
        });
        read(Kind::NetworkPolicy, value)
    })
}
