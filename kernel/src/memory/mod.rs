//! Memory is lent by the caller, by region, and never grows.
//!
//! In: a model's geometry and the caller's options. Out: how much of each region is needed, as a
//! `const fn`; and, at open, the regions carved into named slices. Microcontroller RAM is not
//! uniform, so the regions may lie in different places. Nothing is carved after open.

pub mod cache;
pub(crate) mod kv;
pub mod region;
mod state;

use crate::config::ModelConfig;
use crate::image::{Geometry, Header, SectionKind};
use crate::memory::region::reported;
pub use kv::KvKind;
pub use region::{MemoryError, Region};
use ripple_hal::{BLOCK_BYTES, Block, BlockCount};
use state::Sizes;
pub(crate) use state::{InputBuffer, PackRoom, RunState, WantedSlots};

/// What the caller decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Options {
    /// Positions of the KV cache; more than the model's context is cut to it.
    pub context: u32,
    /// Positions that may lie on the card besides, behind the image: see
    /// [`Decoder::spill`](crate::Decoder::spill). More than the model's context has left is cut to it.
    pub spill: u32,
    /// Numbers in the KV cache.
    pub kv: KvKind,
    /// Blocks of staging, both halves together; raised to what the largest record needs.
    pub staging: BlockCount,
    /// Blocks of staging besides, that the pages of several layers are read into at once, so that one command serves a
    /// token: for the fronts of all its pages, at best. 0 has each front read for itself. Takes nothing in
    /// images without pages.
    pub page_buffer: BlockCount,
    /// Bytes of the neuron cache, hot prefix and dynamic part together.
    pub cache_bytes: u32,
    /// Most of the cache that the hot prefix may take, in thousandths. The rest is dynamic.
    pub hot_permille: u32,
    /// Which neurons enter the dynamic part.
    pub admission: cache::Admission,
    /// Which neurons leave it.
    pub eviction: cache::Eviction,
    /// The collapse gap: most unwanted blocks that are read through instead of starting a new command;
    /// `t0 * BW / 512` of the device.
    pub collapse_gap: BlockCount,
    /// Most positions of a pass; 0 counts as 1, and more than the context is cut to it.
    ///
    /// A pass reads each weight that any of its positions needs once. Each further position takes at
    /// most, in bytes of the work region: `12 dim + 4 (query_dim + 2 kv_dim) + 2 max(dim, query_dim) +
    /// neurons / 8 + 20`; `4 head_dim` with rotary positions; `planes * dim / 8` with a sign predictor;
    /// `4 dim + 8` with a variant.
    pub batch: u32,
    /// Whether the first read of a layer's context page is under way while the layer's attention and
    /// predictor are computed, in passes of one position of which only the FFN is not mapped.
    ///
    /// It is then read whether or not it turns out to pay, which changes no result. Wins where most
    /// of what a token needs is missing: not done while the dynamic part of the cache holds more than
    /// the hot prefix. No use on a device whose `read_while` does not overlap.
    pub read_ahead: bool,
    /// Whether `open` checks the CRC of every mapped section. Streamed records are always checked.
    pub verify: bool,
}

impl Options {
    /// A 16-bit KV cache of 256 positions, 16 KiB of staging, no neuron cache, no collapse, one
    /// position a pass, pages read ahead.
    pub const DEFAULT: Self = Self {
        context: 256,
        spill: 0,
        kv: KvKind::F16,
        staging: BlockCount(32),
        page_buffer: BlockCount(0),
        cache_bytes: 0,
        hot_permille: 1000,
        admission: cache::Admission::DEFAULT,
        eviction: cache::Eviction::S3Fifo,
        collapse_gap: BlockCount(0),
        batch: 1,
        read_ahead: true,
        verify: true,
    };

    /// Positions of the KV cache.
    pub(crate) const fn context_of(&self, config: &ModelConfig) -> u32 {
        min(self.context, config.context)
    }

    /// Positions that may lie on the card.
    pub(crate) const fn spill_of(&self, config: &ModelConfig) -> u32 {
        min(self.spill, config.context.saturating_sub(self.context))
    }

