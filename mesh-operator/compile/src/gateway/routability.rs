//! From where a Gateway's addresses can be reached (GEP-1651): those of routability Cluster are its Service's ClusterIPs, all
//! others a load balancer's.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;

use crate::api::generated::gateway::{GatewayAddresses, GatewaySpec};

pub(crate) const CLUSTER: &str = "Cluster";

/// What `spec.addresses` asks for that nobody can be given.
pub(super) fn unsupported(address: &GatewayAddresses) -> Option<&str> {
    address.routability.as_deref().filter(|routability| !matches!(*routability, "" | CLUSTER))
}

/// Whether it is to have addresses of a load balancer. It is where it asks for nothing.
pub(crate) fn has_balancer(spec: &GatewaySpec) -> bool {
    let mut addresses = spec.addresses.iter().flatten().peekable();
    addresses.peek().is_none() || addresses.any(|address| !is_cluster(address))
}

/// Whether its ClusterIPs are addresses of it.
pub(super) fn has_cluster(spec: &GatewaySpec) -> bool {
    spec.addresses.iter().flatten().any(is_cluster)
}

/// The addresses of a load balancer that it asks for by name.
pub(crate) fn wanted_of_balancer(spec: &GatewaySpec) -> impl Iterator<Item = &str> {
    values(spec, |address| !is_cluster(address))
}

/// The ClusterIPs that it asks for by name.
pub(crate) fn wanted_of_cluster(spec: &GatewaySpec) -> impl Iterator<Item = &str> {
    values(spec, is_cluster)
}

/// The ClusterIPs of a Service.
pub(crate) fn cluster_ips(service: &Service) -> Vec<IpAddr> {
    crate::service::cluster_ips(service).iter().filter_map(|ip| ip.parse().ok()).collect()
}

fn values(spec: &GatewaySpec, which: fn(&GatewayAddresses) -> bool) -> impl Iterator<Item = &str> {
    let addresses = spec.addresses.iter().flatten().filter(move |address| which(address));
    addresses.filter_map(|address| address.value.as_deref().filter(|value| !value.is_empty()))
}

fn is_cluster(address: &GatewayAddresses) -> bool {
    address.routability.as_deref() == Some(CLUSTER)
}
