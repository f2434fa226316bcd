//! An image as a card that takes its time.
//!
//! In: bytes, a [`Timing`], a [`VirtualClock`]. Out: [`SimCard`], and [`Stats`] of what was read.
//! Knows nothing of what the bytes are or who computes meanwhile.

use super::clock::VirtualClock;
use super::contents::{Contents, WithSpare};
use crate::cost::{PS_PER_NS, Timing};
use ripple_hal::{BLOCK_BYTES, Block, BlockCount, BlockDevice, BlockIdx, OutOfRange, WriteDevice};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::rc::Rc;

/// What was read and what it cost. Times are exact, in picoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Commands: reads of at least one block that did not go on with the one before.
    pub reads: u64,
    /// Blocks moved, those between two reads of one command among them.
    pub blocks: u64,
    /// Reads that met the tail.
    pub tails: u64,
    /// Time the card was busy.
    pub busy_ps: u64,
    /// Part of it in which the caller had nothing else to do.
    pub waited_ps: u64,
}

impl Stats {
    /// Bytes moved.
    pub const fn bytes(&self) -> u64 {
        self.blocks * BLOCK_BYTES as u64
    }

    /// Time the card was busy, in whole nanoseconds.
    pub const fn busy_ns(&self) -> u64 {
        self.busy_ps / PS_PER_NS
    }

    /// Time the caller waited for the card, in whole nanoseconds.
    pub const fn waited_ns(&self) -> u64 {
        self.waited_ps / PS_PER_NS
    }

    /// Time in which the card was busy and the caller too, in whole nanoseconds.
    pub const fn overlapped_ns(&self) -> u64 {
        self.busy_ps.saturating_sub(self.waited_ps) / PS_PER_NS
    }

    /// Bytes per second while busy; 0 if it never was.
    pub fn busy_bytes_per_second(&self) -> f64 {
        if self.busy_ps == 0 { 0.0 } else { self.bytes() as f64 / (self.busy_ps as f64 * 1e-12) }
    }

    /// Adds what happened after it.
    const fn add(&mut self, later: &Self) {
        self.reads += later.reads;
        self.blocks += later.blocks;
        self.tails += later.tails;
        self.busy_ps += later.busy_ps;
        self.waited_ps += later.waited_ps;
    }

    /// What happened between `earlier` and now.
    #[must_use]
    pub const fn since(&self, earlier: &Self) -> Self {
        Self {
            reads: self.reads.saturating_sub(earlier.reads),
            blocks: self.blocks.saturating_sub(earlier.blocks),
            tails: self.tails.saturating_sub(earlier.tails),
            busy_ps: self.busy_ps.saturating_sub(earlier.busy_ps),
            waited_ps: self.waited_ps.saturating_sub(earlier.waited_ps),
        }
    }
}

/// A simulated card with `image` on it: bytes, or anything else that has [`Contents`].
///
/// Block 0 is the first 512 bytes. One read is one command: it costs what the timing says for its size,
/// wherever it is. Where it [stays open](BlockDevice::stay_open), reads that go on with a command cost as
/// much more as that command does when it is so much longer, and what they skip counts as read.
///
/// During [`read_while`](BlockDevice::read_while) the card works beside the caller: the clock ends at
/// whichever is later, the end of the transfer or the end of the work. The work takes the time it
/// lets pass on a clone of the clock.
#[derive(Clone, Debug)]
pub struct SimCard<B> {
    image: B,
    timing: Timing,
    clock: VirtualClock,
    random: u64,
    stats: Stats,
    total: Rc<Cell<Stats>>,
    gap: Option<BlockCount>,
    open: Option<Open>,
}

/// A command that is open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    /// The block it would deliver next.
    next: BlockIdx,
    /// Bytes it has delivered.
    bytes: u64,
}

impl Open {
    /// What a read of `count` blocks from `start` on costs that goes on with `open` where it begins at most `gap` behind
    /// it, and the command after it.
    pub fn go_on(
        open: Option<Self>,
        gap: Option<BlockCount>,
        timing: &Timing,
        start: BlockIdx,
        count: BlockCount,
    ) -> (Stats, Self) {
        let goes_on = open
            .filter(|open| open.next <= start && gap.is_some_and(|gap| start - open.next <= gap));
        let (before, blocks) = match goes_on {
            Some(Self { next, bytes }) => (bytes, (start - next) + count),
            None => (0, count),
        };
        let after = before + blocks.bytes();
        let read = Stats {
            reads: goes_on.is_none().into(),
            blocks: blocks.0.into(),
            busy_ps: timing.cost_ps(after) - timing.cost_ps(before),
            ..Stats::default()
        };
        (read, Self { next: start + count, bytes: after })
    }
}

