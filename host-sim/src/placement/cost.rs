//! What reads cost, for everything that is placed for a card: the planner's decisions, with prices.
//!
//! In: a card's timing, the bundles' size, the longest read. Out: the time that sets of slots take,
//! in picoseconds. Knows nothing of traces.

use crate::cost::{Preset, Timing};
use crate::machine::{collapse_gap, staging};
use ripple_hal::{BLOCK_BYTES, BlockCount};
use ripple_kernel::read::collapse::collapse;

/// The price of reading bundles of one size from one card.
#[derive(Clone, Debug)]
pub struct ReadCost {
    stride: u32,
    staging: BlockCount,
    gap: BlockCount,
    /// Picoseconds of a read of so many blocks, up to the longest.
    blocks: Vec<u64>,
}

impl ReadCost {
    /// For bundles of `stride` bytes, reads of at most `longest` blocks, merged across `gap`.
    pub fn new(timing: &Timing, stride: u32, gap: BlockCount, longest: BlockCount) -> Self {
        // A bundle that fits no read is read anyway.
        let most = longest.0.max(stride.div_ceil(BLOCK_BYTES as u32) + 1);
        let cost = |blocks| timing.cost_ps(BlockCount(blocks).bytes());
        let staging = BlockCount(2 * longest.0);
        Self { stride, staging, gap, blocks: (0..=most).map(cost).collect() }
    }

    /// On a card, for layers of `neurons` bundles of `stride` bytes: with this staging, both halves, or
    /// with what suits the card, and with the gap that calibrating it gives.
    pub fn on(card: &Preset, stride: u32, neurons: usize, given: Option<BlockCount>) -> Self {
        let layer = BlockCount::for_bytes(neurons as u64 * u64::from(stride));
        let staging = given.unwrap_or_else(|| staging(card, layer));
        let gap = collapse_gap(card, staging);
        Self { staging, ..Self::new(&card.timing(), stride, gap, BlockCount(staging.0 / 2)) }
    }

    /// Blocks of staging, both halves.
    pub fn staging(&self) -> BlockCount {
        self.staging
    }

    /// Bytes of a bundle.
    pub fn stride(&self) -> u32 {
        self.stride
    }

    /// Blocks that are read through rather than starting a new read.
    pub fn gap(&self) -> BlockCount {
        self.gap
    }

    /// The longest read.
    pub fn longest(&self) -> BlockCount {
        BlockCount(self.blocks.len() as u32 - 1)
    }

    /// The time to read `slots`, ascending, with access collapse.
    pub fn extents(&self, slots: impl Iterator<Item = u16>) -> u64 {
        collapse(slots.map(u32::from), self.stride, self.gap, self.longest())
            .map(|extent| self.blocks[extent.blocks.0 as usize])
            .sum()
    }

    /// The time to read the first `count` bundles of something.
    pub fn sequential(&self, count: usize) -> u64 {
        let mut left = BlockCount::for_bytes(count as u64 * u64::from(self.stride)).0;
        let mut sum = 0;
        while left > 0 {
            let read = left.min(self.longest().0);
            sum += self.blocks[read as usize];
            left -= read;
        }
        sum
    }
}
