//! Time that passes only when someone says so.
//!
//! In: durations. Out: [`VirtualClock`], a handle to one moment. Knows nothing of who advances it.

use crate::cost::PS_PER_NS;
use ripple_hal::{Clock, Micros};
use std::cell::Cell;
use std::rc::Rc;

/// A handle to a clock that starts at 0; clones are the same clock.
///
/// It counts picoseconds, so that a card's per-byte time (300 ps at 3.3 GB/s) is added without
/// drift, and saturates after 213 days.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock {
    ps: Rc<Cell<u64>>,
}

impl VirtualClock {
    /// A clock of its own, at 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `ns` nanoseconds pass: the time some computation takes.
    pub fn advance_ns(&self, ns: u64) {
        self.advance_ps(ns.saturating_mul(PS_PER_NS));
    }

    /// Lets `ps` picoseconds pass.
    pub fn advance_ps(&self, ps: u64) {
        self.ps.set(self.ps.get().saturating_add(ps));
    }

    /// Picoseconds since the start.
    pub fn now_ps(&self) -> u64 {
        self.ps.get()
    }

    /// Whole nanoseconds since the start.
    pub fn now_ns(&self) -> u64 {
        self.ps.get() / PS_PER_NS
    }

    /// Seconds since the start.
    pub fn now_seconds(&self) -> f64 {
        self.ps.get() as f64 * 1e-12
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Micros {
        Micros(self.now_ns() / 1000)
    }
}
