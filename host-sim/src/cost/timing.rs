//! How long a read takes: affine in its size, or a measured table, and now and then much longer.
//!
//! In: a number of bytes. Out: a duration. Knows nothing of which card it describes.

use serde::{Deserialize, Serialize};

pub(crate) const PS_PER_NS: u64 = 1000;

/// The time of one read of `n` bytes: `T(n) = t0 + n / BW`, unless a table says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Access time before the first byte, in nanoseconds.
    pub t0_ns: u64,
    /// Bytes per second after it; 0 counts as 1.
    pub bytes_per_second: u64,
    /// Measured points `(bytes, ns)` in ascending order of bytes, which replace the formula: linear
    /// between them, the first one's time below, the last slope beyond (`bytes_per_second` if there
    /// is one point only).
    #[serde(default)]
    pub table: Option<Vec<(u64, u64)>>,
    /// Rare, long delays.
    #[serde(default)]
    pub tail: Option<Tail>,
}

/// A delay that some reads suffer: housekeeping inside the card.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    /// Probability per read, 0 to 1.
    pub probability: f64,
    /// How much longer such a read takes, in nanoseconds.
    pub extra_ns: u64,
}

impl Timing {
    /// The formula alone.
    pub const fn affine(t0_ns: u64, bytes_per_second: u64) -> Self {
        Self { t0_ns, bytes_per_second, table: None, tail: None }
    }

    /// Time of one read of `bytes`, without tail, in picoseconds. Nothing takes no time.
    pub fn cost_ps(&self, bytes: u64) -> u64 {
        if bytes == 0 {
            return 0;
        }
        match self.table.as_deref() {
            Some([first, rest @ ..]) => self.interpolate(*first, rest, bytes),
            _ => self.t0_ns.saturating_mul(PS_PER_NS).saturating_add(self.transfer_ps(bytes)),
        }
    }

    /// Time of one read of `bytes`, without tail, in nanoseconds, rounded to the nearest.
    pub fn cost_ns(&self, bytes: u64) -> u64 {
        self.cost_ps(bytes).saturating_add(PS_PER_NS / 2) / PS_PER_NS
    }

    /// The gap, in bytes, across which two reads cost as much as one: `t0 * BW`.
    pub fn break_even_gap_bytes(&self) -> u64 {
        let bytes = self.t0_ns as u128 * self.bytes_per_second as u128 / 1_000_000_000;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    fn transfer_ps(&self, bytes: u64) -> u64 {
        let per_second = self.bytes_per_second.max(1) as u128;
        let ps = (bytes as u128 * 1_000_000_000_000 + per_second / 2) / per_second;
        u64::try_from(ps).unwrap_or(u64::MAX)
    }

    fn interpolate(&self, first: (u64, u64), rest: &[(u64, u64)], bytes: u64) -> u64 {
        let Some(&second) = rest.first() else {
            let more = self.transfer_ps(bytes.saturating_sub(first.0));
            return first.1.saturating_mul(PS_PER_NS).saturating_add(more);
        };
        // The segment `bytes` is in; beyond the last point, the last segment.
        let (mut from, mut to) = (first, second);
        for &next in &rest[1..] {
            if bytes <= to.0 {
                break;
            }
            (from, to) = (to, next);
        }
        let past = bytes.saturating_sub(from.0) as i128;
        let span = to.0.saturating_sub(from.0).max(1) as i128;
        let rise_ps = (to.1 as i128 - from.1 as i128) * PS_PER_NS as i128;
        let ps = from.1 as i128 * PS_PER_NS as i128 + rise_ps * past / span;
        u64::try_from(ps.max(0)).unwrap_or(u64::MAX)
    }
}
