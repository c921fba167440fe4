//! The edges of TLSRoute, TCPRoute and UDPRoute: the one rule of each has nothing to match, and takes whole connections, or all
//! the datagrams of a client.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mesh_ir::name::ObjectName;
use mesh_ir::resource::{RouteKey, RouteKind};

use crate::api::generated::tcp_route::TcpRouteUseDefaultGateways;
use crate::api::generated::tls_route::TlsRouteUseDefaultGateways;
use crate::api::generated::udp_route::UdpRouteUseDefaultGateways;
use crate::api::{BackendReference, ParentReference, TcpRoute, TlsRoute, UdpRoute};
use crate::backend::Reference;
use crate::route::{BackendInput, RouteInput, RouteObject, RuleInput};

impl RouteObject for TlsRoute {
    fn parents(&self) -> &[ParentReference] {
        self.spec.parent_refs.as_deref().unwrap_or_default()
    }

    fn uses_default_gateways(&self) -> bool {
        matches!(self.spec.use_default_gateways, Some(TlsRouteUseDefaultGateways::All))
    }

    fn input(&self, name: &ObjectName) -> RouteInput<'_> {
        let rules = self.spec.rules.iter().map(|rule| (rule.name.clone(), rule.backend_refs.as_slice()));
        let hostnames = self.spec.hostnames.iter().filter_map(|hostname| hostname.parse().ok());
        let input = input(RouteKind::Tls, name, &self.metadata, self.parents(), rules);
        RouteInput { hostnames: hostnames.collect(), ..input }
    }
}

impl RouteObject for TcpRoute {
    fn parents(&self) -> &[ParentReference] {
        self.spec.parent_refs.as_deref().unwrap_or_default()
    }

    fn uses_default_gateways(&self) -> bool {
        matches!(self.spec.use_default_gateways, Some(TcpRouteUseDefaultGateways::All))
    }

    fn input(&self, name: &ObjectName) -> RouteInput<'_> {
        let rules = self.spec.rules.iter().map(|rule| (rule.name.clone(), rule.backend_refs.as_slice()));
        input(RouteKind::Tcp, name, &self.metadata, self.parents(), rules)
    }
}

impl RouteObject for UdpRoute {
    fn parents(&self) -> &[ParentReference] {
        self.spec.parent_refs.as_deref().unwrap_or_default()
    }

    fn uses_default_gateways(&self) -> bool {
        matches!(self.spec.use_default_gateways, Some(UdpRouteUseDefaultGateways::All))
    }

    fn input(&self, name: &ObjectName) -> RouteInput<'_> {
        let rules = self.spec.rules.iter().map(|rule| (rule.name.clone(), rule.backend_refs.as_slice()));
        input(RouteKind::Udp, name, &self.metadata, self.parents(), rules)
    }
}

fn input<'a>(
    kind: RouteKind,
    name: &ObjectName,
    metadata: &'a ObjectMeta,
    parents: &[ParentReference],
    rules: impl Iterator<Item = (Option<String>, &'a [BackendReference])>,
) -> RouteInput<'a> {
    let rule = |(i, (name, backends)): (usize, (Option<String>, &[BackendReference]))| RuleInput {
        field: format!("rules[{i}]"),
        name,
        backends: backends.iter().enumerate().map(|(at, backend)| of(i, at, backend)).collect(),
        ..RuleInput::default()
    };
    RouteInput {
        key: RouteKey { kind, name: name.clone() },
        metadata,
        hostnames: Vec::new(),
        parents: parents.to_vec(),
        // The API server lets no more than one through.
        rules: rules.take(1).enumerate().map(rule).collect(),
    }
}

fn of(rule: usize, at: usize, backend: &BackendReference) -> BackendInput {
    let BackendReference { group, kind, namespace, name, port, weight } = backend;
    let field = format!("rules[{rule}].backendRefs[{at}]");
    BackendInput::new(Reference::new(field, group, kind, namespace, name, *port), *weight, Vec::new())
}
