//! The answer of `weir explain`, as `-o json` gives it and as the text is made from.

use std::net::{IpAddr, SocketAddr};

use mesh_ir::name::{Identity, NodeName, ObjectName};
use mesh_ir::resource::{CircuitBreaker, Mode, RetryBudget};
use serde::Serialize;

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explanation {
    pub(super) request: Request,
    pub(super) from: From,
    pub(super) to: To,
    pub(super) handling: Handling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) route: Option<Route>,
    /// Routes that are attached there and do not apply, and why.
    pub(super) routes_aside: Vec<String>,
    /// What the rule's filters do to this request, in their order.
    pub(super) filters: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeouts: Option<Timeouts>,
    /// After what the rule tries again, and how often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retries: Option<String>,
    /// What the mesh answers itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<Answer>,
    pub(super) backends: Vec<Backend>,
    /// What goes wrong with the mesh as it is now.
    pub(super) warnings: Vec<String>,
    /// Defaults that can refuse or cut off this traffic.
    pub(super) limits: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum From {
    Pod {
        name: ObjectName,
        node: Option<NodeName>,
        addresses: Vec<IpAddr>,
        meshed: bool,
        identity: Option<Identity>,
    },
    Outside,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum To {
    Service {
        name: ObjectName,
        port: u16,
        protocol: &'static str,
        found: String,
    },
    HeadlessService {
        name: ObjectName,
        found: String,
    },
    Workload {
        name: ObjectName,
        port: u16,
        meshed: bool,
    },
    Gateway {
        name: ObjectName,
        port: u16,
        /// The listener that takes the request, if one does.
        listener: Option<String>,
        found: String,
    },
    Elsewhere {
        what: String,
    },
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Handling {
    pub(super) by: HandledAs,
    pub(super) why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum HandledAs {
    /// The proxy reads requests, and routes apply.
    Http,
    /// The proxy carries bytes and looks at none.
    Tcp,
    /// The Gateway's proxy passes datagrams on.
    Udp,
    /// The mesh does not see it.
    LeftAlone,
    /// It cannot work.
    Refused,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Route {
    /// The rule that takes the request; none when the routes hold no rule for it.
    pub(super) rule: Option<Rule>,
    /// The rules that were tried before it.
    pub(super) passed_over: Vec<PassedOver>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Rule {
    pub(super) route: String,
    pub(super) index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) role: String,
    /// The match that holds.
    pub(super) by: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct PassedOver {
    pub(super) route: String,
    pub(super) index: usize,
    /// For each of its matches the first thing that it did not find.
    pub(super) because: Vec<String>,
}

/// In words like `10 s`; none is unlimited.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Timeouts {
    pub(super) request: Option<String>,
    pub(super) backend_request: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub(super) status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) location: Option<String>,
    pub(super) reason: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Backend {
    /// `Service ns/name port 80`, `pod ns/name port 80`, or `nothing` where the reference leads nowhere.
    pub(super) target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) weight: Option<u32>,
    pub(super) percent: f64,
    /// What is wrong with the reference; its share is answered 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) invalid: Option<String>,
    pub(super) filters: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) circuit_breaker: Option<CircuitBreaker>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_budget: Option<RetryBudget>,
    /// For how many seconds after its last use a client's address keeps its endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) session_affinity: Option<u64>,
    /// How its applications are spoken to, where a BackendTLSPolicy says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tls: Option<String>,
    /// Why none of the endpoints is used, where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) none_used: Option<&'static str>,
    pub(super) endpoints: Vec<Endpoint>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Endpoint {
    pub(super) workload: ObjectName,
    /// None where it has no address of a family that the client has.
    pub(super) address: Option<SocketAddr>,
    pub(super) node: Option<NodeName>,
    /// None where the workload was dialled itself, whose readiness counts for Services only.
    pub(super) health: Option<Health>,
    /// Whether new traffic goes to it.
    pub(super) used: bool,
    /// Why it does not, where that is not said by the endpoint's health alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unused: Option<String>,
    pub(super) reached: Reached,
    /// What it does with a peer that brings no identity; none outside the mesh, where nobody asks.
    pub(super) mode: Option<Mode>,
    /// Why it would not let this client in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Health {
    Ready,
    Draining,
    Unready,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "way", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Reached {
    /// Joined by the node that both run on.
    WithinNode {
        identity: Identity,
    },
    /// In clear between the two pods, by the node that both run on.
    PodNetwork {
        identity: Identity,
    },
    MutualTls {
        identity: Identity,
    },
    /// From a Gateway: within the node that the client's connection comes in at, if that is this one.
    MutualTlsOrWithinNode {
        node: NodeName,
        identity: Identity,
    },
    Plaintext,
}
