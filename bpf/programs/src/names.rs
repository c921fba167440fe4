//! `cgroup/getpeername` and `getsockname`: an application whose connection was captured is told the addresses that
//! it would have without the mesh. Every socket of the node's pods comes by here, with `accept` too: what cannot be a
//! captured connection is left before anything is looked up.

use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie};
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use mesh_bpf_abi::{Address, Flow, OUTBOUND_PORT, unmapped};

use crate::connect::host_order;
use crate::lookup::is_loopback;
use crate::maps::{FLOWS, PODS};

/// These hooks may not refuse.
const GO_ON: i32 = 1;

#[cgroup_sock_addr(getpeername4)]
pub fn show_peer4(ctx: SockAddrContext) -> i32 {
    if is_proxys_port(&ctx)
        && let Some(flow) = flow(&ctx)
        && let Some(v4) = unmapped(&flow.origin.address)
    {
        // SAFETY: the kernel hands a valid context whose address fields may be written here.
        unsafe {
            (*ctx.sock_addr).user_ip4 = u32::from_ne_bytes(v4);
            (*ctx.sock_addr).user_port = u32::from((flow.origin.port as u16).to_be());
        }
    }
    GO_ON
}

#[cgroup_sock_addr(getpeername6)]
pub fn show_peer6(ctx: SockAddrContext) -> i32 {
    if is_proxys_port(&ctx)
        && let Some(flow) = flow(&ctx)
    {
        set_user_ip6(&ctx, &flow.origin.address);
        // SAFETY: as above.
        unsafe { (*ctx.sock_addr).user_port = u32::from((flow.origin.port as u16).to_be()) };
    }
    GO_ON
}

#[cgroup_sock_addr(getsockname4)]
pub fn show_self4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the kernel hands a valid context.
    let shown = unsafe { (*ctx.sock_addr).user_ip4 }.to_ne_bytes();
    if shown[0] == 127
        && flow(&ctx).is_some()
        && let Some(v4) = pod_address(&ctx, true).and_then(|address| unmapped(&address))
    {
        // SAFETY: as above.
        unsafe { (*ctx.sock_addr).user_ip4 = u32::from_ne_bytes(v4) };
    }
    GO_ON
}

#[cgroup_sock_addr(getsockname6)]
pub fn show_self6(ctx: SockAddrContext) -> i32 {
    if is_loopback(&user_ip6(&ctx))
        && let Some(flow) = flow(&ctx)
        && let Some(address) = pod_address(&ctx, unmapped(&flow.origin.address).is_some())
    {
        set_user_ip6(&ctx, &address);
    }
    GO_ON
}

/// A captured connection's true peer is the proxy's listener.
#[inline(always)]
fn is_proxys_port(ctx: &SockAddrContext) -> bool {
    // SAFETY: the kernel hands a valid context.
    host_order(unsafe { (*ctx.sock_addr).user_port }) == u32::from(OUTBOUND_PORT)
}

#[inline(always)]
fn flow(ctx: &SockAddrContext) -> Option<&'static Flow> {
    // SAFETY: the helper only reads the context; the entry lives as long as the socket it belongs to.
    unsafe { FLOWS.get(&bpf_get_socket_cookie(ctx.sock_addr.cast())) }
}

#[inline(always)]
fn pod_address(ctx: &SockAddrContext, v4: bool) -> Option<Address> {
    // SAFETY: the helper only reads the context; entries are replaced as a whole.
    let pod = unsafe { PODS.get(&bpf_get_netns_cookie(ctx.sock_addr.cast())) }?;
    let address = if v4 { pod.v4 } else { pod.v6 };
    (address != [0; 16]).then_some(address)
}

#[inline(always)]
pub fn user_ip6(ctx: &SockAddrContext) -> Address {
    // SAFETY: the kernel hands a valid context.
    address_of(unsafe { words((&raw const (*ctx.sock_addr).user_ip6).cast()) })
}

/// Reads an IPv6 address of a context, word by word, as the verifier wants.
///
/// # Safety
/// `first` must be the first of four words that may be read.
#[inline(always)]
pub unsafe fn words(first: *const u32) -> [u32; 4] {
    // SAFETY: as the caller promises.
    unsafe {
        [
            core::ptr::read_volatile(first),
            core::ptr::read_volatile(first.add(1)),
            core::ptr::read_volatile(first.add(2)),
            core::ptr::read_volatile(first.add(3)),
        ]
    }
}

#[inline(always)]
pub fn set_user_ip6(ctx: &SockAddrContext, address: &Address) {
    let word =
        |at: usize| u32::from_ne_bytes([address[at], address[at + 1], address[at + 2], address[at + 3]]);
    // SAFETY: the kernel hands a valid context; the verifier wants the four words written one by one.
    unsafe {
        let ip6 = (&raw mut (*ctx.sock_addr).user_ip6).cast::<u32>();
        core::ptr::write_volatile(ip6, word(0));
        core::ptr::write_volatile(ip6.add(1), word(4));
        core::ptr::write_volatile(ip6.add(2), word(8));
        core::ptr::write_volatile(ip6.add(3), word(12));
    }
}

/// Four words in network order as one address.
#[inline(always)]
pub fn address_of(words: [u32; 4]) -> Address {
    let [a, b, c, d] = words.map(u32::to_ne_bytes);
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
}
