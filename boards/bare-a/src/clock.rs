//! The cores' own timer as a clock.
//!
//! In: the physical counter and its frequency. Out: [`GenericTimer`].

use crate::arch::{counter, frequency};
use ripple_hal::{Clock, Micros};

/// The generic timer's physical counter.
///
/// Its frequency is what the firmware wrote to CNTFRQ, and in QEMU what the machine has.
#[derive(Clone, Copy, Debug)]
pub struct GenericTimer {
    hz: u64,
}

impl GenericTimer {
    /// The timer of this core; one of 1 Hz if no firmware told its frequency.
    pub fn new() -> Self {
        Self { hz: (frequency() as u64).max(1) }
    }

    /// Steps a second.
    pub const fn hz(&self) -> u64 {
        self.hz
    }
}

impl Default for GenericTimer {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for GenericTimer {
    fn now(&self) -> Micros {
        let steps = counter();
        // In two parts: a product of all of it would overflow after hours.
        Micros(steps / self.hz * 1_000_000 + steps % self.hz * 1_000_000 / self.hz)
    }
}
