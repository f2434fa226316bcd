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
    /// Picoseconds that a read takes less when it goes on with the command of the one before.
    command: u64,
}

/// A read of some slots of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Where its first slot stands in the list.
    pub first: u32,
    /// Picoseconds of all reads before it.
    pub before: u64,
}

impl ReadCost {
    /// For bundles of `stride` bytes, reads of at most `longest` blocks, merged across `gap`.
    pub fn new(timing: &Timing, stride: u32, gap: BlockCount, longest: BlockCount) -> Self {
        // A bundle that fits no read is read anyway.
        let most = longest.0.max(stride.div_ceil(BLOCK_BYTES as u32) + 1);
        let cost = |blocks| timing.cost_ps(BlockCount(blocks).bytes());
        let staging = BlockCount(2 * longest.0);
        Self { stride, staging, gap, blocks: (0..=most).map(cost).collect(), command: 0 }
    }

    /// On a card, for layers of `neurons` bundles of `stride` bytes: with this staging, both halves, or
    /// with what suits the card, and with the gap that calibrating it gives.
    pub fn on(card: &Preset, stride: u32, neurons: usize, given: Option<BlockCount>) -> Self {
        let layer = BlockCount::for_bytes(neurons as u64 * u64::from(stride));
        let staging = given.unwrap_or_else(|| staging(card, layer));
        let gap = collapse_gap(card, staging);
        Self { staging, ..Self::new(&card.timing(), stride, gap, BlockCount(staging.0 / 2)) }
    }

    /// The same on a device that [stays open](ripple_hal::BlockDevice::stay_open), for layers of `neurons` bundles:
    /// what staging cuts into several reads is one command there.
    #[must_use]
    pub fn staying_open(&self, card: &Preset, neurons: usize) -> Self {
        let layer = BlockCount::for_bytes(neurons as u64 * u64::from(self.stride));
        // A page may hold the whole layer, behind its directory.
        let longest = BlockCount(2 * layer.0.max(self.longest().0) + 1);
        let open = Self::new(&card.timing(), self.stride, self.gap, longest);
        // Where the price is that of a table, what is saved depends on the lengths: this much at least.
        let rise = |(a, b): (&u64, &u64)| b.saturating_sub(*a);
        let steepest = open.blocks.iter().skip(1).zip(open.blocks.iter().skip(2)).map(rise).max();
        let command = open.blocks[1].saturating_sub(steepest.unwrap_or(0));
        Self { staging: self.staging, command, ..open }
    }

    /// What a read takes less when it goes on with the command of the one before; 0 where the device does
    /// not stay open.
    pub fn command(&self) -> u64 {
        self.command
    }

    /// What reading `first` after `last`, each a layer and a slot of it, costs less because the command of the
    /// one goes on to the other; layers of `neurons` bundles follow each other.
    pub(super) fn saved(&self, first: (u64, u16), last: (u64, u16), neurons: u64) -> u64 {
        let layer = BlockCount::for_bytes(neurons * u64::from(self.stride)).0;
        let at = |(number, slot): (u64, u16)| {
            let (start, end) = self.blocks_of(slot);
            (number as u32 * layer + start, number as u32 * layer + end)
        };
        let between = at(first).0.saturating_sub(at(last).1);
        match self.blocks.get(between as usize).filter(|_| between <= self.gap.0) {
            Some(read) => self.command.saturating_sub(read.saturating_sub(self.command)),
            // Further apart than the gap; or than the longest read, for which there is no price.
            None => 0,
        }
    }

