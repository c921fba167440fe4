//! The nftables of a node, which do what kube-proxy does for traffic that is not captured: a ClusterIP or a load balancer's
//! address becomes one of the endpoints, at random. One table, replaced whole in one transaction.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use super::backends::{Backend, Port, Service};
use crate::lab::address::Subnets;
use crate::lab::layout::node_name;

/// The script that replaces a node's table.
pub(crate) fn script(plan: Subnets, node: u8, services: &[Service]) -> String {
    let mut rules = Rules::default();
    for service in services {
        for port in &service.ports {
            rules.add(node, service, port);
        }
    }
    rules.render(plan, node)
}

#[derive(Default)]
struct Rules {
    /// For each family, `ADDRESS . PROTOCOL . PORT : goto CHAIN`.
    elements: [Vec<String>; 2],
    chains: Vec<String>,
    backends: BTreeSet<IpAddr>,
}

impl Rules {
    fn add(&mut self, node: u8, service: &Service, port: &Port) {
        let here = node_name(node);
        for address in service.cluster_ips.iter().chain(&service.balancer_ips) {
            let external = service.balancer_ips.contains(address);
            let family = port.backends.iter().filter(|b| b.address.is_ipv4() == address.is_ipv4());
            let (local, remote): (Vec<&Backend>, Vec<&Backend>) =
                family.partition(|backend| backend.node.as_deref() == Some(&here));
            // From outside the client's address is kept, so the answer must leave from here: a local backend comes
            // first, and only a Service that spreads over all nodes falls back to one elsewhere, masqueraded.
            let (chosen, masquerade) = match external {
                true if !local.is_empty() || service.external_local => (local, false),
                true => (remote, true),
                false if service.internal_local => (local, false),
                false => (local.into_iter().chain(remote).collect(), false),
            };
            if chosen.is_empty() {
                continue;
            }
            let chain = format!("service_{}", self.chains.len());
            let list = &mut self.elements[usize::from(address.is_ipv6())];
            list.push(format!("{address} . {} . {} : goto {chain}", port.protocol, port.port));
            self.backends.extend(chosen.iter().map(|backend| backend.address.ip()));
            self.chains.push(chain_text(&chain, service, port, &chosen, masquerade));
        }
    }

    fn render(&self, plan: Subnets, node: u8) -> String {
        let mut text =
            String::from("table inet weir_lab\ndelete table inet weir_lab\ntable inet weir_lab {\n");
        for (elements, number, kind) in
            [(&self.elements[0], 4, "ipv4_addr"), (&self.elements[1], 6, "ipv6_addr")]
        {
            line(&mut text, format_args!("  map services{number} {{"));
            line(&mut text, format_args!("    type {kind} . inet_proto . inet_service : verdict"));
            if !elements.is_empty() {
                line(
                    &mut text,
                    format_args!("    elements = {{\n      {}\n    }}", elements.join(",\n      ")),
                );
            }
            text.push_str("  }\n");
        }
        text.push_str(&self.chains.concat());
        text.push_str(
            "  chain refuse {\n    meta l4proto tcp reject with tcp reset\n    reject\n  }\n  chain translate {\n    \
             ip daddr . meta l4proto . th dport vmap @services4\n    ip6 daddr . meta l4proto . th dport vmap @services6\n  }\n",
        );
        for (hook, name) in [("prerouting", "arriving"), ("output", "own")] {
            line(
                &mut text,
                format_args!("  chain {name} {{\n    type nat hook {hook} priority -100; policy accept;"),
            );
            text.push_str("    jump translate\n  }\n");
        }
        // What still has a ClusterIP after translation has nobody behind it.
        for (hook, name) in [("forward", "unserved"), ("output", "own_unserved")] {
            line(
                &mut text,
                format_args!("  chain {name} {{\n    type filter hook {hook} priority 0; policy accept;"),
            );
            line(&mut text, format_args!("    ip daddr {} goto refuse", plan.services4()));
            line(&mut text, format_args!("    ip6 daddr {} goto refuse\n  }}", plan.services6()));
        }
        self.leaving(&mut text, plan, node);
        text.push_str("}\n");
        text
    }

