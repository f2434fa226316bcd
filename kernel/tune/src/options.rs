//! What the caller decides: the adapters, how they are trained, and what is kept of the forward pass.
//!
//! In: nothing. Out: plain values, which [`TunePlan`](crate::TunePlan) turns into bytes.

use ripple_hal::BlockCount;
use ripple_kernel::adapter::{AdapterShape, Targets};

/// How adapters follow their gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimiser {
    /// `w -= rate * g`: nothing is kept.
    Sgd,
    /// Two moments of each number are kept. Loshchilov and Hutter, "Decoupled Weight Decay
    /// Regularization", 2019.
    AdamW {
        /// Of the mean: 0.9, usually.
        beta1: f32,
        /// Of the mean square: 0.999, usually.
        beta2: f32,
        /// Added to the root: 1e-8, usually.
        eps: f32,
        /// What a number loses of itself, times the rate.
        decay: f32,
    },
}

impl Optimiser {
    /// AdamW as it is used most.
    pub const ADAM_W: Self = Self::AdamW { beta1: 0.9, beta2: 0.999, eps: 1e-8, decay: 0.0 };

    /// Numbers that are kept for each number of an adapter.
    pub const fn moments(self) -> u32 {
        match self {
            Self::Sgd => 0,
            Self::AdamW { .. } => 2,
        }
    }
}

/// How far back gradients are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradients {
    /// Those of all layers: several texts can be added up, and they are clipped together.
    Whole,
    /// Those of one layer, which follows them as soon as they are known: a text a step, and each layer is
    /// clipped by itself.
    Layer,
}

/// How numbers of the tape are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// As they are computed: nothing is lost.
    Full,
    /// In 16 bits.
    Half,
    /// In 8 bits, with a scale for each token.
    Bytes,
}

/// What is kept of a layer's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputTape {
    /// The input.
    Kept(Store),
    /// Nothing: what attention gave is taken away from what is kept behind it, while the rows of the output
    /// matrix are there for the gradient. Differs from the input by the rounding of that sum. Needs
    /// [`AttentionTape::Kept`].
    Recovered,
}

/// What is kept of attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionTape {
    /// Queries, keys, values, the output, and the residual stream behind it.
    Kept {
        /// Queries, keys, values and the output.
        values: Store,
        /// The residual stream.
        middle: Store,
    },
    /// Nothing: it is computed again from the layer's input. Needs [`InputTape::Kept`].
    Nothing,
}

/// What is kept of the FFN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FfnTape {
    /// The first-layer outputs of all neurons at all tokens, and zeroes are multiplied too: what frameworks
    /// do. Every record is read twice.
    Values,
    /// A bit for each neuron and token: active or not. What is active is computed again while its record is
    /// here for the gradient. Exact.
    Mask,
    /// Nothing: all that is needed is computed again. Exact; every record is read twice.
    Nothing,
}

/// Where the loss comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossTape {
    /// All logits are held, and the head is read twice.
    Logits,
    /// The head is read once: sums move on with each row, and are scaled again when the largest logit
    /// changes. Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018.
    Online,
}

/// Which tokens take part in attention, in some layers: LeMo's token elimination (Wang et al., arXiv
/// 2501.09767). The others pass a layer's attention by, in the residual stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elimination {
    /// The first layer in which tokens are left out.
    pub first: u32,
    /// One past the last.
    pub end: u32,
    /// Tokens of a block: what is kept or left out together.
    pub block: u32,
    /// Blocks that are kept of those there are, in thousandths; at least the first and the last.
    pub keep_permille: u32,
    /// Which.
    pub choice: Choice,
}

impl Elimination {
    /// Blocks that are kept of `blocks`.
    pub const fn blocks_kept(&self, blocks: usize) -> usize {
        let kept = (blocks * self.keep_permille as usize + 500) / 1000;
        let kept = if kept < 2 { 2 } else { kept };
        if kept < blocks { kept } else { blocks }
    }
}

