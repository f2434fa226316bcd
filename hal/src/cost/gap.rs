//! The best collapse gap where there is no closed form: on a card that is not affine, and where the
//! buffer cuts extents short.
//!
//! In: what reads cost, and how the wanted records lie. Out: the gap with the least expected time.
//! Knows nothing of neurons, layers or devices.

use super::Calibration;
use crate::{BLOCK_BYTES, BlockCount};
use core::ops::Range;

/// Cells in the longest extent: the time of [`best_gap`] grows with the square. 128 are no better in
/// `tests/tests/hal/calibrate.rs`.
const MAX_CELLS: usize = 64;

/// How the records that must be read lie on the card: as in a chain in which a record after a wanted
/// one, and one after an unwanted one, are wanted with fixed probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ReadPattern {
    /// Bytes from one record to the next.
    pub stride: u32,
    /// Share of the records that are wanted, 0 to 1.
    pub share: f32,
    /// Records in a run of wanted ones, on average. Placement by co-activation makes it longer than
    /// the `1 / (1 - share)` of records wanted independently.
    pub mean_run: f32,
    /// The longest read: one staging half.
    pub longest: BlockCount,
}

impl ReadPattern {
    /// Records that are wanted independently of each other.
    pub fn independent(stride: u32, share: f32, longest: BlockCount) -> Self {
        // `max` takes the number where the other is none.
        let unwanted = (1.0 - share).max(f32::EPSILON);
        Self { stride, share, mean_run: 1.0 / unwanted, longest }
    }

    /// Records after a wanted one, and after an unwanted one, that are wanted: the probabilities.
    fn probabilities(&self) -> (f32, f32) {
        let at_least = |least: f32, n: f32| if n >= least { n } else { least };
        let share = at_least(1e-4, self.share).min(0.9999);
        let stays = 1.0 - 1.0 / at_least(1.0, self.mean_run).min(1e4);
        // Balance: as many runs begin as end.
        let begins = (1.0 - stays) * share / (1.0 - share);
        (stays, begins.min(1.0))
    }

    /// The same pattern with `k` records taken for one, wanted if any of them is.
    fn joined(self, k: u32) -> Self {
        let (stays, begins) = self.probabilities();
        let share = begins / (begins + 1.0 - stays);
        let none_follows = powi(1.0 - begins, k.saturating_sub(1));
        let unwanted = (1.0 - share) * none_follows;
        let begins = 1.0 - none_follows * (1.0 - begins);
        Self {
            stride: self.stride.saturating_mul(k),
            share: 1.0 - unwanted,
            // Balance, the other way round.
            mean_run: (1.0 - unwanted) / (begins * unwanted),
            longest: self.longest,
        }
    }

    /// Blocks that `records` neighbours touch.
    fn blocks(&self, records: u32) -> BlockCount {
        let bytes = self.stride as u64 * records as u64;
        let inside = BlockCount::for_bytes(bytes);
        // Records that do not fill blocks begin anywhere in one: they touch one more as often as not.
        let straddles = !self.stride.is_multiple_of(BLOCK_BYTES as u32)
            && inside.bytes() - bytes < BLOCK_BYTES as u64 / 2;
        BlockCount(inside.0.saturating_add(straddles.into()))
    }
}

/// The gaps, in blocks, with the least expected time per wanted cell: all that merge across the same
/// number of cells. A cell is a record, or several where the longest extent would hold too many.
///
/// For each it follows an extent that has grown to `l` cells: it either meets a wanted one near enough
/// and grows on, or is read at `T(l)`. Backwards from the longest extent this takes one pass, in which
/// the sum over all gaps that are read through moves along: `O(MAX_CELLS ^ 2)` in all.
pub(super) fn best_gap(cost: &Calibration, pattern: &ReadPattern) -> Range<u32> {
    let stride = pattern.stride.max(1) as u64;
    let cell = pattern.longest.bytes().div_ceil(MAX_CELLS as u64).max(BLOCK_BYTES as u64);
    let pattern = match u32::try_from(cell / stride) {
        Ok(0 | 1) => *pattern,
        Ok(records) => pattern.joined(records),
        Err(_) => return 0..1,
    };
    let fits = |cells: &u32| pattern.blocks(*cells) <= pattern.longest;
    let longest = (1..=MAX_CELLS as u32).take_while(fits).last().unwrap_or(1);
    let mut times = [0.0; MAX_CELLS];
    for (time, cells) in times.iter_mut().zip(1..=longest) {
        *time = cost.cost_ns(pattern.blocks(cells)) as f32;
    }
    let times = times.get(..longest as usize).unwrap_or_default();
    let mut best = (f32::INFINITY, 0);
    for across in 0..longest {
        let expected = time_per_cell(times, across, pattern.probabilities());
        // The shorter of equals reads less.
        if expected < best.0 * 0.9999 {
            best = (expected, across as u64);
        }
    }
    let gap = |across: u64| {
        let bytes = across * pattern.stride as u64;
        u32::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX)
    };
    gap(best.1)..gap(best.1 + 1)
}

