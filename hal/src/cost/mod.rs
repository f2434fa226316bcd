//! What a read costs on one card: access time and bandwidth, and the measured times they come from.
//!
//! In: measured times of a few sizes. Out: [`Calibration`], the cost of any size and the collapse
//! gap. Knows nothing of devices or clocks.

mod calibrate;
mod gap;

pub use calibrate::{CalibrateError, calibrate};
pub use gap::ReadPattern;

use crate::{BLOCK_BYTES, BlockCount, Micros};
use gap::best_gap;

/// Sizes that a calibration holds: 1, 2, 4 .. 2048 blocks.
const MAX_POINTS: usize = 12;

/// A card whose measured times all lie this close to `t0 + n / BW`, in thousandths, counts as affine.
/// The affine fits of random reads on SD cards are good to 10 % (bretmlw/sbc-benchmarks), so less
/// would call their scatter a shape.
const AFFINE_PERMILLE: u32 = 100;

/// No time here is longer, nine minutes, so that products of times fit 64 bits.
pub(crate) const MAX_NS: u64 = 1 << 39;

/// How long reads of one size take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct CostPoint {
    /// The size.
    pub blocks: BlockCount,
    /// Its time in nanoseconds, rare delays left out.
    pub ns: u64,
}

/// What reads cost on one card: `T(n) = t0 + n / BW`, and the points it was fitted to.
///
/// A card that does not follow the formula (some read 8 KiB slower per byte than 4 KiB) is described
/// by its points instead; [`is_affine`](Self::is_affine) says which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Calibration {
    t0_ns: u64,
    /// At least 1.
    block_ps: u64,
    misfit_permille: u32,
    points: [CostPoint; MAX_POINTS],
    len: usize,
    overlaps: bool,
    reads: u32,
    took: Micros,
}

impl Calibration {
    /// A card known beforehand: `T(n) = t0 + n / BW`, nothing measured, taken to overlap.
    pub const fn affine(t0_ns: u64, bytes_per_second: u64) -> Self {
        let block_ps = quotient(PS_PER_SECOND_AND_BLOCK, bytes_per_second);
        Self {
            t0_ns: if t0_ns > MAX_NS { MAX_NS } else { t0_ns },
            block_ps: if block_ps == 0 { 1 } else { block_ps },
            misfit_permille: 0,
            points: [CostPoint { blocks: BlockCount(0), ns: 0 }; MAX_POINTS],
            len: 0,
            overlaps: true,
            reads: 0,
            took: Micros(0),
        }
    }