    fn leaving(&self, text: &mut String, plan: Subnets, node: u8) {
        text.push_str("  chain leaving {\n    type nat hook postrouting priority 100; policy accept;\n");
        text.push_str("    ct mark 0x77 masquerade\n");
        // A pod that reaches itself through a Service would else get an answer that never passes the translation.
        for (is_v4, word) in [(true, "ip"), (false, "ip6")] {
            let pairs: Vec<String> = self
                .backends
                .iter()
                .filter(|ip| ip.is_ipv4() == is_v4)
                .map(|ip| format!("{ip} . {ip}"))
                .collect();
            if !pairs.is_empty() {
                line(
                    text,
                    format_args!("    {word} saddr . {word} daddr {{ {} }} masquerade", pairs.join(", ")),
                );
            }
        }
        // The machine and what is beyond it have no route to pods.
        let host = plan.host();
        line(text, format_args!("    ip saddr {} ip daddr {} masquerade", plan.pods4(node), host.v4));
        line(text, format_args!("    ip saddr {} ip daddr != {} masquerade", plan.pods4(node), plan.all4()));
        line(text, format_args!("    ip6 saddr {} ip6 daddr {} masquerade", plan.pods6(node), host.v6));
        line(
            text,
            format_args!("    ip6 saddr {} ip6 daddr != {} masquerade\n  }}", plan.pods6(node), plan.all6()),
        );
    }
}

fn chain_text(
    chain: &str,
    service: &Service,
    port: &Port,
    backends: &[&Backend],
    masquerade: bool,
) -> String {
    let mut text = format!("  chain {chain} {{\n    comment \"{}/{}\"\n", service.namespace, service.name);
    if masquerade {
        text.push_str("    ct mark set 0x77\n");
    }
    let word = if backends[0].address.is_ipv4() { "ip" } else { "ip6" };
    let target = match backends {
        [only] => only.address.to_string(),
        several => {
            let list: Vec<String> = several
                .iter()
                .enumerate()
                .map(|(number, backend)| {
                    format!("{number} : {} . {}", backend.address.ip(), backend.address.port())
                })
                .collect();
            format!("numgen random mod {} map {{ {} }}", list.len(), list.join(", "))
        }
    };
    line(&mut text, format_args!("    meta l4proto {} dnat {word} to {target}\n  }}", port.protocol));
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("writing to a String cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(cluster_ips: &[&str], balancer_ips: &[&str], backends: &[(&str, &str)]) -> Service {
        let backend = |(address, node): &(&str, &str)| Backend {
            address: address.parse().unwrap(),
            node: Some((*node).to_owned()),
        };
        Service {
            namespace: "default".into(),
            name: "web".into(),
            cluster_ips: cluster_ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            balancer_ips: balancer_ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            external_name: None,
            internal_local: false,
            external_local: false,
            ports: vec![Port {
                name: String::new(),
                protocol: "tcp",
                port: 80,
                backends: backends.iter().map(backend).collect(),
            }],
            ready_addresses: vec![],
        }
    }

    #[test]
    fn script_of_a_node_with_one_service() {
        let web = service(
            &["100.64.128.9", "fd77:6569:0:ffff::9"],
            &[],
            &[
                ("100.64.1.2:8080", "node-1"),
                ("100.64.2.2:8080", "node-2"),
                ("[fd77:6569:0:1::2]:8080", "node-1"),
            ],
        );
        assert_eq!(script(Subnets::new(0), 1, &[web]), include_str!("nft/one_service.nft"));
    }

    #[track_caller]
    fn check_balancer(node: u8, external_local: bool, backends: &[(&str, &str)], expected: &str) {
        let mut web = service(&[], &["100.64.0.100"], backends);
        web.external_local = external_local;
        let text = script(Subnets::new(0), node, &[web]);
        let chain = text.split("chain service_0 {").nth(1).map(|rest| rest.split('}').next().unwrap());
        let lines: Vec<&str> =
            chain.unwrap_or_default().lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        assert_eq!(lines.get(1..).unwrap_or_default().join("; "), expected);
    }

    #[test]
    fn balancer_addresses_go_to_backends_of_the_node_first() {
        let both = [("100.64.1.2:80", "node-1"), ("100.64.2.2:80", "node-2")];
        check_balancer(1, false, &both, "meta l4proto tcp dnat ip to 100.64.1.2:80");
        check_balancer(2, true, &both, "meta l4proto tcp dnat ip to 100.64.2.2:80");
        check_balancer(1, false, &both[1..], "ct mark set 0x77; meta l4proto tcp dnat ip to 100.64.2.2:80");
        check_balancer(1, true, &both[1..], "");
    }
}
