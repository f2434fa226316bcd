//! How much memory a step takes, region by region, to the byte.
//!
//! In: a model's geometry, the caller's options, the size of a number. Out: [`TunePlan`], as `const fn`, so
//! that a board can size its statics with it; and the regions themselves, carved from one arena.

use crate::arms::{Arms, AttentionTape, FfnTape, InputTape, LossTape, Store};
use crate::options::{Gradients, TuneOptions};
use crate::region::TuneRegion;
use crate::shape::{
    Shape, attention_bytes, first_stride, guide_numbers, head_stride, is_scored, most, product,
    stored,
};
use ripple_hal::BlockCount;
use ripple_kernel::image::Geometry;
use ripple_kernel::{MemoryPlan, Options};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Memory for one tuner. Any alignment the types have will do.
pub struct TuneMemory<'m> {
    /// Everything but what arrives: words of 8 bytes, [`TunePlan::arena`] of them.
    pub arena: &'m mut [u64],
    /// Where reads arrive: [`TunePlan::staging`] blocks.
    pub staging: &'m mut [ripple_hal::Block],
}

/// How much memory a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunePlan {
    /// Bytes of each region, a multiple of 8.
    bytes: [u64; TuneRegion::ALL.len()],
    /// Blocks of staging.
    pub staging: usize,
    /// Bytes of a layer's tape that wait on the card.
    tape: u64,
    layers: u32,
}

impl TunePlan {
    /// The exact need of `geometry` under `options`, in numbers of type `R`.
    pub const fn for_model<R>(geometry: &Geometry, options: &TuneOptions) -> Self {
        let options = &options.settled();
        let s = Shape::of(geometry, options);
        let real = size_of::<R>();
        let mut bytes = [0; TuneRegion::ALL.len()];
        let mut rest = TuneRegion::ALL.as_slice();
        while let [region, more @ ..] = rest {
            let at = *region as usize;
            #[allow(clippy::indexing_slicing, reason = "const evaluation; there is one of each")]
            {
                bytes[at] = region_bytes(*region, &s, geometry, options, real).next_multiple_of(8);
            }
            rest = more;
        }
        let reads = Options { staging: options.staging, ..Options::DEFAULT };
        let staging = MemoryPlan::for_model(geometry, &reads).staging;
        let mut plan = Self { bytes, staging, tape: 0, layers: geometry.config.layers };
        if options.arms.spill {
            plan.tape = plan.tape_bytes(&options.arms);
        }
        plan
    }

    const fn tape_bytes(&self, arms: &Arms) -> u64 {
        let mut sum: u64 = 0;
        let mut rest = TuneRegion::ALL.as_slice();
        while let [region, more @ ..] = rest {
            if region.is_of_tape(arms) {
                sum = sum.saturating_add(self.region_bytes(*region));
            }
            rest = more;
        }
        sum
    }

    /// Bytes of one region.
    pub const fn region_bytes(&self, region: TuneRegion) -> u64 {
        let at = region as usize;
        #[allow(clippy::indexing_slicing, reason = "there is one of each")]
        self.bytes[at]
    }

    /// Bytes of the arena; saturates.
    pub const fn bytes(&self) -> u64 {
        let mut sum: u64 = 0;
        let mut rest = self.bytes.as_slice();
        while let [bytes, more @ ..] = rest {
            sum = sum.saturating_add(*bytes);
            rest = more;
        }
        sum
    }

    /// Bytes of the arena without what is the adapters' own: what an arm changes.
    pub const fn step_bytes(&self) -> u64 {
        let mut sum: u64 = 0;
        let mut rest = TuneRegion::ALL.as_slice();
        while let [region, more @ ..] = rest {
            if !region.is_of_adapters() {
                sum = sum.saturating_add(self.region_bytes(*region));
            }
            rest = more;
        }
        sum
    }

    /// Blocks behind the image in which the tapes of all layers but the last wait, where they do; saturates.
    pub const fn spill_blocks(&self) -> BlockCount {
        let blocks = self.layer_blocks().0 as u64 * (self.layers as u64).saturating_sub(1);
        BlockCount(if blocks > u32::MAX as u64 { u32::MAX } else { blocks as u32 })
    }