    /// Fits the formula to `points`, ascending and of at least two sizes; at most [`MAX_POINTS`] are
    /// used.
    ///
    /// Least squares of the relative error: a 1 % error counts the same in a short read, which is
    /// where `t0` is seen, as in a long one.
    fn fit(points: &[CostPoint]) -> Self {
        let mut fitted = Self::affine(0, 0);
        for (to, from) in fitted.points.iter_mut().zip(points) {
            *to = CostPoint { ns: from.ns.clamp(1, MAX_NS), ..*from };
            fitted.len += 1;
        }
        let (t0_ns, block_ns) = affine_fit(fitted.table());
        fitted.t0_ns = t0_ns as u64;
        fitted.block_ps = ((block_ns * 1000.0) as u64).clamp(1, MAX_NS);
        let misfits = fitted.table().iter().map(|point| {
            let error = fitted.formula_ns(point.blocks).abs_diff(point.ns);
            u32::try_from(quotient(error.saturating_mul(1000), point.ns)).unwrap_or(u32::MAX)
        });
        fitted.misfit_permille = misfits.max().unwrap_or(0);
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

    /// The measured sizes and their times, ascending.
    pub fn table(&self) -> &[CostPoint] {
        self.points.get(..self.len).unwrap_or_default()
    }

    /// How far the worst measured point is from the formula, in thousandths of its time.
    pub const fn misfit_permille(&self) -> u32 {
        self.misfit_permille
    }

    /// Whether the formula describes the card, to 10 %; otherwise its table does.
    pub const fn is_affine(&self) -> bool {
        self.misfit_permille <= AFFINE_PERMILLE
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

    /// The time of one read of `blocks`, in nanoseconds: the formula's, or, for a card that is not
    /// affine, the table's (linear between its points, the last slope beyond). Nothing takes no time.
    pub fn cost_ns(&self, blocks: BlockCount) -> u64 {
        if blocks.0 == 0 {
            0
        } else if self.is_affine() {
            self.formula_ns(blocks)
        } else {
            self.table_ns(blocks)
        }
    }

    /// The collapse gap of the formula, `t0 * BW` in whole blocks: reading through as much costs what
    /// a read of its own costs. On an affine card, with extents as long as they like, it is optimal
    /// whatever is read.
    pub fn gap(&self) -> BlockCount {
        let blocks = quotient(self.t0_ns.saturating_mul(1000), self.block_ps);
        BlockCount(u32::try_from(blocks).unwrap_or(u32::MAX))
    }

    /// The collapse gap that is best for reads like `pattern`.
    ///
    /// Whether merging `a` and `b` blocks across `g` pays, `T(a + g + b) <= T(a) + T(b)`, depends on
    /// `a` and `b` where a card is not affine, and `a` on how much was merged before. And where the
    /// buffer ends extents sooner than gaps do, a gap that was read through has only moved the end.
    /// So the time per wanted record is computed for every gap, and the least one wins. On an affine
    /// card [`gap`](Self::gap) is the most that can pay, and the answer lies half-way to it: of
    /// recorded reads the pattern tells too little to go all the way, which costs 3 % at worst where
    /// half-way costs 2 % (`tests/tests/hal/calibrate.rs`).
    pub fn gap_for(&self, pattern: &ReadPattern) -> BlockCount {
        let best = best_gap(self, pattern);
        let formula = self.gap().0;
        BlockCount(match self.is_affine() {
            true if formula < best.end => formula,
            true => best.start + (formula - best.start) / 2,
            false => best.start,
        })
    }

    /// The same card with its access time and its transfer time multiplied, by 1/2^24.
    pub(crate) fn scaled(&self, access: u64, transfer: u64) -> Self {
        let scale = |ns: u64, by: u64| (ns.saturating_mul(by >> 12) >> 12).min(MAX_NS);
        let mut scaled = *self;
        scaled.t0_ns = scale(self.t0_ns, access);
        scaled.block_ps = scale(self.block_ps, transfer).max(1);
        for point in scaled.points.iter_mut() {
            let of_access = point.ns.min(self.t0_ns);
            point.ns = scale(of_access, access) + scale(point.ns - of_access, transfer);
        }
        scaled
    }

    fn formula_ns(&self, blocks: BlockCount) -> u64 {
        let transfer = self.block_ps.saturating_mul(blocks.0.into()) / 1000;
        self.t0_ns.saturating_add(transfer).min(MAX_NS)
    }

    fn table_ns(&self, blocks: BlockCount) -> u64 {
        let table = self.table();
        let within = table.windows(2).find(|ends| matches!(ends, [_, to] if blocks <= to.blocks));
        let Some([from, to]) = within.or(table.last_chunk::<2>().map(|ends| ends.as_slice()))
        else {
            return self.formula_ns(blocks);
        };
        let (ns, rise) = (from.ns as i64, to.ns as i64 - from.ns as i64);
        let past = blocks.0 as i64 - from.blocks.0 as i64;
        let span = (to.blocks.0 as i64 - from.blocks.0 as i64).max(1);
        let ns = ns.saturating_add(rise.saturating_mul(past) / span);
        ns.clamp(1, MAX_NS as i64) as u64
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
        let fitted = Calibration::fit(&points([(1, 105_000), (2, 110_000), (64, 420_000)]));
        assert!(fitted.t0_ns().abs_diff(100_000) < 20, "{fitted:?}");
        assert!(fitted.bytes_per_second().abs_diff(102_400_000) < 20_000, "{fitted:?}");
        assert!(fitted.is_affine() && fitted.misfit_permille() == 0);
        assert!(fitted.cost_ns(BlockCount(128)).abs_diff(740_000) < 100);
        assert_eq!(fitted.cost_ns(BlockCount(0)), 0);
        assert_eq!(Calibration::affine(100_000, 102_400_000).gap(), BlockCount(20));
    }

    #[test]
    fn a_card_with_a_step_is_described_by_its_table() {
        let measured = points([(1, 300_000), (8, 300_000), (16, 600_000), (64, 900_000)]);
        let fitted = Calibration::fit(&measured);
        assert!(!fitted.is_affine());
        for (blocks, ns) in
            [(1, 300_000), (4, 300_000), (12, 450_000), (64, 900_000), (112, 1_200_000)]
        {
            assert_eq!(fitted.cost_ns(BlockCount(blocks)), ns);
        }
    }

    #[test]
    fn absurd_times_give_absurd_cards_but_no_panic() {
        for (a, b) in [(0, 0), (0, u64::MAX), (u64::MAX, 0), (u64::MAX, u64::MAX), (5, 5)] {
            let fitted = Calibration::fit(&points([(1, a), (u32::MAX, b)]));
            let _ = (fitted.gap(), fitted.bytes_per_second(), fitted.cost_ns(BlockCount(u32::MAX)));
            let _ = fitted.scaled(1 << 28, 1 << 20).cost_ns(BlockCount(u32::MAX));
        }
        let _ = (Calibration::fit(&[]).gap(), Calibration::affine(u64::MAX, 0).gap());
        assert_eq!(Calibration::affine(0, u64::MAX).gap(), BlockCount(0));
    }

    #[test]
    fn scaling_multiplies_access_and_transfer() {
        let card = Calibration::fit(&points([(1, 300_000), (8, 300_000), (16, 600_000)]));
        let same = card.scaled(1 << 24, 1 << 24);
        assert_eq!(same, card);
        let twice = card.scaled(2 << 24, 2 << 24);
        assert_eq!(twice.cost_ns(BlockCount(16)), 1_200_000);
        assert_eq!(
            Calibration::affine(100_000, 102_400_000).scaled(2 << 24, 1 << 24).gap(),
            BlockCount(40)
        );
    }
}