    /// Positions that go there at once, at least; `context` must not be less. Their keys fill whole blocks.
    pub const fn spill_unit(&self, config: &ModelConfig) -> u32 {
        // Rows are whole words: a power of two of them does.
        let row = 2 * self.kv.entry_words(config);
        let common = min(row.trailing_zeros(), BLOCK_BYTES.trailing_zeros());
        BLOCK_BYTES as u32 >> common
    }

    /// Blocks behind the image that they take there.
    pub const fn spill_blocks(&self, config: &ModelConfig) -> BlockCount {
        let row = 2 * self.kv.entry_words(config) as u64;
        let table = (row * self.spill_of(config) as u64).div_ceil(BLOCK_BYTES as u64);
        let blocks = table * 2 * config.layers as u64;
        BlockCount(if blocks > u32::MAX as u64 { u32::MAX } else { blocks as u32 })
    }

    /// The page buffer of an image.
    pub(crate) const fn page_buffer_of(&self, geometry: &Geometry) -> BlockCount {
        let used = cfg!(feature = "pages") && geometry.page_blocks.0 > 0;
        BlockCount(if used { self.page_buffer.0 } else { 0 })
    }

    /// Most positions of a pass.
    pub(crate) const fn batch_of(&self, config: &ModelConfig) -> u32 {
        max(1, min(self.batch, self.context_of(config)))
    }

