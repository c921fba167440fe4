//! The lab's network on the machine: a LAN with a bridge in a namespace of its own, one namespace per node on it, and
//! one per pod behind its node.
//!
//! The bridge is not in the machine's own namespace, because there the machine's firewall (a container engine's forward
//! policy, say) would apply to frames between nodes.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use super::{command, netns};
use crate::lab::address::{Dual, Subnets};
use crate::lab::layout::{LINK_ALIAS, Layout};

/// The machine's link into the lab with this index.
pub(crate) fn host_link(plan: Subnets) -> String {
    format!("wl{}", plan.index())
}

/// Makes the LAN and the machine's link to it.
pub(crate) async fn make_lan(layout: &Layout, plan: Subnets) -> io::Result<()> {
    let (netns, link, host) = (layout.lan_netns(), host_link(plan), plan.host());
    let name = layout.name();
    command::ip(format!("netns add {netns}\n")).await?;
    let path = Path::new(crate::lab::layout::NETNS_ROOT).join(&netns);
    netns::within(&path, || {
        for protocol in ["ip", "ip6", "arp"] {
            // Absent where the machine has no bridge firewalling, and then there is nothing to switch off.
            let _ = fs::write(format!("/proc/sys/net/bridge/bridge-nf-call-{protocol}tables"), "0");
        }
        sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
        sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        command::ip_here("link set lo up\nlink add lan0 type bridge\nlink set lan0 up\n")
    })
    .await?;
    command::ip(format!(
        "link add {link} type veth peer name host netns {netns}\n\
         link set dev {link} alias {LINK_ALIAS}{name}\n\
         addr add {}/24 dev {link}\n\
         addr add {}/64 dev {link} nodad\n\
         link set {link} up\n",
        host.v4, host.v6
    ))
    .await?;
    command::ip_in(&path, "link set host master lan0\nlink set host up\n".to_owned()).await
}

/// Makes a node on the LAN.
pub(crate) async fn make_node(layout: &Layout, plan: Subnets, node: u8, nodes: u8) -> io::Result<()> {
    let netns = layout.node_netns(node);
    command::ip(format!("netns add {netns}\n")).await?;
    let lan = Path::new(crate::lab::layout::NETNS_ROOT).join(layout.lan_netns());
    command::ip_in(
        &lan,
        format!(
            "link add n{node} type veth peer name eth0 netns {netns}\n\
             link set n{node} master lan0\n\
             link set n{node} up\n"
        ),
    )
    .await?;
    let (own, host) = (plan.node(node), plan.host());
    let mut script = format!(
        "link set lo up\n\
         addr add {}/24 dev eth0\n\
         addr add {}/64 dev eth0 nodad\n\
         link set eth0 up\n\
         route add default via {}\n\
         route add ::/0 via {}\n",
        own.v4, own.v6, host.v4, host.v6
    );
    for other in (1..=nodes).filter(|other| *other != node) {
        let via = plan.node(other);
        script.push_str(&format!(
            "route add {} via {}\nroute add {} via {}\n",
            plan.pods4(other),
            via.v4,
            plan.pods6(other),
            via.v6
        ));
    }
    netns::within(&layout.node_netns_path(node), move || {
        sysctl("net/ipv4/ip_forward", "1")?;
        sysctl("net/ipv6/conf/all/forwarding", "1")?;
        // The reverse path of what is translated is not the one that packets come by.
        sysctl("net/ipv4/conf/all/rp_filter", "0")?;
        sysctl("net/ipv4/conf/default/rp_filter", "0")?;
        command::ip_here(&script)
    })
    .await
}

/// Makes a pod's network namespace and joins it to its node.
pub(crate) async fn make_pod(
    layout: &Layout,
    plan: Subnets,
    node: u8,
    uid: &str,
    own: Dual,
) -> io::Result<()> {
    let path = layout.pod_netns(node, uid);
    netns::create(path.clone(), || {
        // As a container runtime sets them: binding low ports and sending pings need no privilege in a pod.
        sysctl("net/ipv4/ip_unprivileged_port_start", "0")?;
        sysctl("net/ipv4/ping_group_range", "0 2147483647")?;
        command::ip_here("link set lo up\n")
    })
    .await?;
    let link = pod_link(own);
    let gateway = plan.pod_gateway(node);
    let node_netns = layout.node_netns_path(node);
    command::ip_in(
        &node_netns,
        format!(
            "link add {link} type veth peer name eth0 netns {}\n\
             addr add {gateway}/32 dev {link}\n\
             addr add fe80::1/64 dev {link} nodad\n\
             link set {link} up\n\
             route add {}/32 dev {link}\n\
             route add {}/128 dev {link}\n",
            path.display(),
            own.v4,
            own.v6
        ),
    )
    .await?;
    command::ip_in(
        &path,
        format!(
            "addr add {}/32 dev eth0\n\
             addr add {}/128 dev eth0 nodad\n\
             link set eth0 up\n\
             route add {gateway} dev eth0 scope link\n\
             route add default via {gateway} dev eth0\n\
             route add ::/0 via fe80::1 dev eth0\n",
            own.v4, own.v6
        ),
    )
    .await?;
    announce(&layout.node_pods(node))
}

/// Takes a pod's link and network namespace away; what is already gone is fine.
pub(crate) async fn remove_pod(layout: &Layout, node: u8, uid: &str, own: Dual) -> io::Result<()> {
    let script = format!("link del {}\n", pod_link(own));
    match command::ip_in(&layout.node_netns_path(node), script).await {
        Err(e) if !e.to_string().contains("Cannot find device") => return Err(e),
        _ => {}
    }
    netns::remove(&layout.pod_netns(node, uid))
}

/// Gives node 1 the load balancer addresses in `add` and takes those in `remove` from it.
///
/// The IPv4 ones sit on its `lo`, for which ARP is answered on any link; neighbour discovery answers only for addresses of
/// the link itself, so the IPv6 ones sit on `eth0`.
pub(crate) async fn change_balancers(layout: &Layout, add: &[Dual], remove: &[Dual]) -> io::Result<()> {
    let mut script = String::new();
    for (word, list) in [("del", remove), ("add", add)] {
        for dual in list {
            script.push_str(&format!("addr {word} {}/32 dev lo\n", dual.v4));
            let nodad = if word == "add" { " nodad" } else { "" };
            script.push_str(&format!("addr {word} {}/128 dev eth0{nodad}\n", dual.v6));
        }
    }
    command::ip_in(&layout.node_netns_path(1), script).await
}

/// Addresses of the machine itself, to stay clear of.
pub(crate) fn machine_addresses() -> io::Result<Vec<IpAddr>> {
    let links: Vec<serde_json::Value> = serde_json::from_slice(&command::ip_output(&["-j", "addr"])?)?;
    let infos = links.iter().filter_map(|link| link["addr_info"].as_array()).flatten();
    Ok(infos.filter_map(|info| info["local"].as_str()?.parse().ok()).collect())
}

/// Makes whoever follows the folder look again. Binding a namespace to a file is no event, so a follower that looked when
/// the file appeared has seen an empty one; setting the folder's mode, to what it is, is one.
fn announce(folder: &Path) -> io::Result<()> {
    fs::set_permissions(folder, fs::metadata(folder)?.permissions())
}

/// The node's end of a pod's link, named after the pod's host number on that node.
fn pod_link(own: Dual) -> String {
    format!("pod{}", own.v4.octets()[3])
}

fn sysctl(name: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/{name}"), value)
        .map_err(|e| io::Error::other(format!("setting {} to {value}: {e}", name.replace('/', "."))))
}
