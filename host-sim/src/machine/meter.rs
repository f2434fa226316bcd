//! A probe that counts what the kernel does, and lets computation take its time.
//!
//! In: the kernel's reports. Out: counts by stage, and a virtual clock that was moved on.

use super::Core;
use super::card::Stats;
use super::clock::VirtualClock;
use ripple_kernel::read::collapse::Extent;
use ripple_kernel::{Probe, Stage};
use serde::Serialize;
use std::cell::Cell;
use std::rc::Rc;

/// What one stage did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StageCounts {
    /// Read commands; reads where the meter does not know the card.
    pub reads: u64,
    /// Bytes read; with those between two reads of one command, where it does.
    pub bytes: u64,
    /// Records that were asked for (bundles, rows).
    pub wanted: u64,
    /// Multiply-accumulates.
    pub multiply_accumulates: u64,
    /// Picoseconds that the card was busy; 0 where the meter does not know the card.
    pub card_ps: u64,
}

/// A probe that counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    stages: [StageCounts; Stage::ALL.len()],
    hits: u64,
    misses: u64,
    passes: u64,
    heads: u64,
}

impl Counts {
    /// What a stage did.
    pub fn stage(&self, stage: Stage) -> StageCounts {
        self.stages[stage as usize]
    }

    /// Active neurons that were in memory, and that were not.
    pub fn lookups(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }

    /// Passes, and those of them that computed logits.
    pub fn passes(&self) -> (u64, u64) {
        (self.passes, self.heads)
    }
}

impl Probe for Counts {
    fn wants_active(&self) -> bool {
        false
    }

    fn enter(&mut self, stage: Stage, _layer: u32) {
        // A pass embeds its tokens once, and is asked for logits at most once.
        self.passes += u64::from(stage == Stage::Embedding);
        self.heads += u64::from(stage == Stage::Head);
    }

    fn lookup(&mut self, _layer: u32, hits: u32, misses: u32) {
        self.hits += u64::from(hits);
        self.misses += u64::from(misses);
    }

    fn extent(&mut self, stage: Stage, extent: &Extent) {
        let counts = &mut self.stages[stage as usize];
        counts.reads += 1;
        counts.bytes += extent.blocks.bytes();
        counts.wanted += u64::from(extent.wanted);
    }

    fn compute(&mut self, stage: Stage, count: u32) {
        self.stages[stage as usize].multiply_accumulates += u64::from(count);
    }
}

/// A card, of which it is known what it has done so far, and for which stage it works.
struct Watched {
    total: Rc<Cell<Stats>>,
    seen: Stats,
    stage: Stage,
}

impl Watched {
    /// Counts what was not seen yet.
    fn add_to(&self, counts: &mut Counts) {
        let done = self.total.get().since(&self.seen);
        let stage = &mut counts.stages[self.stage as usize];
        stage.reads += done.reads;
        stage.bytes += done.bytes();
        stage.card_ps += done.busy_ps;
    }
}

/// A probe that counts, and lets computation take its time on the virtual clock.
pub struct Meter {
    counts: Counts,
    clock: VirtualClock,
    card: Option<Watched>,
    picoseconds: u64,
    compute_ps: u64,
}

impl Meter {
    /// Counts from zero, on `clock`.
    pub fn new(clock: VirtualClock, core: Core) -> Self {
        let picoseconds = core.picoseconds();
        Self { counts: Counts::default(), clock, card: None, picoseconds, compute_ps: 0 }
    }

    /// The same, which counts what the card does: commands, all bytes, and the time it is busy.
    #[must_use]
    pub fn watching(self, total: Rc<Cell<Stats>>) -> Self {
        let card = Watched { seen: total.get(), total, stage: Stage::Open };
        Self { card: Some(card), ..self }
    }

    /// What a stage did.
    pub fn stage(&self, stage: Stage) -> StageCounts {
        let mut counts = self.counts;
        if let Some(card) = &self.card {
            card.add_to(&mut counts);
        }
        counts.stage(stage)
    }

    /// What the card does from now on is for `stage`.
    fn turn_to(&mut self, stage: Stage) {
        if let Some(card) = &mut self.card {
            card.add_to(&mut self.counts);
            (card.seen, card.stage) = (card.total.get(), stage);
        }
    }

    /// Active neurons that were in memory, and that were not.
    pub fn lookups(&self) -> (u64, u64) {
        self.counts.lookups()
    }

    /// Passes, and those of them that computed logits.
    pub fn passes(&self) -> (u64, u64) {
        self.counts.passes()
    }

    /// Picoseconds that the core computed.
    pub fn compute_ps(&self) -> u64 {
        self.compute_ps
    }

    /// Starts again from zero.
    pub fn reset(&mut self) {
        self.turn_to(Stage::Open);
        (self.counts, self.compute_ps) = (Counts::default(), 0);
    }
}

impl Probe for Meter {
    fn wants_active(&self) -> bool {
        self.counts.wants_active()
    }

    fn enter(&mut self, stage: Stage, layer: u32) {
        self.turn_to(stage);
        self.counts.enter(stage, layer);
    }

    fn lookup(&mut self, layer: u32, hits: u32, misses: u32) {
        self.counts.lookup(layer, hits, misses);
    }

    fn extent(&mut self, stage: Stage, extent: &Extent) {
        self.turn_to(stage);
        match self.card {
            Some(_) => self.counts.stages[stage as usize].wanted += u64::from(extent.wanted),
            None => self.counts.extent(stage, extent),
        }
    }

    fn compute(&mut self, stage: Stage, count: u32) {
        self.counts.compute(stage, count);
        let time = u64::from(count) * self.picoseconds;
        self.compute_ps += time;
        self.clock.advance_ps(time);
    }
}
