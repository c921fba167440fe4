//! What `weir lab get -o json` and mesh-operator's `/nodes` say, as far as the tests need it.

use std::net::IpAddr;

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
pub struct View {
    pub nodes: Vec<Node>,
    pub pods: Vec<Pod>,
    pub services: Vec<Service>,
    pub gateways: Vec<Gateway>,
    pub programs: Vec<Program>,
    pub problems: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    pub name: String,
    pub addresses: Vec<IpAddr>,
    /// The name of its network namespace, as `ip netns` knows it.
    pub netns: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub node: String,
    pub addresses: Vec<IpAddr>,
    pub ready: bool,
    pub terminating: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    pub cluster_ips: Vec<IpAddr>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Gateway {
    pub namespace: String,
    pub name: String,
    pub addresses: Vec<IpAddr>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Program {
    pub name: String,
    pub ready: bool,
    pub restarts: u32,
    pub pid: Option<i32>,
}

/// A node's configuration session.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSession {
    /// `None` until the node has said who it is.
    pub node: Option<String>,
    #[serde(rename = "acknowledgedVersion")]
    pub acknowledged: Option<String>,
    pub up_to_date: bool,
}

impl Pod {
    /// How `weir lab exec` and the access log name it.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// # Panics
    /// If it has none; a pod of a lab has one of each family.
    pub fn address(&self, v6: bool) -> IpAddr {
        of_family(&self.addresses, v6)
    }
}

impl Service {
    /// # Panics
    /// If it has none; a Service of a lab that is not headless has one of each family.
    pub fn address(&self, v6: bool) -> IpAddr {
        of_family(&self.cluster_ips, v6)
    }
}

fn of_family(addresses: &[IpAddr], v6: bool) -> IpAddr {
    let found = addresses.iter().copied().find(|address| address.is_ipv6() == v6);
    found.expect("a lab gives every pod and Service an address of each family")
}