impl<B: Contents> SimCard<B> {
    /// A card that holds `image`; `clock` is advanced by every read.
    pub fn new(image: B, timing: Timing, clock: VirtualClock) -> Self {
        let (stats, total) = (Stats::default(), Rc::default());
        Self { image, timing, clock, random: 0, stats, total, gap: None, open: None }
    }

    /// The same card, whose tail strikes other reads.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> Self {
        Self { random: seed, ..self }
    }

    /// What was read since the start or the last [`take_stats`](Self::take_stats).
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// What was read, counting from 0 again.
    pub fn take_stats(&mut self) -> Stats {
        std::mem::take(&mut self.stats)
    }

    /// A handle to what was read since the card was made, for who watches: clones of the card count there, too.
    pub fn total(&self) -> Rc<Cell<Stats>> {
        Rc::clone(&self.total)
    }

    /// A handle to the card's clock.
    pub fn clock(&self) -> VirtualClock {
        self.clock.clone()
    }

    /// What a read costs.
    pub const fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Makes the card another one from the next read on: it drifts, warm or busy with itself.
    pub fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
    }

    /// What is on the card.
    pub fn image(&self) -> &B {
        &self.image
    }

    /// Copies the blocks and gives the time that takes, in picoseconds.
    fn transfer(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<u64, OutOfRange> {
        OutOfRange::check(start, dst, self.image.blocks())?;
        self.image.copy(start, dst);
        if dst.is_empty() {
            return Ok(0);
        }
        let count = BlockCount(dst.len() as u32);
        let (mut read, open) = Open::go_on(self.open, self.gap, &self.timing, start, count);
        self.open = Some(open).filter(|_| self.gap.is_some());
        read.busy_ps = read.busy_ps.saturating_add(self.tail_ps());
        let cost = read.busy_ps;
        self.stats.add(&read);
        let mut total = self.total.get();
        total.add(&read);
        self.total.set(total);
        Ok(cost)
    }

    /// Draws whether this read meets the tail. A SplitMix64 of our own, so that figures do not
    /// change with a library's version: Steele, Lea and Flood, 2014.
    fn tail_ps(&mut self) -> u64 {
        let Some(tail) = self.timing.tail else { return 0 };
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let uniform = ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        if uniform >= tail.probability {
            return 0;
        }
        self.stats.tails += 1;
        tail.extra_ns.saturating_mul(PS_PER_NS)
    }
}

impl<B: Contents> BlockDevice for SimCard<B> {
    type Error = OutOfRange;

    fn block_count(&mut self) -> Result<BlockCount, OutOfRange> {
        Ok(self.image.blocks())
    }

    fn read(&mut self, start: BlockIdx, dst: &mut [Block]) -> Result<(), OutOfRange> {
        self.read_while(start, dst, || ())
    }

    fn read_while<R>(
        &mut self,
        start: BlockIdx,
        dst: &mut [Block],
        work: impl FnOnce() -> R,
    ) -> Result<R, OutOfRange> {
        let cost = self.transfer(start, dst)?;
        let done = self.clock.now_ps().saturating_add(cost);
        let result = work();
        let waited = done.saturating_sub(self.clock.now_ps());
        self.clock.advance_ps(waited);
        self.stats.waited_ps += waited;
        Ok(result)
    }

    fn stay_open(&mut self, gap: Option<BlockCount>) -> Result<(), OutOfRange> {
        (self.gap, self.open) = (gap, None);
        Ok(())
    }

    fn goes_on(&self) -> Option<BlockIdx> {
        self.open.map(|open| open.next)
    }
}

/// A write costs what a read of its size does; no card is as fast. It is not counted as a read.
impl<B: Contents> WriteDevice for SimCard<WithSpare<B>> {
    fn write(&mut self, start: BlockIdx, src: &[Block]) -> Result<(), OutOfRange> {
        let blocks = self.image.blocks();
        OutOfRange::check(start, src, blocks)?;
        if start < self.image.spare_at() {
            // The image is not written.
            let count = BlockCount(src.len() as u32);
            return Err(OutOfRange { start, count, blocks });
        }
        self.image.write(start, src);
        self.open = None;
        let cost = self.timing.cost_ps(size_of_val(src) as u64);
        self.stats.busy_ps += cost;
        self.stats.waited_ps += cost;
        self.clock.advance_ps(cost);
        Ok(())
    }
}
