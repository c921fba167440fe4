//! Which endpoints of a Service a client may use: what kube-proxy (v1.36, `pkg/proxy/topology.go`) makes of
//! readiness, `internalTrafficPolicy` and the hints of EndpointSlices. A view asks once, when it is built for its node.

use std::fmt;

use crate::name::{NodeName, ObjectName, Zone};
use crate::resource::{Health, Hints, Resource, ResourceKey, TrafficPolicy, Transport, Workload};
use crate::view::MeshView;

/// From where an endpoint is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    pub origin: Origin,
    pub node: Option<&'a NodeName>,
    pub zone: Option<&'a Zone>,
}

impl Client<'_> {
    /// Of no node in particular: nothing is near, and all that serves is used.
    pub const ANYWHERE: Client<'static> = Client { origin: Origin::Gateway, node: None, zone: None };

    fn is_on(&self, node: Option<&NodeName>) -> bool {
        self.node.is_some() && self.node == node
    }

    fn is_of_nodes(&self, hints: &Hints) -> bool {
        self.node.is_some_and(|node| hints.for_nodes.contains(node))
    }

    fn is_of_zones(&self, hints: &Hints) -> bool {
        self.zone.is_some_and(|zone| hints.for_zones.contains(zone))
    }
}

/// Whose traffic it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Pod,
    /// Of a Gateway's clients. It comes from outside the cluster, at any of its nodes, so that a policy for internal
    /// traffic does not hold for it.
    Gateway,
}

/// What of an endpoint decides who may use it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    pub node: Option<&'a NodeName>,
    pub health: Health,
    pub hints: &'a Hints,
}

/// Why an endpoint is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excluded {
    NotReady,
    Draining,
    OnOtherNode,
    ForOtherNodes,
    ForOtherZones,
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotReady => "it is not ready",
            Self::Draining => "it is terminating, and others are ready",
            Self::OnOtherNode => "internalTrafficPolicy is Local, and it is not on the client's node",
            Self::ForOtherNodes => "trafficDistribution prefers endpoints on the client's node",
            Self::ForOtherZones => "trafficDistribution prefers endpoints in the client's zone",
        })
    }
}

/// An endpoint, and why it is not used if it is not.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'v> {
    pub workload: &'v Workload,
    /// The workload's own port.
    pub port: u16,
    pub health: Health,
    pub excluded: Option<Excluded>,
}

impl<'a> Member<'a> {
    /// What a workload is to a Service, and its own port behind the Service's.
    pub fn of(
        workload: &'a Workload,
        service: &ObjectName,
        (transport, port): (Transport, u16),
    ) -> Option<(Self, u16)> {
        let membership = workload.services.iter().find(|membership| membership.service == *service)?;
        let pair = membership.ports_of(transport).iter().find(|pair| pair.port == port)?;
        let node = workload.node.as_ref();
        Some((Self { node, health: membership.health, hints: &membership.hints }, pair.target))
    }
}

/// Every endpoint of a Service's port, judged for a client. For people: the proxy asks its view, which has asked this.
pub fn judged<'v>(
    view: &'v MeshView,
    name: &ObjectName,
    port: (Transport, u16),
    client: Client<'_>,
) -> Vec<Judged<'v>> {
    let resource = view.config().resources.get(&ResourceKey::Service(name.clone()));
    let Some(Resource::Service(service)) = resource.map(|resource| &**resource) else { return Vec::new() };
    let of = |workload: &'v Workload| {
        Member::of(workload, name, port).map(|(member, target)| (workload, member, target))
    };
    let all: Vec<_> = view.workloads().filter_map(of).collect();
    let members: Vec<Member<'_>> = all.iter().map(|(_, member, _)| *member).collect();
    let excluded = judge(&members, service.internal_traffic_policy, client);
    let judged =
        |((workload, member, port), excluded): ((&'v Workload, Member<'_>, u16), Option<Excluded>)| Judged {
            workload,
            port,
            health: member.health,
            excluded,
        };
    all.into_iter().zip(excluded).map(judged).collect()
}

/// For each of a port's endpoints why it is not used; `None` for those that are.
pub fn judge(members: &[Member<'_>], policy: TrafficPolicy, client: Client<'_>) -> Vec<Option<Excluded>> {
    let wanted = match (policy, client.origin) {
        (TrafficPolicy::Local, Origin::Pod) => Wanted::OnNode,
        _ => hinted(members, client),
    };
    let away = |member: &Member<'_>| match wanted {
        Wanted::Any => None,
        Wanted::OnNode => (!client.is_on(member.node)).then_some(Excluded::OnOtherNode),
        Wanted::ForNode => (!client.is_of_nodes(member.hints)).then_some(Excluded::ForOtherNodes),
        Wanted::ForZone => (!client.is_of_zones(member.hints)).then_some(Excluded::ForOtherZones),
    };
    let ready = members.iter().any(|member| member.health == Health::Ready && away(member).is_none());
    let judge = |member: &Member<'_>| match member.health {
        Health::Unready => Some(Excluded::NotReady),
        Health::Draining if ready => Some(Excluded::Draining),
        Health::Ready | Health::Draining => away(member),
    };
    members.iter().map(judge).collect()
}

/// Where the endpoints are that a client is to have.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Any,
    OnNode,
    ForNode,
    ForZone,
}

