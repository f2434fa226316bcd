//! Time as a board sees it: a free-running microsecond counter.
//!
//! In: nothing. Out: [`Clock`], used by boards, by calibration and by the timed adapter. The kernel
//! itself never asks for the time.

use core::ops::{Add, AddAssign};

/// A duration, or a moment on some [`Clock`], in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Micros(pub u64);

impl Micros {
    /// Time from `earlier` to `self`; 0 if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Micros {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0))
    }
}

impl AddAssign for Micros {
    fn add_assign(&mut self, more: Self) {
        *self = *self + more;
    }
}

/// A clock that never goes back.
///
/// Its epoch is arbitrary (power-on, usually): only differences mean anything.
pub trait Clock {
    /// The moment now. Two calls may give the same value; the second never gives a smaller one.
    fn now(&self) -> Micros;
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Micros {
        (**self).now()
    }
}
