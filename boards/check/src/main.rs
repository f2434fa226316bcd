//! A firmware that calls all of `ripple-kernel`, `ripple-tune`, `ripple-hal` and `ripple-sdhci` that a board can: it is linked to be
//! looked at, never run. `boards/x check` fails when a panic is in it, and says how large what is.
//!
//! Every value comes out of one volatile word and every result goes into it, so that the compiler
//! can leave nothing out. What is large is called by its address: inlined here it would not count as
//! its crate's. Left out on purpose is what only the packer calls, on a host: `emit` and
//! the builders beside it, whose panics are documented.
#![no_std]
#![no_main]

#[cfg(feature = "rest")]
mod adapters;
#[cfg(feature = "board")]
mod board;
#[cfg(feature = "card")]
mod card;
#[cfg(feature = "decoder")]
mod decoder;
#[cfg(any(feature = "fat", feature = "calibrate"))]
mod files;
#[allow(dead_code, unused_imports, reason = "each feature uses its part")]
mod io;
#[cfg(feature = "program")]
mod program;
#[cfg(feature = "rest")]
mod rest;
#[cfg(feature = "sdhci")]
mod sdhci;
#[cfg(feature = "spi")]
mod spi;
#[cfg(any(feature = "tokenizer", feature = "sampler"))]
mod text;
#[cfg(feature = "tune")]
mod tune;

use io::word;

unsafe extern "C" {
    /// Nowhere defined. An image in which something can panic does not link.
    fn a_panic_can_be_reached() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: never executed; see the declaration.
    unsafe { a_panic_can_be_reached() }
}

/// Runs whatever the word says, for ever.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".entry")]
pub extern "C" fn _start() -> ! {
    loop {
        match word() {
            #[cfg(feature = "decoder")]
            0 => decoder::run(),
            #[cfg(feature = "tokenizer")]
            1 => text::tokenizer(),
            #[cfg(feature = "sampler")]
            2 => text::sampler(),
            #[cfg(feature = "fat")]
            3 => files::fat(),
            #[cfg(feature = "calibrate")]
            4 => files::calibration(),
            #[cfg(feature = "rest")]
            5 => adapters::run(),
            #[cfg(feature = "rest")]
            6 => rest::run(),
            #[cfg(feature = "card")]
            7 => card::run(),
            #[cfg(feature = "sdhci")]
            10 => sdhci::run(),
            #[cfg(feature = "spi")]
            11 => spi::run(),
            #[cfg(feature = "tune")]
            12 => tune::run(),
            #[cfg(feature = "program")]
            13 => program::run(),
            #[cfg(feature = "board")]
            8 => io::give(board::run().is_none().into()),
            #[cfg(feature = "self-test")]
            9 => io::give(io::words()[word() as usize]),
            _ => {}
        }
    }
}
