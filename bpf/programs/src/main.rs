//! The kernel side of Weir's data path: which connections of a pod are the mesh's, and where they go instead. It
//! decides by map look-ups alone; what the maps hold is planned by mesh-node.
#![no_std]
#![no_main]

mod connect;
mod lookup;
mod maps;
mod names;
mod sockops;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // The verifier accepts no program that could get here.
    loop {}
}

/// Needed by the kernel for the helpers that only GPL-compatible programs may call.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