/// Expected time per wanted cell when up to `across` unwanted ones are read through; `times[l - 1]`
/// is the time of an extent of `l` cells.
fn time_per_cell(times: &[f32], across: u32, (stays, begins): (f32, f32)) -> f32 {
    // By cells in the extent so far: expected time from here on, and wanted cells of it still to come.
    let mut ahead = [(0.0f32, 0.0f32); MAX_CELLS];
    let at = |ahead: &[(f32, f32); MAX_CELLS], l: usize| match ahead.get(l.wrapping_sub(1)) {
        Some(&there) if l <= times.len() => there,
        _ => (0.0, 0.0),
    };
    // Sums over the gaps of 1 to `across` cells after an extent of `l`, of the probability of each
    // and what is ahead of it.
    let (mut time_sum, mut cell_sum, mut reached) = (0.0f32, 0.0f32, 0.0f32);
    let ends_a_window = powi(1.0 - begins, across);
    let window = across as usize;
    for l in (1..=times.len()).rev() {
        if across > 0 {
            let (near, far) = (at(&ahead, l + 2), at(&ahead, l + 2 + window));
            let inside = |l: usize| if l <= times.len() { begins } else { 0.0 };
            let (enters, leaves) = (inside(l + 2), inside(l + 2 + window) * ends_a_window);
            let fades = 1.0 - begins;
            time_sum = fades * time_sum + begins * (near.0 - ends_a_window * far.0);
            cell_sum = fades * cell_sum + begins * (near.1 - ends_a_window * far.1);
            reached = fades * reached + enters - leaves;
        }
        let next = at(&ahead, l + 1);
        let grows_at_once = if l < times.len() { stays } else { 0.0 };
        let grows = grows_at_once + (1.0 - stays) * reached;
        let time = times.get(l - 1).copied().unwrap_or(0.0);
        if let Some(here) = ahead.get_mut(l - 1) {
            *here = (
                (1.0 - grows) * time + stays * next.0 + (1.0 - stays) * time_sum,
                1.0 + stays * next.1 + (1.0 - stays) * cell_sum,
            );
        }
    }
    let (time, cells) = at(&ahead, 1);
    time / cells.max(1.0)
}

/// `base ^ exponent`; `core` has none for floats.
fn powi(mut base: f32, mut exponent: u32) -> f32 {
    let mut power = 1.0;
    while exponent > 0 {
        if exponent % 2 == 1 {
            power *= base;
        }
        base *= base;
        exponent /= 2;
    }
    power
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same expectation, each gap by itself.
    fn slow(times: &[f32], across: u32, (stays, begins): (f32, f32), l: usize) -> (f32, f32) {
        let (mut time, mut records, mut grows) = (0.0, 1.0, 0.0);
        for gap in 0..=across as usize {
            if l + gap + 1 > times.len() {
                break;
            }
            let probability = match gap {
                0 => stays,
                _ => (1.0 - stays) * begins * (1.0 - begins).powi(gap as i32 - 1),
            };
            let ahead = slow(times, across, (stays, begins), l + gap + 1);
            time += probability * ahead.0;
            records += probability * ahead.1;
            grows += probability;
        }
        (time + (1.0 - grows) * times[l - 1], records)
    }

    #[test]
    fn the_moving_sum_is_the_sum() {
        let times: std::vec::Vec<f32> =
            (1..=12).map(|l| ((l * l * 7 + 3) % 50) as f32 + 1.0).collect();
        for across in 0..12 {
            for probabilities in [(0.3, 0.1), (0.0, 0.9), (0.9, 1.0), (0.5, 0.01)] {
                let (time, records) = slow(&times, across, probabilities, 1);
                let fast = time_per_cell(&times, across, probabilities);
                assert!((fast / (time / records) - 1.0).abs() < 1e-4, "{across} {probabilities:?}");
            }
        }
    }

    #[test]
    fn on_an_affine_card_it_finds_the_closed_form() {
        let card = Calibration::affine(25_000, 92_000_000);
        for (stride, share, mean_run) in [(512, 0.1, 1.2), (1024, 0.05, 1.1), (1024, 0.1, 2.0)] {
            let pattern = ReadPattern { stride, share, mean_run, longest: BlockCount(64) };
            assert!(best_gap(&card, &pattern).contains(&card.gap().0), "{pattern:?}");
            assert_eq!(card.gap_for(&pattern), BlockCount(4));
        }
    }

    #[test]
    fn odd_patterns_do_not_panic() {
        let card = Calibration::affine(230_000, 92_000_000);
        for stride in [0, 1, 511, 513, u32::MAX] {
            for odd in [f32::NAN, f32::NEG_INFINITY, -1.0, 0.0, 1.0, 2.0, f32::INFINITY] {
                for longest in [BlockCount(0), BlockCount(1), BlockCount(u32::MAX)] {
                    best_gap(&card, &ReadPattern { stride, share: odd, mean_run: odd, longest });
                    best_gap(&card, &ReadPattern::independent(stride, odd, longest));
                }
            }
        }
    }
}
