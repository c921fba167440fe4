//! `sockops`: when a captured connection is begun its source is known, and the proxy can be told under it what the
//! application dialled; when the socket closes, both entries go.

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG, BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE,
};
use aya_ebpf::helpers::bpf_get_socket_cookie;
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use mesh_bpf_abi::{Address, Flow, OUTBOUND_PORT, mapped};

use crate::maps::{FLOWS, ORIGINS};
use crate::names::address_of;

const AF_INET: u32 = 2;

#[sock_ops]
pub fn follow_flow(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => begun(&ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => closed(&ctx),
        _ => {}
    }
    0
}

#[inline(always)]
fn begun(ctx: &SockOpsContext) {
    // Every connection of the node's pods comes by here; only a captured one goes to the proxy's listener.
    if ctx.remote_port() != u32::from(OUTBOUND_PORT).to_be() {
        return;
    }
    // SAFETY: the helper only reads the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.ops.cast()) };
    // SAFETY: the entry belongs to this socket, whose operations do not run side by side.
    let Some(flow) = (unsafe { FLOWS.get(&cookie) }) else { return };
    let mut source = flow.source;
    source.address = local_address(ctx);
    source.port = u64::from(ctx.local_port());
    let flow = Flow { origin: flow.origin, source };
    // Where an insert fails the proxy finds no origin, and refuses the connection.
    if FLOWS.insert(&cookie, &flow, 0).is_ok() && ORIGINS.insert(&source, &flow.origin, 0).is_ok() {
        let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
    }
}

#[inline(always)]
fn closed(ctx: &SockOpsContext) {
    // SAFETY: the helper only reads the context.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.ops.cast()) };
    // SAFETY: as above.
    if let Some(flow) = unsafe { FLOWS.get(&cookie) } {
        let source = flow.source;
        let _ = ORIGINS.remove(&source);
        let _ = FLOWS.remove(&cookie);
    }
}

#[inline(always)]
fn local_address(ctx: &SockOpsContext) -> Address {
    // SAFETY: the kernel hands a valid context. Both families' words are read whatever the family is, each from its
    // own place: the verifier refuses a pointer that was chosen between two.
    let (v4, v6) = unsafe {
        let v4 = core::ptr::read_volatile(&raw const (*ctx.ops).local_ip4);
        (v4, crate::names::words((&raw const (*ctx.ops).local_ip6).cast()))
    };
    if ctx.family() == AF_INET { mapped(v4.to_ne_bytes()) } else { address_of(v6) }
}