/// How the blocks that are kept are chosen; the first and the last always are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The scores of the blocks themselves: for each pair of blocks the largest `q k`, positive parts
    /// averaged over heads, summed over the blocks that look. What a predictor is measured against.
    Oracle {
        /// Only what looks back counts: no label leaks into the choice.
        causal: bool,
        /// What the first of the layers keeps, all of them keep.
        once: bool,
    },
    /// The latest.
    Recency,
    /// At random, from this seed.
    Random(u32),
}

/// What is kept of the forward pass. More memory or more arithmetic; the gradients are the same, but for
/// [`Store`]s that lose something, and [`Elimination`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arms {
    /// Of the head.
    pub loss: LossTape,
    /// Of the FFN.
    pub ffn: FfnTape,
    /// Of attention.
    pub attention: AttentionTape,
    /// Of a layer's input.
    pub input: InputTape,
    /// Tokens that attention leaves out, if any.
    pub elimination: Option<Elimination>,
}

impl Arms {
    /// What frameworks keep: all activations and all logits. To measure against.
    pub const PLAIN: Self = Self {
        loss: LossTape::Logits,
        ffn: FfnTape::Values,
        attention: AttentionTape::Kept { values: Store::Full, middle: Store::Full },
        input: InputTape::Kept(Store::Full),
        elimination: None,
    };
    /// The same with one read of the head.
    pub const TILED: Self = Self { loss: LossTape::Online, ..Self::PLAIN };
    /// The default: a mask of the active neurons is kept, and they are computed again.
    pub const EXACT: Self = Self { ffn: FfnTape::Mask, ..Self::TILED };
    /// The same, and layers' inputs are recovered.
    pub const RECOVERED: Self = Self { input: InputTape::Recovered, ..Self::EXACT };
    /// The least: attention is computed again, from inputs in 8 bits.
    pub const LEAN: Self = Self {
        attention: AttentionTape::Nothing,
        input: InputTape::Kept(Store::Bytes),
        ..Self::EXACT
    };
    /// What others do: only layers' inputs are kept.
    pub const LAYER: Self =
        Self { ffn: FfnTape::Nothing, attention: AttentionTape::Nothing, ..Self::TILED };
}

/// What is trained, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TuneOptions {
    /// Most tokens of a text, the last label not counted; more than the model's context is cut to it.
    pub tokens: u32,
    /// Rows of the first matrix of an adapter, at least 1.
    pub rank: u32,
    /// `y = W x + alpha / rank * B (A x)`.
    pub alpha: f32,
    /// What gets adapters.
    pub targets: Targets,
    /// How they follow their gradients.
    pub optimiser: Optimiser,
    /// How many gradients are held.
    pub gradients: Gradients,
    /// What is kept of the forward pass.
    pub arms: Arms,
    /// Neurons at once, where a neuron's first row does not lie in its bundle: these rows and their products
    /// are held until the bundles come.
    pub window: u32,
    /// Blocks of staging: as [`Options::staging`](ripple_kernel::Options::staging).
    pub staging: BlockCount,
    /// As [`Options::collapse_gap`](ripple_kernel::Options::collapse_gap).
    pub collapse_gap: BlockCount,
}

impl TuneOptions {
    /// 128 tokens, rank 4 of queries and values, AdamW, the exact arm.
    pub const DEFAULT: Self = Self {
        tokens: 128,
        rank: 4,
        alpha: 8.0,
        targets: Targets::QV,
        optimiser: Optimiser::ADAM_W,
        gradients: Gradients::Whole,
        arms: Arms::EXACT,
        window: 32,
        staging: BlockCount(32),
        collapse_gap: BlockCount(0),
    };
}

impl TuneOptions {
    /// The adapters that come of it.
    pub const fn adapter(&self) -> AdapterShape {
        AdapterShape { rank: self.rank, alpha: self.alpha, targets: self.targets }
    }
}

impl Default for TuneOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}
