//! The arms of `ripple tune` by name: what is kept of the forward pass, and what is left out.
//!
//! In: a name, a model's geometry. Out: options changed to it.

use clap::ValueEnum;
use ripple_kernel::image::Geometry;
use ripple_tune::{
    Arms, AttentionTape, Choice, ColumnScore, Columns, Elimination, FfnTape, Gradients, InputTape,
    Keep, Optimiser, Store, TuneOptions,
};

/// Numbers that a predictor of blocks takes from each token.
pub const PREDICTOR_RANK: u32 = 16;

/// [`Arms`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Arm {
    /// All activations and all logits, as frameworks keep them: to compare with.
    Plain,
    /// All activations, but the matrix that gives the logits is read once and they are not kept.
    Tiled,
    /// Which neurons were active, a bit each; they are computed again. The same gradients, less memory. For
    /// ReLU models.
    Exact,
    /// The exact arm without layers' inputs: they are recovered by taking away what attention added.
    Recovered,
    /// The exact arm without attention: it is computed again from layers' inputs.
    Again,
    /// The same with layers' inputs in 8 bits: least memory, gradients almost the same.
    Lean,
    /// The exact arm with all that is kept in 16 bits.
    Half,
    /// The exact arm with attention in 16 bits and what goes into each half of a layer in 8.
    Eights,
    /// Layers' inputs alone, and every layer is computed again: what others do.
    Layer,
    /// All that is kept in 16 bits, and of neurons nothing: they are computed again in the read that the way back
    /// needs. For models whose neurons are all active, for which a mask says nothing.
    Fused,
    /// The same without attention, which is computed again too.
    FusedAgain,
    /// The same with layers' inputs in 8 bits.
    FusedLean,
    /// Half of the neurons of each layer, those through which most of the gradient goes: it goes through them
    /// alone. Approximate; for SiLU and GELU models, whose neurons are all active.
    Columns,
    /// The same, but only which neurons they are is kept, and attention is computed again: less memory, more
    /// arithmetic.
    ColumnsAgain,
    /// A fifth of the neurons, those with the longest activations, and attention over 40 % of the blocks of
    /// tokens in later layers: LeMo as it was released. Approximate; to compare with.
    Released,
    /// The exact arm with attention over 40 % of the blocks of 8 tokens in the upper half of the layers but the
    /// last: those that later tokens look at most. Approximate.
    Scored,
    /// The same 40 % chosen by a table of what blocks weigh by their place in the text, made on the text
    /// itself: costs nothing in a step. Approximate.
    Position,
    /// The same 40 % guessed from the tokens and their place by a small predictor that is trained on the text
    /// first; see --train-predictor. Approximate.
    Predicted,
    /// Blocks that weigh at least as much as the mean one of their layer: as many as are worth it, 70 % at
    /// most; each threshold is then moved once along the slope of the loss by it: LeMo's Algorithm 1. Approximate.
    Threshold,
    /// Blocks whose first token looks back more than the mean one does: what is kept never depends on a token
    /// that is still to be learnt. Approximate.
    Ahead,
    /// The same 40 % by the length of their longest keys. Approximate; to compare with.
    KeyLength,
    /// The 40 % that the layer before looks at most. Approximate; to compare with.
    Before,
    /// The latest 40 % of the blocks. Approximate; to compare with.
    Recency,
    /// 40 % of the blocks at random. Approximate; to compare with.
    Random,
    /// The exact arm with the tape of all layers but one on the card, behind the image: less memory, more
    /// time, and the card is written in each step.
    Spill,
    /// No way back at all: two losses along random signs a step, then plain descent. Least memory that there
    /// is, and learns very slowly.
    Mezo,
}

impl Arm {
    /// As it is written.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether its gradients are others than the exact ones.
    pub fn approximate(self) -> bool {
        !matches!(
            self,
            Self::Plain
                | Self::Tiled
                | Self::Exact
                | Self::Recovered
                | Self::Again
                | Self::Layer
                | Self::Spill
        )
    }

    /// `options` with what it keeps.
    pub fn apply(self, options: TuneOptions, geometry: &Geometry) -> TuneOptions {
        let arms = self.arms(geometry.config.layers);
        match self {
            Self::Mezo => TuneOptions {
                arms,
                gradients: Gradients::Sampled { eps: 1e-3 },
                optimiser: Optimiser::Sgd,
                ..options
            },
            _ => TuneOptions { arms, ..options },
        }
    }

    fn arms(self, layers: u32) -> Arms {
        let kept = |middle| AttentionTape::Kept { values: Store::Half, middle };
        let columns = |keep_permille, score, values| {
            FfnTape::Columns(Columns { keep_permille, score, values })
        };
        let some = |keep_permille, choice, keep| {
            let (first, end) = (layers / 2, layers.saturating_sub(1));
            Some(Elimination { first, end, block: 8, keep_permille, choice, keep })
        };
        let exact = |elimination| Arms { elimination, ..Arms::EXACT };
        let oracle = |causal| Choice::Oracle { causal, once: false };
        match self {
            Self::Plain => Arms::PLAIN,
            Self::Tiled => Arms::TILED,
            Self::Exact | Self::Mezo => Arms::EXACT,
            Self::Recovered => Arms::RECOVERED,
            Self::Again => Arms { ffn: FfnTape::Mask, ..Arms::LAYER },
            Self::Lean => Arms::LEAN,
            Self::Half => Arms {
                attention: kept(Store::Half),
                input: InputTape::Kept(Store::Half),
                ..Arms::EXACT
            },
            Self::Eights => Arms {
                attention: kept(Store::Bytes),
                input: InputTape::Kept(Store::Bytes),
                ..Arms::EXACT
            },
            Self::Layer => Arms::LAYER,
            Self::Fused => Arms {
                ffn: FfnTape::Nothing,
                attention: kept(Store::Half),
                input: InputTape::Kept(Store::Half),
                ..Arms::EXACT
            },
            Self::FusedAgain => Arms { input: InputTape::Kept(Store::Half), ..Arms::LAYER },
            Self::FusedLean => Arms { ffn: FfnTape::Nothing, ..Arms::LEAN },
            Self::Columns => Arms { ffn: columns(490, ColumnScore::Slope, true), ..Arms::TILED },
            Self::ColumnsAgain => {
                Arms { ffn: columns(490, ColumnScore::Slope, false), ..Arms::LAYER }
            }
            Self::Released => Arms {
                ffn: columns(200, ColumnScore::Length, true),
                elimination: some(400, oracle(false), Keep::Share),
                ..Arms::TILED
            },
            Self::Scored => exact(some(400, oracle(true), Keep::Share)),
            Self::Position => exact(some(400, Choice::Predicted { rank: 0 }, Keep::Share)),
            Self::Predicted => {
                exact(some(400, Choice::Predicted { rank: PREDICTOR_RANK }, Keep::Share))
            }
            Self::Threshold => exact(some(700, oracle(true), Keep::Threshold)),
            Self::Ahead => exact(some(700, Choice::Ahead, Keep::Threshold)),
            Self::KeyLength => exact(some(400, Choice::KeyLength, Keep::Share)),
            Self::Before => exact(some(400, Choice::Before, Keep::Share)),
            Self::Recency => exact(some(400, Choice::Recency, Keep::Share)),
            Self::Random => exact(some(400, Choice::Random(1), Keep::Share)),
            Self::Spill => Arms { spill: true, ..Arms::EXACT },
        }
    }
}
