//! The system counter of Arm's SSE-300 subsystem, as on the MPS3 boards.
//!
//! Arm 101773, "Corstone SSE-300 Example Subsystem", 5.3: 64 bits, counts up, never wraps.

use core::ptr::{read_volatile, write_volatile};
use ripple_hal::{Clock, Micros};

/// Control frame, in the secure world.
const CONTROL: usize = 0x5810_0000;
const COUNT_LOW: usize = 8;
const COUNT_HIGH: usize = 0xC;

/// The counter.
pub struct Counter {
    ticks_per_us: u64,
}

impl Counter {
    /// Starts it; it is clocked by `hz`, whole megahertz.
    ///
    /// # Safety
    /// The core is in the secure world of an SSE-300, and nothing else uses the counter.
    pub unsafe fn start(hz: u32) -> Self {
        // SAFETY: as promised by the caller.
        unsafe { write_volatile(CONTROL as *mut u32, 1) };
        Self { ticks_per_us: u64::from(hz / 1_000_000).max(1) }
    }
}

impl Clock for Counter {
    fn now(&self) -> Micros {
        // SAFETY: see `start`; reading changes nothing.
        let read = |offset| u64::from(unsafe { read_volatile((CONTROL + offset) as *const u32) });
        // The high half is read again, in case the low one has wrapped in between.
        loop {
            let high = read(COUNT_HIGH);
            let ticks = high << 32 | read(COUNT_LOW);
            if read(COUNT_HIGH) == high {
                return Micros(ticks / self.ticks_per_us);
            }
        }
    }
}
