//! What the caller decides: the adapters, how they are trained, and what is kept of the forward pass.
//!
//! In: [`Arms`]. Out: plain values, which [`TunePlan`](crate::TunePlan) turns into bytes.

use crate::arms::{Arms, AttentionTape, FfnTape, InputTape, LossTape, Store};
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
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gradients {
    /// Those of all layers: several texts can be added up, and they are clipped together.
    Whole,
    /// Those of one layer, which follows them as soon as they are known: a text a step, and each layer is
    /// clipped by itself.
    Layer,
    /// None, and no tape: each step takes the losses of two forward passes, `eps` to either side along signs
    /// drawn at random, and moves all adapters along them by the difference. [`Arms`] are those of a forward
    /// pass, whatever they are; the optimiser is [`Optimiser::Sgd`]. Malladi et al., "Fine-Tuning Language
    /// Models with Just Forward Passes" (MeZO), 2023, with signs in place of normal numbers.
    Sampled {
        /// How far to either side.
        eps: f32,
    },
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
    /// The same, as they are used: without a way back nothing is kept for one.
    pub const fn settled(&self) -> Self {
        match self.gradients {
            Gradients::Whole | Gradients::Layer => *self,
            Gradients::Sampled { .. } => Self {
                arms: Arms {
                    loss: LossTape::Online,
                    ffn: FfnTape::Nothing,
                    attention: AttentionTape::Nothing,
                    input: InputTape::Kept(Store::Full),
                    elimination: None,
                    spill: false,
                },
                ..*self
            },
        }
    }

    /// Whether there is a way back.
    pub(crate) const fn back(&self) -> bool {
        !matches!(self.gradients, Gradients::Sampled { .. })
    }

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
