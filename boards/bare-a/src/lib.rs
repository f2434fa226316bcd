//! What a bare-metal Cortex-A7 or Cortex-A53 needs before `main`, and what a board asks it for.
//!
//! In: a board's memory map and two functions. Out: a core with caches, floating point and a painted
//! stack; [`GenericTimer`]; [`MemoryFigures`]; [`exit`];
//! [`check_card`] for a board's first hours. Knows nothing of a board's devices.
//!
//! A board links with `link.x`, has a `memory.x`, and defines three symbols:
//!
//! ```ignore
//! /// RAM is cached, everything else is devices.
//! #[unsafe(no_mangle)]
//! static TRANSLATION_TABLE: TranslationTable = TranslationTable::new(0x8000_0000, 0x4000_0000);
//!
//! /// Called once, on the first core, with interrupts masked; the others sleep.
//! #[unsafe(no_mangle)]
//! extern "C" fn board_main(started_in: StartedIn) -> ! { .. }
//!
//! /// Called instead of going on after an exception.
//! #[unsafe(no_mangle)]
//! extern "C" fn board_exception(exception: &Exception) -> ! { .. }
//! ```
//!
//! Memory is mapped one to one: RAM as normal, write-back cacheable memory, and all else as devices,
//! so that unaligned accesses are allowed and the caches work; without the tables every access would
//! be one to a device. The controller of a DMA does not look into the caches:
//! [`cache::clean_and_invalidate`] must run before it and after it. QEMU models no caches, so that
//! this is untested.
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(not(any(target_arch = "aarch64", target_arch = "arm")))]
compile_error!("for Cortex-A7 and Cortex-A53 only: build a board, or name the target");

pub mod cache;
mod card_check;
mod clock;
mod memory;

#[cfg(target_arch = "aarch64")]
#[path = "aarch64.rs"]
mod arch;
#[cfg(target_arch = "arm")]
#[path = "armv7.rs"]
mod arch;

pub use arch::{Exception, StartedIn, TranslationTable};
pub use card_check::{CheckError, check_card};
pub use clock::GenericTimer;
pub use memory::MemoryFigures;

/// Ends QEMU with status `code` through semihosting. A board without a debugger reports an exception.
pub fn exit(code: u8) -> ! {
    semihosting::process::ExitCode::from(code).exit_process()
}

/// Sleeps until power-off.
#[allow(unsafe_code, reason = "an instruction")]
pub fn park() -> ! {
    loop {
        // SAFETY: waits for an interrupt; touches neither memory nor registers.
        unsafe { core::arch::asm!("wfi", options(nomem, nostack, preserves_flags)) }
    }
}
