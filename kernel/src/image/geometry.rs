//! What an image holds: which tables, of how many records, in which layout.
//!
//! In: the model's configuration and the packer's choices. Out: the layout of every section, as
//! `const fn`, so that a board can size its memory when it is compiled. Knows nothing of bytes.

use super::quant::Quant;
use super::record::RecordLayout;
use super::section::SectionKind;
use crate::config::{Ffn, ModelConfig, Norm, Order, Position};
use ripple_hal::BlockCount;

/// The rows that a neuron bundle on the card has: a set, stored in the order gate, up, down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Bundle(pub(super) u8);

impl Bundle {
    /// The gate's row; gated neurons only.
    pub const GATE: Self = Self(1);
    /// The up row.
    pub const UP: Self = Self(2);
    /// The down column.
    pub const DOWN: Self = Self(4);

    /// All rows of a neuron.
    pub const fn whole(ffn: Ffn) -> Self {
        match ffn {
            Ffn::Gated => Self::GATE.and(Self::UP).and(Self::DOWN),
            Ffn::Plain => Self::UP.and(Self::DOWN),
        }
    }

    /// All but the first, which the `Exact` predictor holds already: a third (or half) less to read.
    pub const fn without_first(ffn: Ffn) -> Self {
        Self(Self::whole(ffn).0 & !Self::first(ffn).0)
    }

    /// The row that decides whether a neuron is active.
    pub const fn first(ffn: Ffn) -> Self {
        match ffn {
            Ffn::Gated => Self::GATE,
            Ffn::Plain => Self::UP,
        }
    }

    /// The rows of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has any of the rows of `other`.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// How many rows these are.
    pub const fn rows(self) -> u32 {
        (self.0 & 1) as u32 + (self.0 >> 1 & 1) as u32 + (self.0 >> 2 & 1) as u32
    }
}

/// How active neurons are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Predictor {
    /// The first-layer rows themselves: no loss, `neurons * dim` bytes a layer.
    Exact,
    /// The signs of the first-layer rows against `planes` bits of the input, XNOR and population
    /// count: a sixth of the bytes; misses some neurons.
    Signs {
        /// Bits of the input, 1 to 7.
        planes: u32,
    },
    /// A product of two thin matrices: the projection makes `rank` numbers of the input, and a row of
    /// as many, with a bias, says for each neuron whether it is active; misses some.
    LowRank {
        /// A multiple of 4, 4 to 252.
        rank: u32,
    },
}

/// The format of the weights of each section. Norms and biases are floats, a sign predictor's rows are
/// signs: they have no choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Quants([Quant; SectionKind::ALL.len()]);

impl Quants {
    /// All weights in 8 bits.
    pub const Q8: Self = Self([Quant::Q8; SectionKind::ALL.len()]);

    /// The same, but for `kinds`, which are in `quant`.
    #[must_use]
    pub const fn with(mut self, kinds: &[SectionKind], quant: Quant) -> Self {
        let mut rest = kinds;
        while let [kind, more @ ..] = rest {
            let at = *kind as usize;
            #[allow(clippy::indexing_slicing, reason = "the bound is the condition")]
            if at < self.0.len() {
                self.0[at] = quant;
            }
            rest = more;
        }
        self
    }

    /// Takes the format from an entry of the section table; one that is not of weights is none.
    pub(super) fn set(&mut self, kind: SectionKind, quant: Quant) {
        if Quant::ALONE.is_none()
            && quant.is_of_weights()
            && let Some(format) = self.0.get_mut(kind.index())
        {
            *format = quant;
        }
    }

    /// The feature of this crate that a format needs and this build lacks.
    pub fn missing_feature(&self) -> Option<&'static str> {
        self.0.iter().find_map(|quant| quant.missing_feature())
    }

    /// The format of a section's weights.
    pub const fn of(&self, kind: SectionKind) -> Quant {
        if let Some(quant) = Quant::ALONE {
            return quant;
        }
        let at = kind as usize;
        #[allow(clippy::indexing_slicing, reason = "the bound is the condition")]
        if at < self.0.len() { self.0[at] } else { Quant::Q8 }
    }
}

