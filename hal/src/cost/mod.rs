//! What a read costs on one card, and the collapse gap that follows.
//!
//! In: measured times of a few sizes. Out: [`Calibration`], access time, bandwidth and the gap. Knows
//! nothing of devices or clocks.

mod calibrate;

pub use calibrate::{CalibrateError, calibrate};

use crate::{BLOCK_BYTES, BlockCount, Micros};

/// Sizes that are measured: 1, 2, 4 .. 2048 blocks.
const MAX_POINTS: usize = 12;

/// No time here is longer, nine minutes, so that products of times fit 64 bits.
const MAX_NS: u64 = 1 << 39;

/// How long reads of one size take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CostPoint {
    /// The size.
    blocks: BlockCount,
    /// Its time in nanoseconds, rare delays left out.
    ns: u64,
}

/// What reads cost on one card: `T(n) = t0 + n / BW`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Calibration {
    t0_ns: u64,
    /// At least 1.
    block_ps: u64,
    overlaps: bool,
    reads: u32,
    took: Micros,
}

impl Calibration {
    /// A card known beforehand: nothing measured, taken to overlap.
    pub const fn affine(t0_ns: u64, bytes_per_second: u64) -> Self {
        let block_ps = quotient(PS_PER_SECOND_AND_BLOCK, bytes_per_second);
        Self {
            t0_ns: if t0_ns > MAX_NS { MAX_NS } else { t0_ns },
            block_ps: if block_ps == 0 { 1 } else { block_ps },
            overlaps: true,
            reads: 0,
            took: Micros(0),
        }
    }

    /// Fits the formula to `points`, ascending and of at least two sizes.
    ///
    /// Least squares of the relative error: a 1 % error counts the same in a short read, which is
    /// where `t0` is seen, as in a long one.
    fn fit(points: &mut [CostPoint]) -> Self {
        for point in points.iter_mut() {
            point.ns = point.ns.clamp(1, MAX_NS);
        }
        let (t0_ns, block_ns) = affine_fit(points);
        let mut fitted = Self::affine(0, 0);
        fitted.t0_ns = t0_ns as u64;
        fitted.block_ps = ((block_ns * 1000.0) as u64).clamp(1, MAX_NS);
        fitted
    }

    /// Access time before the first byte, in nanoseconds.
    pub const fn t0_ns(&self) -> u64 {
        self.t0_ns
    }

    /// Bytes per second after it.
    pub const fn bytes_per_second(&self) -> u64 {
        quotient(PS_PER_SECOND_AND_BLOCK, self.block_ps)
    }

    /// Whether the device works on a transfer while the caller computes.
    pub const fn overlaps(&self) -> bool {
        self.overlaps
    }

    /// How many reads calibrating took.
    pub const fn reads(&self) -> u32 {
        self.reads
    }

    /// How long calibrating took.
    pub const fn took(&self) -> Micros {
        self.took
    }

    /// The collapse gap: `t0 * BW` in whole blocks. Reading through as much costs what a read of its own
    /// costs, so that on a card which follows the formula, with extents as long as they like, it is
    /// optimal whatever is read.
    ///
    /// On a card that does not follow it, and where the buffer cuts extents short, the best gap depends on
    /// what is read. This one costs at most 8.1 % more time on the card among the presets that is not
    /// affine, and 3.4 % on the others (`tests/tests/hal/calibrate.rs`). A gap looked up in the measured
    /// times, the widest with `T(2 a + gap) <= 2 T(a)`, costs 31 % and more there: it does not see that
    /// what was merged is merged again. A search over chains of reads came within 2 % on all; it took
    /// five times the code and the statistics of the model.
    pub fn collapse_gap(&self) -> BlockCount {
        let blocks = quotient(self.t0_ns.saturating_mul(1000), self.block_ps);
        BlockCount(u32::try_from(blocks).unwrap_or(u32::MAX))
    }
}

/// `a / b`; `a` where `b` is 0. Nothing here is 0, but that is more than the compiler sees.
const fn quotient(a: u64, b: u64) -> u64 {
    match a.checked_div(b) {
        Some(quotient) => quotient,
        None => a,
    }
}

const PS_PER_SECOND_AND_BLOCK: u64 = 1_000_000_000_000 * BLOCK_BYTES as u64;

/// Access time and time per block, in nanoseconds, of the least relative squares. Neither is negative.
fn affine_fit(points: &[CostPoint]) -> (f32, f32) {
    let unit = points.first().map_or(1.0, |point| point.ns as f32);
    let weighted = |f: fn(f32, f32) -> f32| -> f32 {
        let terms = points.iter().map(|point| {
            let (x, y) = (point.blocks.0 as f32, point.ns as f32 / unit);
            f(x, y) / (y * y)
        });
        terms.sum()
    };
    let weights = weighted(|_, _| 1.0);
    let (mean_x, mean_y) = (weighted(|x, _| x) / weights, weighted(|_, y| y) / weights);
    // About the means: sums of plain products lose the slope of a fast card in rounding.
    let (mut xx, mut xy) = (0.0, 0.0);
    for point in points {
        let y = point.ns as f32 / unit;
        let dx = point.blocks.0 as f32 - mean_x;
        xx += dx * dx / (y * y);
        xy += dx * (y - mean_y) / (y * y);
    }
    let slope = if xx > 0.0 { (xy / xx).max(0.0) } else { 0.0 };
    let t0 = mean_y - slope * mean_x;
    if t0 >= 0.0 {
        (t0 * unit, slope * unit)
    } else {
        // Longer reads cost more than in proportion: the best line through the origin.
        (0.0, weighted(|x, y| x * y) / weighted(|x, _| x * x) * unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points<const N: usize>(of: [(u32, u64); N]) -> [CostPoint; N] {
        of.map(|(blocks, ns)| CostPoint { blocks: BlockCount(blocks), ns })
    }

    #[test]
    fn an_affine_card_is_fitted_exactly_and_its_gap_is_closed_form() {
        let fitted = Calibration::fit(&mut points([(1, 105_000), (2, 110_000), (64, 420_000)]));
        assert!(fitted.t0_ns().abs_diff(100_000) < 20, "{fitted:?}");
        assert!(fitted.bytes_per_second().abs_diff(102_400_000) < 20_000, "{fitted:?}");
        assert_eq!(Calibration::affine(100_000, 102_400_000).collapse_gap(), BlockCount(20));
    }

    #[test]
    fn absurd_times_give_absurd_cards_but_no_panic() {
        for (a, b) in [(0, 0), (0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX), (5, 5)] {
            let fitted = Calibration::fit(&mut points([(1, a), (u32::MAX, b)]));
            let _ = (fitted.collapse_gap(), fitted.bytes_per_second());
        }
        let none = Calibration::fit(&mut []);
        let _ = (none.collapse_gap(), Calibration::affine(u64::MAX, 0).collapse_gap());
        assert_eq!(Calibration::affine(0, u64::MAX).collapse_gap(), BlockCount(0));
    }
}
