//! What is kept of the forward pass, and what is computed again, or left out, instead.
//!
//! In: nothing. Out: plain values. Knows nothing of sizes in bytes.

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
    /// Of some neurons alone, those with the largest scores: the way back goes through no others, and reads
    /// no others' records. Forward nothing is left out. Loses something; for models whose neurons are all
    /// active.
    Columns(Columns),
}

/// Which neurons the way back goes through: LeMo's pruned columns (Wang et al., arXiv 2501.09767).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Neurons that are kept of a layer's, in thousandths; at least one.
    pub keep_permille: u32,
    /// By what they are chosen.
    pub score: ColumnScore,
    /// Keep their first-layer outputs too, as they come; without, only which they are, and the outputs are
    /// computed again.
    pub values: bool,
}

impl Columns {
    /// Neurons that are kept of `neurons`.
    pub const fn kept(&self, neurons: usize) -> usize {
        let kept = (neurons * self.keep_permille as usize + 500) / 1000;
        let kept = if kept == 0 { 1 } else { kept };
        if kept < neurons { kept } else { neurons }
    }
}

/// By what neurons are chosen, over a text's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnScore {
    /// Lengths of what is kept: gated `|g| + |u| + |act(g)|`, plain `|act(u)|`, as LeMo's released code has it.
    Length,
    /// How much of the gradient goes through: gated `|D| sqrt(|G|^2 sum (u act'(g))^2 + |U|^2 sum act(g)^2)`,
    /// plain `|D| |U| sqrt(sum act'(u)^2)`, with the lengths of the neuron's rows.
    Slope,
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
    /// Whether as many, or fewer where fewer are worth it.
    pub keep: Keep,
}

/// How many of the blocks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All that there is room for.
    Share,
    /// Those whose score reaches the layer's threshold, the first number of the layer's guide
    /// ([`Tuner::set_guide`](crate::Tuner::set_guide)): LeMo's Algorithm 1.
    Threshold,
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
    /// The block's first query, on what lies before the block: `mean over m < n of max over j in m of mean over
    /// heads of max(q k_j, 0)`. What is kept up to a block does not depend on any token behind its first: no
    /// label leaks. Needs [`Keep::Threshold`]; where there is no room, the earliest are kept.
    Ahead,
    /// What a table says of the block's place in the text, and `rank` numbers of each of its tokens:
    /// `table_n + v . max over i in n of max(U x_i + b, 0)`, `x` the normalised input. All of these are numbers
    /// of the layer's guide, behind the threshold if there is one: the table, `b`, `v`, `U`.
    Predicted {
        /// 0: the table alone.
        rank: u32,
    },
    /// The largest length of a key in the block, on which no query is asked for.
    KeyLength,
    /// The scores that the layer before gives its blocks: [`Choice::Oracle`] with what looks back. Needs a layer
    /// in front of the first in which tokens are left out.
    Before,
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
    /// Let the tape of each layer wait on the card, so that the arena has that of one:
    /// [`Tuner::spill_to`](crate::Tuner::spill_to) says where.
    pub spill: bool,
}

impl Arms {
    /// What frameworks keep: all activations and all logits. To measure against.
    pub const PLAIN: Self = Self {
        loss: LossTape::Logits,
        ffn: FfnTape::Values,
        attention: AttentionTape::Kept { values: Store::Full, middle: Store::Full },
        input: InputTape::Kept(Store::Full),
        elimination: None,
        spill: false,
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
