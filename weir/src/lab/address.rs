//! The addresses of a lab: which part of the plan belongs to which node, pod, Service and load balancer.
//!
//! Every address follows from the lab's index, so two labs with different indexes never share one. Pure arithmetic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// How many labs can live on one machine.
pub(crate) const MAX_LABS: u8 = 64;
/// How many nodes a lab can have.
pub(crate) const MAX_NODES: u8 = 32;
/// The last host number that a pod may get; the first is 2, because 1 is the node's end of every pod's link.
pub(crate) const LAST_POD: u8 = 254;
/// The host numbers in the LAN that load balancers may get.
pub(crate) const BALANCERS: std::ops::RangeInclusive<u8> = 100..=250;
/// How many ClusterIPs there are; number 0 is the network's own address and is never given.
pub(crate) const CLUSTER_IPS: u16 = 0x7fff;

/// An IPv4 address and the IPv6 address that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Dual {
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
}

impl Dual {
    pub(crate) fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// The subnets of one lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Subnets {
    index: u8,
}

impl Subnets {
    /// `index` is below [`MAX_LABS`].
    pub(crate) fn new(index: u8) -> Self {
        assert!(index < MAX_LABS, "lab indexes are chosen below MAX_LABS");
        Subnets { index }
    }

    pub(crate) fn index(self) -> u8 {
        self.index
    }

    fn v4(self, third: u8, fourth: u8) -> Ipv4Addr {
        Ipv4Addr::new(100, 64 + self.index, third, fourth)
    }

    fn v6(self, subnet: u16, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0x6569, u16::from(self.index), subnet, 0, 0, 0, host)
    }

    fn dual(self, third: u8, fourth: u8) -> Dual {
        Dual { v4: self.v4(third, fourth), v6: self.v6(u16::from(third), u16::from(fourth)) }
    }

    /// Everything in the lab.
    pub(crate) fn all4(self) -> Ipv4Net {
        Ipv4Net::new_assert(self.v4(0, 0), 16)
    }

    pub(crate) fn all6(self) -> Ipv6Net {
        Ipv6Net::new_assert(self.v6(0, 0), 48)
    }

    /// The machine itself, as the lab sees it: the DNS server, the operator and the certificate authority are here.
    pub(crate) fn host(self) -> Dual {
        self.dual(0, 1)
    }

    pub(crate) fn node(self, node: u8) -> Dual {
        self.dual(0, 10 + node)
    }

    pub(crate) fn pods4(self, node: u8) -> Ipv4Net {
        Ipv4Net::new_assert(self.v4(node, 0), 24)
    }

    pub(crate) fn pods6(self, node: u8) -> Ipv6Net {
        Ipv6Net::new_assert(self.v6(u16::from(node), 0), 64)
    }

    /// The node's end of every pod's link.
    pub(crate) fn pod_gateway(self, node: u8) -> Ipv4Addr {
        self.v4(node, 1)
    }

    pub(crate) fn pod(self, node: u8, host: u8) -> Dual {
        self.dual(node, host)
    }

    pub(crate) fn services4(self) -> Ipv4Net {
        Ipv4Net::new_assert(self.v4(128, 0), 17)
    }

    pub(crate) fn services6(self) -> Ipv6Net {
        Ipv6Net::new_assert(self.v6(0xffff, 0), 112)
    }

    /// The ClusterIPs with this number, in `1..=CLUSTER_IPS`.
    pub(crate) fn service(self, number: u16) -> Dual {
        let [high, low] = number.to_be_bytes();
        Dual { v4: self.v4(128 | high, low), v6: self.v6(0xffff, number) }
    }

    /// The number of a ClusterIP, if it is one of this lab's.
    pub(crate) fn service_number(self, address: IpAddr) -> Option<u16> {
        let number = match address {
            IpAddr::V4(v4) if self.services4().contains(&v4) => {
                let [_, _, third, fourth] = v4.octets();
                u16::from_be_bytes([third & 0x7f, fourth])
            }
            IpAddr::V6(v6) if self.services6().contains(&v6) => v6.segments()[7],
            _ => return None,
        };
        (1..=CLUSTER_IPS).contains(&number).then_some(number)
    }

    /// The load balancer addresses with this host number, in [`BALANCERS`].
    pub(crate) fn balancer(self, host: u8) -> Dual {
        self.dual(0, host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_follow_the_address_plan() {
        let plan = Subnets::new(2);
        assert_eq!(plan.host().v4.to_string(), "100.66.0.1");
        assert_eq!(plan.host().v6.to_string(), "fd77:6569:2::1");
        assert_eq!(plan.node(1).v4.to_string(), "100.66.0.11");
        assert_eq!(plan.pods4(2).to_string(), "100.66.2.0/24");
        assert_eq!(plan.pods6(2).to_string(), "fd77:6569:2:2::/64");
        assert_eq!(plan.services4().to_string(), "100.66.128.0/17");
        assert_eq!(plan.services6().to_string(), "fd77:6569:2:ffff::/112");
    }

    #[test]
    fn service_numbers_survive_the_round_trip() {
        let plan = Subnets::new(63);
        for number in [1, 255, 256, CLUSTER_IPS] {
            let dual = plan.service(number);
            assert_eq!(plan.service_number(dual.v4.into()), Some(number));
            assert_eq!(plan.service_number(dual.v6.into()), Some(number));
        }
        assert_eq!(plan.service_number(plan.node(1).v4.into()), None);
        assert_eq!(plan.service_number(Subnets::new(1).service(4).v4.into()), None);
    }
}
