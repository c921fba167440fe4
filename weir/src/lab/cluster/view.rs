//! What `weir lab get` shows, as plain data that goes over the control socket.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Cluster;
use crate::lab::decide::addresses;
use crate::lab::layout::node_name;

#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct View {
    pub(crate) name: String,
    pub(crate) nodes: Vec<NodeView>,
    pub(crate) pods: Vec<PodView>,
    pub(crate) services: Vec<ServiceView>,
    pub(crate) gateways: Vec<GatewayView>,
    pub(crate) programs: Vec<ProgramView>,
    pub(crate) problems: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct NodeView {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    /// The named network namespace, for `ip netns exec`.
    pub(crate) netns: String,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct PodView {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) node: String,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) phase: String,
    pub(crate) ready: bool,
    pub(crate) terminating: bool,
    pub(crate) restarts: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) message: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct ServiceView {
    pub(crate) namespace: String,
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) cluster_ips: Vec<IpAddr>,
    pub(crate) external_ips: Vec<IpAddr>,
    /// `PORT/PROTOCOL`.
    pub(crate) ports: Vec<String>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct GatewayView {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ProgramView {
    pub(crate) name: String,
    pub(crate) ready: bool,
    pub(crate) restarts: u32,
    pub(crate) pid: Option<u32>,
}

impl Cluster {
    /// The view, but for what the supervisor knows beside the cluster: its name, programs and gateways.
    pub(crate) fn view(&self, netns_of: impl Fn(u8) -> String) -> View {
        let nodes = (1..=self.nodes).map(|node| NodeView {
            name: node_name(node),
            addresses: self.plan.node(node).both().to_vec(),
            netns: netns_of(node),
        });
        let mut pods: Vec<PodView> = self
            .pods
            .values()
            .map(|pod| PodView {
                namespace: pod.namespace.clone(),
                name: pod.name.clone(),
                uid: pod.uid.clone(),
                node: pod.node_name(),
                addresses: pod.address.both().to_vec(),
                phase: format!("{:?}", pod.phase),
                ready: pod.ready,
                terminating: pod.is_terminating(),
                restarts: pod.restart_count(),
                message: pod.message.clone(),
            })
            .collect();
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        View {
            nodes: nodes.collect(),
            pods,
            services: self.service_views(),
            problems: self.problems.iter().map(|(about, problem)| format!("{about}: {problem}")).collect(),
            ..View::default()
        }
    }

    fn service_views(&self) -> Vec<ServiceView> {
        let one = |(id, value): (&super::ObjectId, &Value)| {
            let mut value = value.clone();
            let given = self.given.cluster_ip(self.plan, id);
            addresses::complete(&mut value, given, self.given.balancer(self.plan, id));
            let ips = |list: &Value| -> Vec<IpAddr> {
                let texts = list.as_array().into_iter().flatten();
                texts.filter_map(|ip| ip.as_str().or_else(|| ip["ip"].as_str())?.parse().ok()).collect()
            };
            let port =
                |port: &Value| format!("{}/{}", port["port"], port["protocol"].as_str().unwrap_or("TCP"));
            ServiceView {
                namespace: id.space().to_owned(),
                name: id.name.clone(),
                kind: value["spec"]["type"].as_str().unwrap_or("ClusterIP").to_owned(),
                cluster_ips: ips(&value["spec"]["clusterIPs"]),
                external_ips: ips(&value["status"]["loadBalancer"]["ingress"]),
                ports: value["spec"]["ports"].as_array().into_iter().flatten().map(port).collect(),
            }
        };
        self.store.of_kind("", "Service").map(one).collect()
    }
}