/// A model and how it is stored.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Geometry {
    /// The model.
    pub config: ModelConfig,
    /// Rows of a bundle.
    pub bundle: Bundle,
    /// How active neurons are found.
    pub predictor: Predictor,
    /// The format of the integers of each section.
    pub quants: Quants,
    /// Blocks of all pages; 0 where there are none.
    pub page_blocks: BlockCount,
}

impl Geometry {
    /// Records in one part of a section, and their layout; `None` for the tokenizer and the pages.
    pub const fn table(&self, kind: SectionKind) -> Option<(u32, RecordLayout)> {
        let c = &self.config;
        let attention = c.attention_bias;
        let (records, cols, bias) = match kind {
            SectionKind::Tokenizer | SectionKind::Pages => return None,
            SectionKind::LayerVectors => (1, self.layer_floats(), false),
            SectionKind::FinalVectors => (1, self.final_floats(), false),
            SectionKind::Projection => (self.rank(), c.dim, false),
            SectionKind::Predictor => match self.predictor {
                Predictor::Exact => (c.neurons, c.dim, self.first_bias()),
                Predictor::Signs { .. } => (c.neurons, c.dim, false),
                Predictor::LowRank { .. } => (c.neurons, self.rank(), true),
            },
            SectionKind::Qkv => {
                let bias = attention.query || attention.key || attention.value;
                (c.query_dim() + 2 * c.kv_dim(), c.dim, bias)
            }
            SectionKind::Output => (c.dim, c.query_dim(), attention.output),
            SectionKind::Embedding => (c.vocab, c.dim, false),
            SectionKind::Positions => match c.position() {
                Position::Learned => (c.context, c.dim, false),
                Position::Rope => (0, c.dim, false),
            },
            SectionKind::Head => (if c.tied_head { 0 } else { c.vocab }, c.dim, false),
            SectionKind::PageIndex => {
                (if self.page_blocks.0 > 0 { c.vocab } else { 0 }, 1 + c.layers, false)
            }
            SectionKind::Ffn => return Some((c.neurons, self.bundle_layout())),
        };
        Some((records, RecordLayout { quant: self.quant(kind), rows: 1, cols, bias }))
    }

    /// The number format of a section's rows.
    pub const fn quant(&self, kind: SectionKind) -> Quant {
        match (kind, self.predictor) {
            (SectionKind::LayerVectors | SectionKind::FinalVectors | SectionKind::PageIndex, _) => {
                Quant::F32
            }
            (SectionKind::Predictor, Predictor::Signs { .. }) => Quant::Sign,
            _ => self.quants.of(kind),
        }
    }

    /// Whether the inputs of a section's rows have a multiplier for each group: those of an FFN, which its predictor
    /// and a projection share, where the rows of any of them want it.
    pub const fn groups_inputs(&self, kind: SectionKind) -> bool {
        if !cfg!(feature = "grouped") {
            return false;
        }
        let exact = matches!(self.predictor, Predictor::Exact);
        let shared = matches!(kind, SectionKind::Ffn | SectionKind::Projection)
            || matches!(kind, SectionKind::Predictor) && exact;
        if !shared {
            return self.quant(kind).is_grouped();
        }
        self.quants.of(SectionKind::Ffn).is_grouped()
            || exact && self.quants.of(SectionKind::Predictor).is_grouped()
            || self.rank() > 0 && self.quants.of(SectionKind::Projection).is_grouped()
    }

    /// Whether those of any section have.
    pub const fn groups_any_inputs(&self) -> bool {
        let mut rest: &[SectionKind] = &SectionKind::ALL;
        while let [kind, more @ ..] = rest {
            if self.groups_inputs(*kind) {
                return true;
            }
            rest = more;
        }
        false
    }

    /// The layout of a neuron bundle.
    pub const fn bundle_layout(&self) -> RecordLayout {
        RecordLayout {
            quant: self.quants.of(SectionKind::Ffn),
            rows: self.bundle.rows(),
            cols: self.config.dim,
            bias: self.bundle_holds_first() && self.first_bias(),
        }
    }

