//! What a captured pod's namespace needs so that the proxy can dial the pod's applications with the addresses of
//! their clients: the answers to marked connections stay in the namespace, whatever address they are for.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use futures_util::TryFutureExt;
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::packet_route::rule::RuleAction;
use rtnetlink::{RouteMessageBuilder, new_connection};

use crate::netns::Netns;
use crate::sockets::MARK;

/// The routing table for marked packets.
const TABLE: u32 = 15_006;
/// Before the rule for the main table, after the one for local addresses.
const PRIORITY: u32 = 15_006;
/// `lo` has this index in every network namespace.
const LOOPBACK: u32 = 1;

/// Sets it up; done again it changes nothing.
pub async fn prepare(netns: &Netns) -> io::Result<()> {
    let connection = netns.enter(|| -> io::Result<_> {
        // Sockets that the application accepts answer with the mark of the proxy's connection.
        std::fs::write("/proc/sys/net/ipv4/tcp_fwmark_accept", "1")?;
        new_connection()
    })??;
    let (connection, handle, _) = connection;
    let connection = tokio::spawn(connection);
    let result = async {
        let rules = handle.rule();
        let v4 =
            rules.add().v4().fw_mark(MARK).table_id(TABLE).priority(PRIORITY).action(RuleAction::ToTable);
        existing_is_fine(v4.execute().map_err(io_error).await)?;
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(Ipv4Addr::UNSPECIFIED, 0)
            .output_interface(LOOPBACK)
            .table_id(TABLE)
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .build();
        existing_is_fine(handle.route().add(route).execute().map_err(io_error).await)?;
        if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
            return Ok(());
        }
        let v6 =
            rules.add().v6().fw_mark(MARK).table_id(TABLE).priority(PRIORITY).action(RuleAction::ToTable);
        existing_is_fine(v6.execute().map_err(io_error).await)?;
        let route = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(Ipv6Addr::UNSPECIFIED, 0)
            .output_interface(LOOPBACK)
            .table_id(TABLE)
            .kind(RouteType::Local)
            .build();
        existing_is_fine(handle.route().add(route).execute().map_err(io_error).await)
    }
    .await;
    connection.abort();
    result
}

fn io_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    }
}

fn existing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}