    /// What it takes to be at the same place again `count` bundles on: to read through, or another command.
    pub fn skip(&self, count: usize) -> u64 {
        self.sequential(count).saturating_sub(self.command).min(self.command)
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

    /// The reads of `slots`, ascending, in `reads`; gives the time of them all, that of
    /// [`extents`](Self::extents).
    pub(super) fn reads(&self, slots: &[u16], reads: &mut Vec<Read>) -> u64 {
        reads.clear();
        let (mut at, mut cost) = (0, 0);
        while at < slots.len() {
            reads.push(Read { first: at as u32, before: cost });
            let (next, blocks) = self.one(slots, at);
            cost += self.blocks[blocks as usize];
            at = next;
        }
        cost
    }

    /// The time to read `slots`, which differ from others of `total` time in `reads` only from place `low` to
    /// place `high`: the reads before these are the same, and those after them as soon as one begins at
    /// the same place as it did.
    pub(super) fn changed(
        &self,
        slots: &[u16],
        (low, high): (usize, usize),
        reads: &[Read],
        total: u64,
    ) -> u64 {
        // The read of the slot before the first change may reach further now, or less far.
        let held = low.saturating_sub(1) as u32;
        let from = reads.partition_point(|read| read.first <= held).saturating_sub(1);
        let Some(&Read { first, before }) = reads.get(from) else { return total };
        let (mut at, mut cost, mut old) = (first as usize, before, from);
        loop {
            let (next, blocks) = self.one(slots, at);
            cost += self.blocks[blocks as usize];
            at = next;
            if at >= slots.len() {
                return cost;
            }
            if at > high {
                while reads.get(old).is_some_and(|read| (read.first as usize) < at) {
                    old += 1;
                }
                if let Some(read) = reads.get(old).filter(|read| read.first as usize == at) {
                    return cost + (total - read.before);
                }
            }
        }
    }

    /// The read that begins with the slot at place `at`: where the next one begins, and its blocks. The
    /// rule is that of [`collapse`].
    fn one(&self, slots: &[u16], at: usize) -> (usize, u32) {
        let (start, mut end) = self.blocks_of(slots[at]);
        let mut next = at + 1;
        while let Some(&slot) = slots.get(next) {
            let (slot_start, slot_end) = self.blocks_of(slot);
            if slot_start > end + self.gap.0 || slot_end - start > self.longest().0 {
                break;
            }
            end = slot_end;
            next += 1;
        }
        (next, end - start)
    }

    /// The blocks that hold bytes of a slot: first, and one past the last.
    fn blocks_of(&self, slot: u16) -> (u32, u32) {
        let start = u64::from(slot) * u64::from(self.stride);
        let end = start + u64::from(self.stride);
        ((start / BLOCK_BYTES as u64) as u32, end.div_ceil(BLOCK_BYTES as u64) as u32)
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

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    /// Against the planner itself, for sparse and dense lists, short and long reads, small and large gaps.
    #[test]
    fn what_an_exchange_changes_is_what_reading_all_of_it_again_costs() {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        for name in ["spi", "sdio-hs", "uhs-sdr104", "emmc-hs400"] {
            let card = Preset::by_name(name).unwrap();
            for (stride, neurons, share) in [(136, 256, 0.1), (1156, 1536, 0.6), (2000, 300, 0.02)]
            {
                let cost = ReadCost::on(card, stride, neurons, None);
                let all = |slots: &[u16]| cost.extents(slots.iter().copied());
                for _ in 0..50 {
                    let mut slots: Vec<u16> =
                        (0..neurons as u16).filter(|_| random.random_bool(share)).collect();
                    let mut reads = Vec::new();
                    let total = cost.reads(&slots, &mut reads);
                    assert_eq!(total, all(&slots));
                    let free: Vec<u16> =
                        (0..neurons as u16).filter(|slot| !slots.contains(slot)).collect();
                    if slots.is_empty() || free.is_empty() {
                        continue;
                    }
                    let from = random.random_range(0..slots.len());
                    slots.remove(from);
                    let new = free[random.random_range(0..free.len())];
                    let to = slots.partition_point(|&slot| slot < new);
                    slots.insert(to, new);
                    let changed = cost.changed(&slots, (from.min(to), from.max(to)), &reads, total);
                    assert_eq!(changed, all(&slots), "{name} {stride}: {from} -> {to}");
                }
            }
        }
    }
}
