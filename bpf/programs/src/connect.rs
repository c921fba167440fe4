//! `cgroup/connect4` and `connect6`: a captured pod's TCP connection to an address of the mesh goes to the proxy's
//! listener on the pod's own loopback instead.

use aya_ebpf::helpers::{bpf_get_current_cgroup_id, bpf_get_netns_cookie, bpf_get_socket_cookie};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use mesh_bpf_abi::{Address, Endpoint, Flow, LISTED_PORTS, OUTBOUND_PORT, Origin, Source, mapped, unmapped};

use crate::maps::{ADDRESSES, FLOWS, OWN_CGROUP, PODS, PORTS};

const ALLOW: i32 = 1;
const DENY: i32 = 0;
const SOCK_STREAM: u32 = 1;
const IPPROTO_TCP: u32 = 6;

enum Verdict {
    LeaveAlone,
    Capture,
    Deny,
}

#[cgroup_sock_addr(connect4)]
pub fn capture_connect4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the kernel hands a valid context, and each field is read by its own width.
    let (address, port) = unsafe { ((*ctx.sock_addr).user_ip4, (*ctx.sock_addr).user_port) };
    match judge(&ctx, mapped(address.to_ne_bytes()), host_order(port)) {
        Verdict::LeaveAlone => ALLOW,
        Verdict::Deny => DENY,
        Verdict::Capture => {
            // SAFETY: as above; these fields may be written in a connect hook.
            unsafe {
                (*ctx.sock_addr).user_ip4 = u32::from_ne_bytes([127, 0, 0, 1]);
                (*ctx.sock_addr).user_port = u32::from(OUTBOUND_PORT.to_be());
            }
            ALLOW
        }
    }
}

#[cgroup_sock_addr(connect6)]
pub fn capture_connect6(ctx: SockAddrContext) -> i32 {
    let address = crate::names::user_ip6(&ctx);
    // SAFETY: the kernel hands a valid context, and each field is read by its own width.
    let port = unsafe { (*ctx.sock_addr).user_port };
    match judge(&ctx, address, host_order(port)) {
        Verdict::LeaveAlone => ALLOW,
        Verdict::Deny => DENY,
        Verdict::Capture => {
            // An IPv6 socket that dials a mapped address speaks IPv4, and finds the proxy there.
            let proxy = match unmapped(&address) {
                Some(_) => mapped([127, 0, 0, 1]),
                None => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            };
            crate::names::set_user_ip6(&ctx, &proxy);
            // SAFETY: as above; the port may be written in a connect hook.
            unsafe { (*ctx.sock_addr).user_port = u32::from(OUTBOUND_PORT.to_be()) };
            ALLOW
        }
    }
}

#[inline(always)]
fn judge(ctx: &SockAddrContext, address: Address, port: u32) -> Verdict {
    // SAFETY: the kernel hands a valid context. Connected UDP comes through the same hooks.
    let (kind, protocol) = unsafe { ((*ctx.sock_addr).type_, (*ctx.sock_addr).protocol) };
    if kind != SOCK_STREAM || protocol != IPPROTO_TCP {
        return Verdict::LeaveAlone;
    }
    // SAFETY: entries of the three maps are replaced as a whole by mesh-node and never written here.
    let Some(known) = (unsafe { ADDRESSES.get(&address) }) else { return Verdict::LeaveAlone };
    if *known == LISTED_PORTS && unsafe { PORTS.get(&Endpoint { address, port }) }.is_none() {
        return Verdict::LeaveAlone;
    }
    // SAFETY: the helper only reads the context.
    let netns = unsafe { bpf_get_netns_cookie(ctx.sock_addr.cast()) };
    let Some(pod) = (unsafe { PODS.get(&netns) }) else { return Verdict::LeaveAlone };
    if address == pod.v4 || address == pod.v6 || is_proxy() {
        return Verdict::LeaveAlone;
    }
    // SAFETY: the helper only reads the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.sock_addr.cast()) };
    let flow = Flow {
        origin: Origin { address, port: u64::from(port) },
        source: Source { netns, address: [0; 16], port: 0 },
    };
    match FLOWS.insert(&cookie, &flow, 0) {
        Ok(()) => Verdict::Capture,
        Err(_) => Verdict::Deny,
    }
}

/// Whether the proxy itself dials, from within the pod. Told by the cgroup of the calling task, which no pod can choose.
#[inline(always)]
fn is_proxy() -> bool {
    // SAFETY: the helper has no argument.
    let own = unsafe { bpf_get_current_cgroup_id() };
    OWN_CGROUP.get(0).is_some_and(|proxy| *proxy != 0 && *proxy == own)
}

#[inline(always)]
pub fn host_order(port: u32) -> u32 {
    u32::from(u16::from_be(port as u16))
}
