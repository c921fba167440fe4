//! Which kind of route has a Service's port: GRPCRoutes before HTTPRoutes before TLSRoutes before TCPRoutes (GEP-1294). The
//! routes of each namespace have their own clients, and are in the way of no others.

use mesh_ir::name::ObjectName;
use mesh_ir::resource::{RouteKey, RouteKind, Transport};

use crate::attach::{self, Attachment, Refusal};
use crate::lookup::Lookup;
use crate::route::{self, Validity};
use crate::service;

/// A route that would be accepted, and the port it wants; no port is every port.
#[derive(Debug)]
struct Claim {
    route: RouteKey,
    port: Option<u16>,
}

/// `Err` where routes of kinds that go first have every port that a route is attached to.
pub(crate) fn check(snapshot: &Lookup<'_>, route: &RouteKey, attachment: &Attachment) -> Result<(), Refusal> {
    let Attachment::Service { result: Ok((name, port)) } = attachment else { return Ok(()) };
    let Some(object) = snapshot.services.get(name) else { return Ok(()) };
    let claims = before(snapshot, route, name);
    // The first by kind and name of those that have a port.
    let winner = |number: u16| {
        let here = claims.iter().filter(|claim| claim.port.is_none_or(|claimed| claimed == number));
        here.map(|claim| &claim.route).min()
    };
    let numbers = service::ports_of(object, Transport::Tcp).filter_map(|p| service::port_number(p.port));
    let wanted = numbers.filter(|number| port.is_none_or(|port| port == *number));
    let winners: Option<Vec<&RouteKey>> = wanted.map(winner).collect();
    match winners.unwrap_or_default().first() {
        None => Ok(()),
        Some(winner) => {
            let message = format!(
                "{winner} is attached to the same port of Service {name}, and a {} goes before a {} there",
                winner.kind.as_kind(),
                route.kind.as_kind()
            );
            Err(("Conflicted", message))
        }
    }
}

/// What the routes of kinds that go before this one want of a Service.
fn before(snapshot: &Lookup<'_>, route: &RouteKey, service: &ObjectName) -> Vec<Claim> {
    let namespace = &route.name.namespace;
    let mut claims = Vec::new();
    for kind in RouteKind::ALL.into_iter().filter(|kind| *kind < route.kind) {
        let others = route::with_parent(snapshot, kind, namespace, |parent| {
            attach::names_service(namespace, parent, service)
        });
        for other in others.iter().filter(|other| Validity::of(other).check().is_ok()) {
            let named = other.parents.iter().filter(|p| attach::names_service(namespace, p, service));
            let ports = named.filter_map(|parent| attach::to_service(snapshot, service, parent).ok());
            claims.extend(ports.map(|(_, port)| Claim { route: other.key.clone(), port }));
        }
    }
    claims
}
