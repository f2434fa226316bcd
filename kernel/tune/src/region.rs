//! The parts of the arena by name.
//!
//! In: nothing. Out: names. Knows nothing of sizes.

use crate::arms::{Arms, AttentionTape, FfnTape};

/// A part of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum TuneRegion {
    /// The adapters' numbers.
    Adapters,
    /// What the optimiser keeps.
    Moments,
    /// Gradients of the adapters.
    Gradients,
    /// `(tokens, dim)`: the residual stream, then its gradient.
    Stream,
    /// `(tokens, max(dim, query_dim))`: normalised inputs; gradients of attention's output.
    Inputs,
    /// `(tokens, dim)`: gradients of normalised inputs; where blocks of tokens are scored, `(tokens,
    /// max(dim, query_dim))`.
    Slopes,
    /// Layers' inputs.
    LayerInputs,
    /// Queries, keys, values, outputs; where in fewer bits, of all layers but the last.
    Attention,
    /// The same of one layer, where the tape has them in fewer bits, or not at all: of the last, when the way
    /// back begins.
    AttentionWork,
    /// The residual stream behind attention.
    Middle,
    /// First-layer outputs of neurons.
    Values,
    /// Which neurons are active.
    Masks,
    /// Which neurons the way back goes through, and the scores of those of a layer.
    Columns,
    /// All logits.
    Logits,
    /// Products of neurons' first rows; keys' and values' gradients of a head; rows of the labels.
    Scratch,
    /// Rows of the image, as numbers and as bytes.
    Rows,
    /// Norms, biases, the adapters' inner products, scores of a token.
    Vectors,
    /// Tokens that attention keeps.
    Kept,
    /// What blocks of tokens are judged by.
    Guide,
    /// Checksums of what waits on the card.
    Sums,
}

impl TuneRegion {
    /// All, in the order in which they lie.
    pub const ALL: [Self; 20] = [
        Self::Adapters,
        Self::Moments,
        Self::Gradients,
        Self::Stream,
        Self::Inputs,
        Self::Slopes,
        Self::LayerInputs,
        Self::Attention,
        Self::AttentionWork,
        Self::Middle,
        Self::Values,
        Self::Masks,
        Self::Columns,
        Self::Logits,
        Self::Scratch,
        Self::Rows,
        Self::Vectors,
        Self::Kept,
        Self::Guide,
        Self::Sums,
    ];

    /// Its name, for reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adapters => "adapters",
            Self::Moments => "moments",
            Self::Gradients => "gradients",
            Self::Stream => "residual stream",
            Self::Inputs => "normalised inputs",
            Self::Slopes => "their gradients",
            Self::LayerInputs => "tape: layer inputs",
            Self::Attention => "tape: attention",
            Self::AttentionWork => "attention of a layer",
            Self::Middle => "tape: behind attention",
            Self::Values => "tape: neurons",
            Self::Masks => "tape: active neurons",
            Self::Columns => "tape: kept neurons",
            Self::Logits => "logits",
            Self::Scratch => "scratch",
            Self::Rows => "rows",
            Self::Vectors => "vectors",
            Self::Kept => "kept tokens",
            Self::Guide => "guide to blocks",
            Self::Sums => "checksums",
        }
    }

    /// Whether it is the adapters' own, which no arm changes.
    pub const fn is_of_adapters(self) -> bool {
        matches!(self, Self::Adapters | Self::Moments | Self::Gradients)
    }

    /// Whether it is kept from a layer's way forward to its way back.
    pub(crate) const fn is_of_tape(self, arms: &Arms) -> bool {
        match self {
            Self::LayerInputs | Self::Attention | Self::Values | Self::Columns => true,
            Self::Middle => matches!(arms.attention, AttentionTape::Kept { .. }),
            Self::Masks => matches!(arms.ffn, FfnTape::Mask),
            _ => false,
        }
    }
}
