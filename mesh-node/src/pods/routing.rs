//! What a captured pod's namespace needs so that the proxy can dial the pod's applications with the addresses of
//! their clients: the answers to marked connections stay in the namespace, whatever address they are for.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use futures_util::TryFutureExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{RouteMessage, RouteScope, RouteType};
use rtnetlink::packet_route::rule::RuleAction;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder, RuleAddRequest, new_connection};

use crate::netlink::io_error;
use crate::netns::Netns;
use crate::sockets::MARK;

/// The routing table for marked packets.
const TABLE: u32 = 15_006;
/// Before the rule for the main table, after the one for local addresses.
const PRIORITY: u32 = 15_006;
/// `lo` has this index in every network namespace.
const LOOPBACK: u32 = 1;

/// What the pod's kernel sends in answer to a marked packet bears the mark: the answers of sockets that an application
/// accepts, and the refusals where no application listens.
const MARK_ANSWERS: [&str; 3] = [
    "/proc/sys/net/ipv4/tcp_fwmark_accept",
    "/proc/sys/net/ipv4/fwmark_reflect",
    "/proc/sys/net/ipv6/fwmark_reflect",
];

/// Sets it up; done again it changes nothing.
pub async fn prepare(netns: &Netns) -> io::Result<()> {
    let (connection, handle, _) = netns.enter(|| {
        mark_answers("1")?;
        new_connection()
    })??;
    let connection = tokio::spawn(connection);
    let result = async {
        // In a namespace that was made a moment ago the runtime may not have come to it yet.
        let loopback = LinkUnspec::new_with_index(LOOPBACK).up().build();
        handle.link().set(loopback).execute().map_err(io_error).await?;
        for (rule, route) in setup(&handle) {
            ignore(libc::EEXIST, rule.execute().map_err(io_error).await)?;
            ignore(libc::EEXIST, handle.route().add(route).execute().map_err(io_error).await)?;
        }
        Ok(())
    }
    .await;
    connection.abort();
    result
}

/// Takes it away again. Says whether it was there.
pub async fn undo(netns: &Netns) -> io::Result<bool> {
    let (connection, handle, _) = netns.enter(new_connection)??;
    let connection = tokio::spawn(connection);
    let result = async {
        let mut found = false;
        for (mut rule, route) in setup(&handle) {
            let rule = rule.message_mut().clone();
            found |= ignore(libc::ENOENT, handle.rule().del(rule).execute().map_err(io_error).await)?;
            ignore(libc::ESRCH, handle.route().del(route).execute().map_err(io_error).await)?;
        }
        Ok(found)
    }
    .await;
    connection.abort();
    if *result.as_ref().unwrap_or(&false) {
        netns.enter(|| mark_answers("0"))??;
    }
    result
}

fn mark_answers(value: &str) -> io::Result<()> {
    for sysctl in MARK_ANSWERS {
        match std::fs::write(sysctl, value) {
            // A kernel without IPv6 has not all of them.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The rule and the route of each family that the kernel has.
fn setup(handle: &Handle) -> Vec<(RuleAddRequest, RouteMessage)> {
    let rule = |family| {
        let rule = handle.rule().add();
        let mut rule = rule.fw_mark(MARK).table_id(TABLE).priority(PRIORITY).action(RuleAction::ToTable);
        rule.message_mut().header.family = family;
        rule
    };
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Ipv4Addr::UNSPECIFIED, 0)
        .output_interface(LOOPBACK)
        .table_id(TABLE)
        .kind(RouteType::Local)
        .scope(RouteScope::Host)
        .build();
    let mut setup = vec![(rule(AddressFamily::Inet), v4)];
    if std::path::Path::new("/proc/sys/net/ipv6").exists() {
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(Ipv6Addr::UNSPECIFIED, 0)
            .output_interface(LOOPBACK)
            .table_id(TABLE)
            .kind(RouteType::Local)
            .build();
        setup.push((rule(AddressFamily::Inet6), v6));
    }
    setup
}

/// Whether it did something: an error of this number means that there was nothing to do.
fn ignore(number: i32, result: io::Result<()>) -> io::Result<bool> {
    match result {
        Err(error) if error.raw_os_error() == Some(number) => Ok(false),
        other => other.map(|()| true),
    }
}
