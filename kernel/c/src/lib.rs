//! The Ripple kernel for firmware in C: a static library, and the header `include/ripple.h`.
//!
//! In: pointers that C promises to be good, checked as far as they can be. Out: what `ripple-kernel`
//! does with them, and a [`RippleStatus`]. Nothing here allocates, keeps global state or panics
//! (`boards/x check`); a decoder lives in memory that the caller lends.
//!
//! ```sh
//! cargo build --release --target thumbv7em-none-eabihf     # target/.../release/libripple_c.a
//! ```
//!
//! `boards/c-example` is a firmware that uses it.
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

// A C program on a host brings no panic handler; the standard library has one.
#[cfg(not(target_os = "none"))]
extern crate std;

mod decoder;
mod device;
mod memory;
mod pointer;
mod sampler;
mod status;
#[cfg(test)]
mod tests;
mod text;

pub use decoder::*;
pub use device::RippleDevice;
pub use memory::*;
pub use sampler::*;
pub use status::{RippleStatus, ripple_message};
pub use text::*;

/// Never linked: see `boards/x check`.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Panics when there is no `table[at]`.
///
/// # Safety
/// `table` has 4 places.
#[cfg(feature = "self-test")]
#[allow(clippy::indexing_slicing, reason = "it is here to panic")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ripple_self_test(table: *const u32, at: usize) -> u32 {
    // SAFETY: as promised.
    (unsafe { core::slice::from_raw_parts(table, 4) })[at]
}