/// Hints hold only where every ready endpoint has one and one of them is for the client: those of nodes go before those
/// of zones. The endpoints that are not ready have no say in it.
fn hinted(members: &[Member<'_>], client: Client<'_>) -> Wanted {
    let ready = || members.iter().filter(|member| member.health == Health::Ready).map(|member| member.hints);
    if ready().any(|hints| client.is_of_nodes(hints)) && ready().all(|hints| !hints.for_nodes.is_empty()) {
        Wanted::ForNode
    } else if ready().any(|hints| client.is_of_zones(hints))
        && ready().all(|hints| !hints.for_zones.is_empty())
    {
        Wanted::ForZone
    } else {
        Wanted::Any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `R` ready, `D` draining, `U` unready; then the node it runs on, and the nodes and zones of its hints.
    type Case<'a> = (char, &'a str, &'a [&'a str], &'a [&'a str]);

    /// The places of those that are used from node `a` in zone `x`.
    fn used(policy: TrafficPolicy, origin: Origin, zone: Option<&str>, cases: &[Case<'_>]) -> Vec<usize> {
        let owned: Vec<(Health, NodeName, Hints)> = cases
            .iter()
            .map(|(health, node, nodes, zones)| {
                let health = match health {
                    'R' => Health::Ready,
                    'D' => Health::Draining,
                    _ => Health::Unready,
                };
                let hints = Hints {
                    for_nodes: nodes.iter().map(|name| name.parse().unwrap()).collect(),
                    for_zones: zones.iter().map(|name| name.parse().unwrap()).collect(),
                };
                (health, node.parse().unwrap(), hints)
            })
            .collect();
        let members: Vec<Member<'_>> = owned
            .iter()
            .map(|(health, node, hints)| Member { node: Some(node), health: *health, hints })
            .collect();
        let (node, zone) = ("a".parse().unwrap(), zone.map(|zone| zone.parse().unwrap()));
        let client = Client { origin, node: Some(&node), zone: zone.as_ref() };
        let judged = judge(&members, policy, client);
        (0..cases.len()).filter(|at| judged[*at].is_none()).collect()
    }

    fn of_cluster(cases: &[Case<'_>]) -> Vec<usize> {
        used(TrafficPolicy::Cluster, Origin::Pod, Some("x"), cases)
    }

    #[test]
    fn endpoints_that_terminate_serve_only_while_none_is_ready() {
        assert_eq!(of_cluster(&[('R', "a", &[], &[]), ('D', "a", &[], &[]), ('U', "a", &[], &[])]), [0]);
        assert_eq!(of_cluster(&[('D', "a", &[], &[]), ('U', "a", &[], &[]), ('D', "b", &[], &[])]), [0, 2]);
        assert!(of_cluster(&[('U', "a", &[], &[])]).is_empty());
    }

    #[test]
    fn endpoints_of_a_local_policy_are_the_nodes_own_or_none() {
        let local = |cases: &[Case<'_>]| used(TrafficPolicy::Local, Origin::Pod, None, cases);
        assert_eq!(local(&[('R', "a", &[], &[]), ('R', "b", &[], &[])]), [0]);
        assert!(local(&[('R', "b", &[], &[]), ('U', "a", &[], &[])]).is_empty());
        // A ready endpoint elsewhere does not keep the node's own terminating one from serving.
        assert_eq!(local(&[('R', "b", &[], &[]), ('D', "a", &[], &[])]), [1]);
        // Hints have no say.
        assert_eq!(local(&[('R', "a", &["b"], &[]), ('R', "b", &["a"], &[])]), [0]);
        let gateway =
            used(TrafficPolicy::Local, Origin::Gateway, None, &[('R', "b", &[], &[]), ('D', "a", &[], &[])]);
        assert_eq!(gateway, [0], "what comes in at a Gateway is not internal");
    }

    #[test]
    fn endpoints_are_taken_by_hints_of_the_node_then_of_the_zone() {
        let both: &[Case<'_>] =
            &[('R', "a", &["a"], &["x"]), ('R', "b", &["b"], &["x"]), ('R', "c", &["c"], &["y"])];
        assert_eq!(of_cluster(both), [0]);
        // None for this node: by zone. None for this zone either, or the node in none: all.
        assert_eq!(of_cluster(&both[1..]), [0]);
        assert_eq!(of_cluster(&both[2..]), [0]);
        assert_eq!(used(TrafficPolicy::Cluster, Origin::Pod, None, &both[1..]), [0, 1]);
        assert_eq!(used(TrafficPolicy::Cluster, Origin::Gateway, Some("x"), both), [0]);
    }

    #[test]
    fn endpoints_hints_are_put_aside_where_a_ready_one_has_none() {
        assert_eq!(of_cluster(&[('R', "a", &["a"], &[]), ('R', "b", &[], &[])]), [0, 1]);
        assert_eq!(of_cluster(&[('R', "a", &["a"], &["x"]), ('R', "b", &[], &["y"])]), [0]);
        assert_eq!(of_cluster(&[('R', "a", &[], &["x"]), ('R', "b", &[], &[])]), [0, 1]);
        // One that is not ready needs none.
        assert_eq!(
            of_cluster(&[('R', "a", &["a"], &[]), ('R', "b", &["b"], &[]), ('D', "b", &[], &[])]),
            [0]
        );
    }

    #[test]
    fn endpoints_hinted_for_the_node_count_only_while_ready() {
        // The near one is terminating: the ready one elsewhere serves.
        assert_eq!(of_cluster(&[('D', "a", &["a"], &["x"]), ('R', "b", &["b"], &["y"])]), [1]);
        // None is ready: hints have no say.
        assert_eq!(of_cluster(&[('D', "a", &["a"], &[]), ('D', "b", &["b"], &[])]), [0, 1]);
    }
}