    /// Whether a neuron's first row is in its bundle; if not, the predictor holds it.
    pub const fn bundle_holds_first(&self) -> bool {
        self.bundle.has(Bundle::first(self.config.ffn()))
    }

    /// Whether the predictor and the bundle hold all rows of a neuron, and no others.
    pub(super) const fn holds_all_rows(&self) -> bool {
        let (ffn, rows) = (self.config.ffn(), self.bundle.0);
        rows == Bundle::whole(ffn).0
            || rows == Bundle::without_first(ffn).0 && matches!(self.predictor, Predictor::Exact)
    }

    /// Blocks of one part of a section other than the tokenizer; saturates.
    pub const fn table_blocks(&self, kind: SectionKind) -> BlockCount {
        match self.table(kind) {
            Some((count, layout)) => BlockCount::for_bytes(count as u64 * layout.stride() as u64),
            None if matches!(kind, SectionKind::Pages) => self.page_blocks,
            None => BlockCount(0),
        }
    }

    /// Whether a neuron's first row has a bias.
    pub const fn first_bias(&self) -> bool {
        self.config.ffn_bias && matches!(self.config.ffn(), Ffn::Plain)
    }

    /// Vectors of one norm: its weight, and its bias if it has one.
    pub const fn norm_vectors(&self) -> u32 {
        match self.config.norm() {
            Norm::Rms => 1,
            Norm::Layer => 2,
        }
    }

    /// Norms of a layer: of attention and of the FFN, and, where there are some behind them, of these.
    pub const fn norms(&self) -> u32 {
        match self.config.variant().order {
            Order::Around => 4,
            Order::Before | Order::After | Order::Parallel => 2,
        }
    }

    /// Floats of the norms of heads: of a query's, then of a key's.
    pub const fn head_norm_floats(&self) -> u32 {
        if self.config.variant().head_norm { 2 * self.config.head_dim } else { 0 }
    }

    /// Where they begin in a layer's record.
    pub const fn head_norms_at(&self) -> u32 {
        self.config.dim * (self.norms() * self.norm_vectors() + self.config.ffn_bias as u32)
    }

    /// Floats that the outputs of an FFN are multiplied with, `(dim,)`, where its bundles are in groups: a group of a
    /// column is of as many outputs, whose rows may differ a hundredfold.
    pub const fn output_scales(&self) -> u32 {
        if self.quants.of(SectionKind::Ffn).is_grouped() { self.config.dim } else { 0 }
    }

    /// Where they begin in a layer's record.
    pub const fn output_scales_at(&self) -> u32 {
        self.head_norms_at() + self.head_norm_floats()
    }

    /// Floats of a layer's record: attention norm, FFN norm, norms behind them; bias of the FFN's output;
    /// norms of heads; scales of the FFN's outputs; last, where the activation is lossy, the layer's threshold.
    pub const fn layer_floats(&self) -> u32 {
        let lossy = self.config.activation().lossy() as u32;
        self.output_scales_at() + self.output_scales() + lossy
    }

    /// Floats of the final record: final norm (zeroes where the last layer's is the last), rotary
    /// frequencies.
    pub const fn final_floats(&self) -> u32 {
        self.config.dim * self.norm_vectors() + self.frequencies()
    }

    /// Whether what a layer adds is kept apart for a while.
    pub const fn has_branch(&self) -> bool {
        let variant = self.config.variant();
        !matches!(variant.order, Order::Before) || variant.sub_norm
    }

    /// Rotary frequencies: `head_dim / 2`, or none.
    pub const fn frequencies(&self) -> u32 {
        match self.config.position() {
            Position::Rope => self.config.head_dim / 2,
            Position::Learned => 0,
        }
    }

    /// Bits of the input a sign predictor looks at; 0 for others.
    pub const fn planes(&self) -> u32 {
        match self.predictor {
            Predictor::Signs { planes } => planes,
            _ => 0,
        }
    }

    /// Numbers that a low-rank predictor makes of the input; 0 for others.
    pub const fn rank(&self) -> u32 {
        match self.predictor {
            Predictor::LowRank { rank } if cfg!(feature = "low-rank") => rank,
            _ => 0,
        }
    }
}
