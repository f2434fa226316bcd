//! Access collapse: turns the sorted slots a layer must read into few, long extents.
//!
//! In: slots missing from the cache, ascending. Out: extents no longer than one staging half.
//! Knows nothing of devices, weights or time.

use core::iter::Peekable;
use ripple_hal::{BLOCK_BYTES, BlockCount, BlockIdx};

/// Consecutive blocks that are read with one command, and which slots they were read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Extent {
    /// First block, counted from the start of the table.
    pub start: u32,
    /// How many blocks.
    pub blocks: BlockCount,
    /// The first slot it was read for.
    pub first_slot: u32,
    /// How many slots it was read for; the rest of it is gap.
    pub wanted: u32,
}

/// Plans the reads of `slots`, records of `stride` bytes that start on a block boundary.
///
/// Two neighbours are read with one command when at most `gap` blocks that nobody wants lie between
/// them and the whole stays within `max` blocks. On a device with `T(n) = t0 + n / BW` that is
/// optimal for `gap = t0 * BW / 512`: reading through costs `gap / BW`, a new command `t0`. Slots
/// that share a block are always merged. A slot that does not fit `max` alone is given anyway.
///
/// Ripple (arXiv 2410.19274) 5.1, with the threshold in closed form instead of guessed.
pub fn collapse<I: Iterator<Item = u32>>(
    slots: I,
    stride: u32,
    gap: BlockCount,
    max: BlockCount,
) -> Collapse<I> {
    Merging { stride, gap, longest: max }.extents(slots)
}

/// When two reads are merged: see [`collapse`].
#[derive(Clone, Copy)]
pub(crate) struct Merging {
    /// Bytes from one record to the next.
    pub stride: u32,
    /// Most unwanted blocks that are read through.
    pub gap: BlockCount,
    /// Most blocks of an extent.
    pub longest: BlockCount,
}

impl Merging {
    /// The reads of the records at `places`, which ascend and are counted in strides.
    pub fn extents<I: Iterator<Item = u32>>(self, places: I) -> Collapse<I> {
        Collapse { slots: places.peekable(), merging: self }
    }

    /// What these reads take, in blocks.
    pub fn cost(self, places: impl Iterator<Item = u32>) -> u64 {
        self.price(self.extents(places))
    }

    /// What a read that begins at `at` takes less, in blocks, if a command goes on with block `next`: a command,
    /// but for what is read through.
    pub fn saved(self, next: Option<BlockIdx>, at: BlockIdx) -> u64 {
        let between = next.filter(|&next| next <= at).map(|next| at - next);
        between.map_or(0, |between| self.gap.0.saturating_sub(between.0).into())
    }

    /// What `extents` take, in blocks. A command takes as long as the blocks of the gap: that is how
    /// the gap is chosen.
    pub fn price(self, extents: impl Iterator<Item = Extent>) -> u64 {
        let command = u64::from(self.gap.0);
        extents.fold(0, |cost, extent| cost + command + u64::from(extent.blocks.0))
    }
}

/// The extents of [`collapse`].
pub struct Collapse<I: Iterator<Item = u32>> {
    slots: Peekable<I>,
    merging: Merging,
}

/// The blocks that hold bytes of slot `slot`: first, and one past the last.
pub(crate) fn blocks_of(slot: u32, stride: u32) -> (u32, u32) {
    let start = u64::from(slot) * u64::from(stride);
    let end = start + u64::from(stride);
    let block = BLOCK_BYTES as u64;
    ((start / block) as u32, end.div_ceil(block) as u32)
}

impl<I: Iterator<Item = u32>> Iterator for Collapse<I> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        let Merging { stride, gap, longest } = self.merging;
        let first_slot = self.slots.next()?;
        let (start, mut end) = blocks_of(first_slot, stride);
        let mut wanted = 1;
        while let Some(&slot) = self.slots.peek() {
            let (slot_start, slot_end) = blocks_of(slot, stride);
            let near = slot_start <= end.saturating_add(gap.0);
            let fits = slot_end.saturating_sub(start) <= longest.0;
            if !(near && fits) {
                break;
            }
            self.slots.next();
            end = slot_end;
            wanted += 1;
        }
        Some(Extent { start, blocks: BlockCount(end.saturating_sub(start)), first_slot, wanted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    fn plan(slots: &[u32], stride: u32, gap: u32, max: u32) -> Vec<(u32, u32, u32)> {
        collapse(slots.iter().copied(), stride, BlockCount(gap), BlockCount(max))
            .map(|e| (e.start, e.blocks.0, e.wanted))
            .collect()
    }

    #[test]
    fn gap_zero_reads_only_misses() {
        assert_eq!(plan(&[0, 1, 3, 6], 512, 0, 99), [(0, 2, 2), (3, 1, 1), (6, 1, 1)]);
    }

    #[test]
    fn gaps_up_to_the_limit_are_read_through() {
        assert_eq!(plan(&[0, 2, 5], 512, 1, 99), [(0, 3, 2), (5, 1, 1)]);
        assert_eq!(plan(&[0, 2, 5], 512, 2, 99), [(0, 6, 3)]);
    }

    #[test]
    fn slots_in_one_block_are_one_read() {
        assert_eq!(plan(&[0, 3, 4], 128, 0, 99), [(0, 2, 3)]);
    }

    #[test]
    fn extents_end_at_the_staging_half() {
        assert_eq!(plan(&[0, 1, 2, 3, 4], 512, 0, 2), [(0, 2, 2), (2, 2, 2), (4, 1, 1)]);
    }
}