    /// Blocks of the tape of one layer.
    pub(crate) const fn layer_blocks(&self) -> BlockCount {
        BlockCount::for_bytes(self.tape)
    }

    /// Words of the arena, of 8 bytes; saturates.
    pub const fn arena(&self) -> usize {
        let words = self.bytes() / 8;
        if words > usize::MAX as u64 { usize::MAX } else { words as usize }
    }

    /// Bytes of all that is lent; saturates.
    pub const fn lent_bytes(&self) -> u64 {
        self.bytes().saturating_add(product(self.staging, ripple_hal::BLOCK_BYTES))
    }

    /// The most tokens with which all that is lent fits `bytes`; 0 where none does.
    pub const fn most_tokens<R>(geometry: &Geometry, options: &TuneOptions, bytes: u64) -> u32 {
        let (mut low, mut high) = (0, geometry.config.context);
        while low < high {
            let tokens = low + (high - low).div_ceil(2);
            let options = TuneOptions { tokens, ..*options };
            if Self::for_model::<R>(geometry, &options).lent_bytes() <= bytes {
                low = tokens;
            } else {
                high = tokens - 1;
            }
        }
        low
    }
}

const fn region_bytes(
    region: TuneRegion,
    s: &Shape,
    geometry: &Geometry,
    options: &TuneOptions,
    real: usize,
) -> u64 {
    let Arms { loss, ffn, attention, input, elimination, spill } = options.arms;
    let layer = options.adapter().layer_numbers(&geometry.config) as u64;
    let adapters = layer.saturating_mul(s.layers as u64);
    let whole = Arms { elimination: None, ..options.arms };
    let (layers, held) = (s.layers as u64, s.held as u64);
    let back = options.back();
    match region {
        TuneRegion::Adapters => adapters.saturating_mul(real as u64),
        TuneRegion::Moments => {
            adapters.saturating_mul(options.optimiser.moments() as u64 * real as u64)
        }
        TuneRegion::Gradients => match options.gradients {
            Gradients::Whole => adapters.saturating_mul(real as u64),
            Gradients::Layer => layer.saturating_mul(real as u64),
            Gradients::Sampled { .. } => 0,
        },
        TuneRegion::Stream => stored(Store::Full, s.tokens, s.dim, real),
        TuneRegion::Inputs => stored(Store::Full, s.tokens, s.wide, real),
        TuneRegion::Slopes if !back => 0,
        TuneRegion::Slopes => {
            let columns = if is_scored(&options.arms) { s.wide } else { s.dim };
            stored(Store::Full, s.tokens, columns, real)
        }
        TuneRegion::LayerInputs => match input {
            InputTape::Kept(store) if back => {
                stored(store, s.tokens, s.dim, real).next_multiple_of(8).saturating_mul(held)
            }
            InputTape::Kept(_) | InputTape::Recovered => 0,
        },
        TuneRegion::Attention => match attention {
            AttentionTape::Kept { values, .. } => {
                let in_place = matches!(values, Store::Full);
                let (mut sum, mut layer): (u64, usize) = (0, 0);
                // What is packed of the last layer is not needed: it is worked on still when the way back
                // begins.
                while layer + (!in_place as usize) < s.layers {
                    let bytes = attention_bytes(s, &options.arms, values, layer, real);
                    sum = if spill { most(sum, bytes) } else { sum.saturating_add(bytes) };
                    layer += 1;
                }
                // Without a way back all tokens attend in a layer at a time.
                let one = if in_place { attention_bytes(s, &whole, values, 0, real) } else { 0 };
                most(sum, one)
            }
            AttentionTape::Nothing => 0,
        },
        TuneRegion::AttentionWork => match attention {
            AttentionTape::Kept { values: Store::Full, .. } => 0,
            _ => attention_bytes(s, &whole, Store::Full, 0, real),
        },
        TuneRegion::Middle => match attention {
            AttentionTape::Kept { middle, .. } => {
                stored(middle, s.tokens, s.dim, real).next_multiple_of(8).saturating_mul(held)
            }
            AttentionTape::Nothing if !back => 0,
            AttentionTape::Nothing => stored(Store::Full, s.tokens, s.dim, real),
        },
        TuneRegion::Values => {
            let neuron = product(s.tokens, s.values() * real);
            match ffn {
                FfnTape::Values => neuron.saturating_mul(product(s.neurons, s.held)),
                // And one that is not yet known to be kept.
                FfnTape::Columns(columns) if columns.values => {
                    neuron.saturating_mul(product(columns.kept(s.neurons), s.held) + 1)
                }
                FfnTape::Mask | FfnTape::Nothing | FfnTape::Columns(_) => 0,
            }
        }
        TuneRegion::Masks => {
            let mask = product(s.neurons, s.mask_bytes());
            match ffn {
                FfnTape::Mask => mask.saturating_mul(held),
                // Of a layer: which records are needed.
                FfnTape::Values | FfnTape::Nothing | FfnTape::Columns(_) => mask,
            }
        }
        TuneRegion::Columns => match ffn {
            FfnTape::Columns(columns) => product(columns.kept(s.neurons), real).saturating_add(
                product(columns.kept(s.neurons), size_of::<[u32; 2]>()).saturating_mul(held),
            ),
            FfnTape::Values | FfnTape::Mask | FfnTape::Nothing => 0,
        },
        TuneRegion::Logits => match loss {
            LossTape::Logits => product(s.tokens, s.vocab).saturating_mul(real as u64),
            LossTape::Online => 0,
        },
        TuneRegion::Scratch => {
            let products = if s.whole { 0 } else { product(s.window, real) };
            let heads = if back { product(2 * s.head_dim, real) } else { 0 };
            let label = match loss {
                LossTape::Online if back => product(head_stride(geometry), 1),
                LossTape::Online | LossTape::Logits => 0,
            };
            let keys = if is_scored(&options.arms) { product(s.kv, real) } else { 0 };
            most(most(products, heads), most(label, keys)).saturating_mul(s.tokens as u64)
        }
        TuneRegion::Rows => {
            let rows = product(3 * s.wide, 4).next_multiple_of(8);
            let held = if s.whole { 0 } else { product(first_stride(geometry), s.window) };
            rows.saturating_add(held)
        }
        TuneRegion::Vectors => {
            let floats = (geometry.layer_floats() + geometry.final_floats()) as u64 * 4;
            // Inner products of four matrices; the largest logit, the sum, the label's logit; a row of
            // scores; a vector of a token, its angles, the gradient of one inner product.
            let reals = product(s.tokens, 4 * s.rank + 4)
                .saturating_add((s.wide + s.head_dim + s.rank) as u64)
                .saturating_mul(real as u64);
            floats.next_multiple_of(8).saturating_add(reals)
        }
        TuneRegion::Kept => match elimination {
            Some(_) => product(s.tokens, 2).saturating_mul(layers),
            None => 0,
        },
        TuneRegion::Guide => match elimination {
            Some(e) => product(guide_numbers(s, &e), real).saturating_mul(layers),
            None => 0,
        },
        TuneRegion::Sums => {
            if spill {
                product(s.layers, 4)
            } else {
                0
            }
        }
    }
}

/// Hands out typed slices from the front of an arena.
pub(crate) struct Carver<'m> {
    pub rest: &'m mut [u64],
}

impl<'m> Carver<'m> {
    /// The next `bytes`, a multiple of 8, as numbers; none where there are fewer, which a check of the plan
    /// excludes.
    pub fn take<T: FromBytes + IntoBytes + Immutable>(&mut self, bytes: u64) -> &'m mut [T] {
        let rest = core::mem::take(&mut self.rest);
        let words = usize::try_from(bytes / 8).unwrap_or(usize::MAX);
        let (taken, rest) = rest.split_at_mut_checked(words).unwrap_or_default();
        self.rest = rest;
        let taken = taken.as_mut_bytes();
        let whole = taken.len() / size_of::<T>() * size_of::<T>();
        <[T]>::mut_from_bytes(taken.get_mut(..whole).unwrap_or_default()).unwrap_or_default()
    }
}