    /// The part of them that the cache needs.
    pub(crate) const fn policy(&self) -> cache::Policy {
        cache::Policy {
            hot_permille: self.hot_permille,
            admission: self.admission,
            eviction: self.eviction,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Memory for one decoder. Any alignment the types have will do.
pub struct Memory<'m> {
    /// [`Region::Work`].
    pub work: &'m mut [u32],
    /// [`Region::Staging`].
    pub staging: &'m mut [Block],
    /// [`Region::Cache`].
    pub cache: &'m mut [u32],
    /// [`Region::Index`].
    pub index: &'m mut [u32],
    /// [`Region::Kv`].
    pub kv: &'m mut [u32],
}

/// How much of each region a model needs.
///
/// What a target cannot address saturates: no memory is as large, so [`check`](Self::check) fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MemoryPlan {
    /// Words of [`Region::Work`].
    pub work: usize,
    /// Blocks of [`Region::Staging`].
    pub staging: usize,
    /// Words of [`Region::Cache`].
    pub cache: usize,
    /// Words of [`Region::Index`].
    pub index: usize,
    /// Words of [`Region::Kv`].
    pub kv: usize,
}

const fn max(a: u32, b: u32) -> u32 {
    if a > b { a } else { b }
}

const fn min(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

impl MemoryPlan {
    /// The exact need of `geometry` under `options`.
    ///
    /// `const`, so that a board can size its statics with it and assert that they fit.
    pub const fn for_model(geometry: &Geometry, options: &Options) -> Self {
        let sizes = Sizes::of(geometry, options);
        let shape = cache::Shape::of(geometry);
        let frames = shape.frames(options.cache_bytes);
        Self {
            work: RunState::words(sizes),
            staging: staging_blocks(geometry, options),
            cache: (frames as usize)
                .saturating_mul((geometry.bundle_layout().stride() / 4) as usize),
            index: shape.index_words(frames),
            kv: (options.kv.entry_words(&geometry.config) as usize)
                .saturating_mul(sizes.context as usize)
                .saturating_mul(geometry.config.layers as usize),
        }
    }

    /// Bytes of all regions together; saturates.
    pub const fn bytes(&self) -> usize {
        self.region_bytes(Region::Work)
            .saturating_add(self.region_bytes(Region::Staging))
            .saturating_add(self.region_bytes(Region::Cache))
            .saturating_add(self.region_bytes(Region::Index))
            .saturating_add(self.region_bytes(Region::Kv))
    }

    /// Bytes of one region; saturates.
    pub const fn region_bytes(&self, region: Region) -> usize {
        match region {
            Region::Work => self.work.saturating_mul(4),
            Region::Staging => self.staging.saturating_mul(BLOCK_BYTES),
            Region::Cache => self.cache.saturating_mul(4),
            Region::Index => self.index.saturating_mul(4),
            Region::Kv => self.kv.saturating_mul(4),
        }
    }

    /// Checks lent memory against the plan.
    ///
    /// # Errors
    /// The first region that is too small.
    pub fn check(&self, memory: &Memory<'_>) -> Result<(), MemoryError> {
        let given = |region| match region {
            Region::Work => size_of_val(memory.work),
            Region::Staging => size_of_val(memory.staging),
            Region::Cache => size_of_val(memory.cache),
            Region::Index => size_of_val(memory.index),
            Region::Kv => size_of_val(memory.kv),
        };
        for region in Region::ALL {
            let (needed, given) = (self.region_bytes(region), given(region));
            if given < needed {
                let (needed, given) = (reported(needed), reported(given));
                return Err(MemoryError { region, needed, given });
            }
        }
        Ok(())
    }
}

/// Blocks of staging: as asked, but a half holds the largest record and both the header; and the page buffer.
const fn staging_blocks(geometry: &Geometry, options: &Options) -> usize {
    let mut half = options.staging.0 / 2;
    let mut i = 0;
    while i < SectionKind::ALL.len() {
        #[allow(clippy::indexing_slicing, reason = "const evaluation; the bound is the condition")]
        if let Some((count, layout)) = geometry.table(SectionKind::ALL[i]) {
            // A record that does not start on a block boundary may touch one block more.
            let blocks = layout.stride().div_ceil(BLOCK_BYTES as u32) + (count > 1) as u32;
            half = max(half, if count == 0 { 0 } else { blocks });
        }
        i += 1;
    }
    if options.spill_of(&geometry.config) > 0 {
        // A position's keys, or values: half of what it takes.
        let row = 2 * options.kv.entry_words(&geometry.config);
        half = max(half, row.div_ceil(BLOCK_BYTES as u32) + 1);
    }
    let header = Header::most_bytes(geometry.config.layers).div_ceil(BLOCK_BYTES as u32);
    let buffer = options.page_buffer_of(geometry).0 as usize;
    (max(2 * half, header) as usize).saturating_add(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Activation, AttentionBias, Ffn, Norm, Position, Variant};
    use crate::image::{Bundle, Predictor, Quants};

    /// The largest model that a header may describe.
    const LARGEST: Geometry = Geometry {
        config: ModelConfig {
            dim: 16384,
            layers: 256,
            neurons: 65535,
            heads: 128,
            kv_heads: 128,
            head_dim: 128,
            vocab: 1_048_576,
            context: 65536,
            norm: Norm::Layer,
            norm_eps: 1e-5,
            position: Position::Learned,
            ffn: Ffn::Gated,
            activation: Activation::Relu,
            variant: Variant::NONE,
            attention_bias: AttentionBias::ALL,
            ffn_bias: true,
            tied_head: true,
            threshold: 0.0,
        },
        bundle: Bundle::whole(Ffn::Gated),
        predictor: Predictor::Signs { planes: 7 },
        quants: Quants::Q8,
        page_blocks: BlockCount(1),
    };

    #[test]
    fn a_plan_that_no_memory_holds_is_refused_on_32_bits_too() {
        assert_eq!(LARGEST.config.check(), Ok(()));
        let options = Options {
            context: u32::MAX,
            staging: BlockCount(u32::MAX),
            cache_bytes: u32::MAX,
            batch: u32::MAX,
            ..Options::DEFAULT
        };
        let plan = MemoryPlan::for_model(&LARGEST, &options);
        // 2 kinds * 16384 numbers * 2 bytes, for each of 65536 positions of 256 layers.
        let kv = usize::try_from(1u64 << 40).unwrap_or(usize::MAX);
        assert_eq!(plan.region_bytes(Region::Kv), kv);
        let staging = usize::try_from((u64::from(u32::MAX) - 1) * 512).unwrap_or(usize::MAX);
        assert_eq!(plan.region_bytes(Region::Staging), staging);
        assert!(plan.bytes() >= kv && plan.region_bytes(Region::Cache) <= u32::MAX as usize);

        // All but the KV cache fits: the plan of one that wraps to 0 words must not.
        let plan = MemoryPlan { work: 0, staging: 0, cache: 0, index: 0, ..plan };
        let memory =
            Memory { work: &mut [], staging: &mut [], cache: &mut [], index: &mut [], kv: &mut [] };
        let error = MemoryError { region: Region::Kv, needed: u32::MAX, given: 0 };
        assert_eq!(plan.check(&memory), Err(error));
    }
}
