//! `sk_lookup`, one program a pod: every new TCP connection that comes in to the pod goes to the node's listener
//! there, unless it is the proxy's own, or the node's: whoever probes the pod from its node, as a kubelet does, must meet
//! the application itself, for the proxy accepts before it knows whether the application does.

use aya_ebpf::macros::sk_lookup;
use aya_ebpf::programs::SkLookupContext;
use mesh_bpf_abi::{Address, Bypass, OwnDial, listener_index, mapped};

use crate::connect::host_order;
use crate::maps::{BYPASS, LISTENERS, OWN_ADDRESSES, OWN_DIALS};
use crate::names::{address_of, words};

const PASS: u32 = 1;
const DROP: u32 = 0;
const AF_INET: u32 = 2;
const IPPROTO_TCP: u32 = 6;

/// Which pod this copy of the program stands in. Set before it is loaded.
#[unsafe(no_mangle)]
static SLOT: u32 = 0;

#[sk_lookup]
pub fn take_inbound(ctx: SkLookupContext) -> u32 {
    // SAFETY: the kernel hands a valid context, and each field is read by its own width.
    let (family, protocol) = unsafe { ((*ctx.lookup).family, (*ctx.lookup).protocol) };
    if protocol != IPPROTO_TCP {
        return PASS;
    }
    let (remote, local) = addresses(&ctx, family == AF_INET);
    if remote == local || is_loopback(&local) || is_loopback(&remote) {
        return PASS;
    }
    // SAFETY: as above; SLOT is written once, before the program runs.
    let (slot, remote_port, local_port) = unsafe {
        let remote_port = u32::from((*ctx.lookup).remote_port);
        (core::ptr::read_volatile(&SLOT), host_order(remote_port), (*ctx.lookup).local_port)
    };
    // SAFETY: the entry's value is not read.
    if unsafe { BYPASS.get(&Bypass { remote, local, remote_port, local_port, slot }) }.is_some() {
        return PASS;
    }
    // SAFETY: the entries' values are not read.
    let from_node = unsafe { OWN_ADDRESSES.get(&remote) }.is_some();
    if from_node && unsafe { OWN_DIALS.get(&OwnDial { local, remote_port, local_port }) }.is_none() {
        return PASS;
    }
    // With no listener there is no proxy to decide who may come in: nobody may.
    match LISTENERS.redirect_sk_lookup(&ctx, listener_index(slot, family != AF_INET), 0) {
        Ok(()) => PASS,
        Err(_) => DROP,
    }
}

#[inline(always)]
fn addresses(ctx: &SkLookupContext, v4: bool) -> (Address, Address) {
    // SAFETY: the kernel hands a valid context. Both families' words are read whatever the family is, each from its
    // own place: the verifier refuses a pointer that was chosen between two.
    let (remote4, local4, remote6, local6) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*ctx.lookup).remote_ip4),
            core::ptr::read_volatile(&raw const (*ctx.lookup).local_ip4),
            words((&raw const (*ctx.lookup).remote_ip6).cast()),
            words((&raw const (*ctx.lookup).local_ip6).cast()),
        )
    };
    if v4 {
        (mapped(remote4.to_ne_bytes()), mapped(local4.to_ne_bytes()))
    } else {
        (address_of(remote6), address_of(local6))
    }
}

#[inline(always)]
pub fn is_loopback(address: &Address) -> bool {
    *address == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        || (address[10] == 0xff && address[12] == 127)
}
