//! What boards learn: the adapters, how they are trained, and the memory for that and for stories.
//!
//! In: a model's geometry. Out: [`LearnPlan`], as a `const fn`. A build picks its lesson by name.

use ripple_hal::{BLOCK_BYTES, BlockCount};
use ripple_kernel::adapter::file::HEADER_WORDS;
use ripple_kernel::image::Geometry;
use ripple_kernel::{KvKind, MemoryPlan, Options};
use ripple_tune::{Arms, Gradients, Schedule, Target, Targets, TuneOptions, TunePlan};

/// What is learnt, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lesson {
    /// Name, for `RIPPLE_LESSON`.
    pub name: &'static str,
    /// Most bytes that are lent to the tuner, all together; what a decoder takes for stories is in the same.
    pub bytes: u64,
    /// Adapters and arms; its tokens are the most of a step, and fewer where fewer fit.
    pub tune: TuneOptions,
    /// What the decoder is told that tells stories.
    pub story: Options,
    /// Steps, where nobody says otherwise.
    pub steps: u32,
}

/// Seed of the adapters' beginning: that of `ripple tune`.
pub const SEED: u64 = 1;

impl Lesson {
    /// How far each of `steps` goes: as `ripple tune` has it.
    pub const fn schedule(&self, steps: u32) -> Schedule {
        Schedule { rate: 0.002, warm_up: 5, steps, clip: 1.0 }
    }

    /// The lesson of that name.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|lesson| lesson.name == name)
    }

    /// The lesson of a board, where nobody says otherwise.
    pub fn of(board: &str) -> &'static Self {
        if board == crate::board::RASPI3B.name { &ONE_MIB } else { &HALF_MIB }
    }
}

const KIB: u64 = 1024;

/// Rank 4 of queries and values, AdamW, least memory: as many tokens a step as fit 512 KiB.
pub const HALF_MIB: Lesson = Lesson {
    name: "512k",
    bytes: 512 * KIB,
    tune: TuneOptions {
        tokens: u32::MAX,
        gradients: Gradients::Layer,
        arms: Arms::LEAN,
        staging: BlockCount(16),
        collapse_gap: BlockCount(4),
        ..TuneOptions::DEFAULT
    },
    story: Options {
        context: 96,
        kv: KvKind::Q8,
        staging: BlockCount(16),
        cache_bytes: 32 << 10,
        batch: 4,
        collapse_gap: BlockCount(4),
        ..Options::DEFAULT
    },
    steps: 4,
};

/// The same with twice as much.
pub const ONE_MIB: Lesson = Lesson { name: "1m", bytes: 1024 * KIB, ..HALF_MIB };

/// What instructions are counted in: 32 tokens, rank 8 of all four matrices, in 3.5 MiB.
const COUNTED: Lesson = Lesson {
    name: "exact",
    bytes: 3584 * KIB,
    tune: TuneOptions {
        tokens: 32,
        rank: 8,
        alpha: 16.0,
        targets: Targets::of(&Target::ALL),
        gradients: Gradients::Whole,
        arms: Arms::EXACT,
        ..HALF_MIB.tune
    },
    steps: 1,
    ..HALF_MIB
};

/// The same in every arm whose instructions are compared.
const PLAIN: Lesson =
    Lesson { name: "plain", tune: TuneOptions { arms: Arms::PLAIN, ..COUNTED.tune }, ..COUNTED };
const TILED: Lesson =
    Lesson { name: "tiled", tune: TuneOptions { arms: Arms::TILED, ..COUNTED.tune }, ..COUNTED };

/// All of them.
pub const ALL: [&Lesson; 5] = [&HALF_MIB, &ONE_MIB, &PLAIN, &TILED, &COUNTED];

/// Memory of a lesson on a model, to the word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LearnPlan {
    /// Words of 8 bytes.
    pub arena: usize,
    /// Blocks.
    pub staging: usize,
    /// Tokens of a step; 0 where not even one fits.
    pub tokens: u32,
    /// Bytes that a step of one token takes, and a story.
    pub least: u64,
}

impl LearnPlan {
    /// What `lesson` takes on a model of this `geometry`.
    pub const fn for_model(geometry: &Geometry, lesson: &Lesson) -> Self {
        let most = TunePlan::most_tokens::<f32>(geometry, &lesson.tune, lesson.bytes);
        let tokens = if most < lesson.tune.tokens { most } else { lesson.tune.tokens };
        let tune = Self::tune(geometry, lesson, tokens);
        let one = Self::tune(geometry, lesson, 1);
        let story = MemoryPlan::for_model(geometry, &lesson.story);
        let words = StoryWords::of(&story, geometry, lesson).sum().div_ceil(2);
        let arena = if tune.arena() > words { tune.arena() } else { words };
        let staging = if tune.staging > story.staging { tune.staging } else { story.staging };
        let told = (words as u64 * 8).saturating_add(staging as u64 * BLOCK_BYTES as u64);
        let least = if one.lent_bytes() > told { one.lent_bytes() } else { told };
        Self { arena, staging, tokens, least }
    }

    const fn tune(geometry: &Geometry, lesson: &Lesson, tokens: u32) -> TunePlan {
        TunePlan::for_model::<f32>(geometry, &TuneOptions { tokens, ..lesson.tune })
    }

    /// Bytes of all that is lent; saturates.
    pub const fn bytes(&self) -> u64 {
        (self.arena as u64 * 8).saturating_add(self.staging as u64 * BLOCK_BYTES as u64)
    }
}

/// What a story has of the arena, in words of 4 bytes.
#[derive(Clone, Copy)]
pub(super) struct StoryWords {
    pub work: usize,
    pub cache: usize,
    pub index: usize,
    pub kv: usize,
    /// An adapter's file, and the scratch of a decoder that has one.
    pub file: usize,
    pub inner: usize,
}

impl StoryWords {
    pub const fn of(plan: &MemoryPlan, geometry: &Geometry, lesson: &Lesson) -> Self {
        let adapter = lesson.tune.adapter();
        let batch = if lesson.story.batch > 0 { lesson.story.batch } else { 1 };
        Self {
            work: plan.work,
            cache: plan.cache,
            index: plan.index,
            kv: plan.kv,
            file: adapter.numbers(&geometry.config).saturating_add(HEADER_WORDS),
            inner: batch as usize * adapter.rank as usize,
        }
    }

    const fn sum(&self) -> usize {
        self.work + self.cache + self.index + self.kv + self.file + self.inner
    }
}
