//! The main loop of every board: open the card, report, take a prompt, stream text, survive faults.
//!
//! In: what a board has ([`Port`]: a console, a clock, its memory figures), where its image is
//! ([`Storage`]), static memory. Out: text on the console, and [`Event`]s, as text or as `defmt`
//! frames. Knows nothing of pins, registers or cores; the host's tests run the very same loop.
//!
//! Lines that begin with `# ` tell what depends on the machine (time, stack); all others are the
//! same on every core, to the last bit of every logit.
#![no_std]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::unwrap_used))]

#[cfg(test)]
extern crate std;

pub mod board;
mod budget;
mod console;
mod counted;
mod event;
#[cfg(feature = "learn")]
pub mod learn;
mod memory;
mod recover;
mod session;
mod storage;
mod story;

pub use board::Board;
pub use budget::{Budget, TooSmall};
pub use console::{Command, Console, ERASE, HELP, Input, Line, Typed};
pub use counted::{Counted, Traffic};
pub use event::{Event, Ram};
pub use memory::{Desk, desk_bytes};
pub use recover::{Failed, Identity, Look, POLL, Recovery, Then};
pub use session::{Port, run};
pub use storage::{Fat, Made, MountError, Mounted, Partition, Raw, Served, Spilling, Storage};
#[cfg(feature = "learn")]
pub use storage::{NOTES, Notes};
pub use story::{NOT_A_PROMPT, prompt_tokens};

/// For the macros of this crate.
#[doc(hidden)]
pub mod reexport {
    pub use ripple_hal as hal;
    pub use ripple_kernel as kernel;
    pub use static_cell;
}
