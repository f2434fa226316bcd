//! What an image holds: which tables, of how many records, in which layout.
//!
//! In: the model's configuration and the packer's choices. Out: the layout of every section, as
//! `const fn`, so that a board can size its memory when it is compiled. Knows nothing of bytes.

use super::record::{Quant, RecordLayout};
use crate::config::{Ffn, ModelConfig, Norm, Position};
use ripple_hal::BlockCount;

/// Which rows a neuron bundle on the card has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Bundle {
    /// All: gate, up, down; or up, down.
    Full,
    /// All but the first, which the `Exact` predictor holds already: a third (or half) less to read.
    Rest,
}

/// How active neurons are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
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
    #[cfg(feature = "low-rank")]
    LowRank {
        /// A multiple of 4, 4 to 252.
        rank: u32,
    },
}

/// Which rows have 4 bits a number; the others have 8. Norms and biases are floats, positions are
/// always in 8 bits: they are few.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct FourBits {
    /// Query, key, value and output projections.
    pub attention: bool,
    /// Neurons: their bundles, and the rows of the `Exact` predictor.
    pub ffn: bool,
    /// The embedding and the output head, one table or two.
    pub head: bool,
}

impl FourBits {
    /// All in 8 bits.
    pub const NONE: Self = Self { attention: false, ffn: false, head: false };
}

/// The sections of an image, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SectionKind {
    /// Vocabulary and merges; not records.
    Tokenizer,
    /// Norm weights and biases of each layer, one `f32` record.
    LayerVectors,
    /// Final norm and rotary frequencies, one `f32` record.
    FinalVectors,
    /// Rows of a low-rank predictor's projection.
    Projection,
    /// A record for each neuron: what the predictor needs.
    Predictor,
    /// Query, key and value rows, in this order.
    Qkv,
    /// Rows of the attention's output projection.
    Output,
    /// A row for each token.
    Embedding,
    /// A row for each position, where positions are learned.
    Positions,
    /// A row for each token, where the head is not the embedding.
    Head,
    /// A record for each token: where its pages are.
    PageIndex,
    /// The neuron bundles.
    Ffn,
    /// Copies of bundles, token by token; not records. See [`Page`](super::Page).
    Pages,
}

impl SectionKind {
    /// All, in the order they stand in an image.
    pub const ALL: [Self; 13] = [
        Self::Tokenizer,
        Self::LayerVectors,
        Self::FinalVectors,
        Self::Projection,
        Self::Predictor,
        Self::Qkv,
        Self::Output,
        Self::Embedding,
        Self::Positions,
        Self::Head,
        Self::PageIndex,
        Self::Ffn,
        Self::Pages,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Whether there is a part of it for each layer.
    pub const fn per_layer(self) -> bool {
        matches!(
            self,
            Self::LayerVectors
                | Self::Projection
                | Self::Predictor
                | Self::Qkv
                | Self::Output
                | Self::Ffn
        )
    }

    /// Its name, for reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokenizer => "tokenizer",
            Self::LayerVectors => "layer vectors",
            Self::FinalVectors => "final vectors",
            Self::Projection => "projection",
            Self::Predictor => "predictor",
            Self::Qkv => "attention qkv",
            Self::Output => "attention output",
            Self::Embedding => "embedding",
            Self::Positions => "positions",
            Self::Head => "head",
            Self::PageIndex => "page index",
            Self::Ffn => "ffn",
            Self::Pages => "pages",
        }
    }
}

impl core::fmt::Display for SectionKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
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
    /// Which rows have 4 bits a number.
    pub four_bits: FourBits,
    /// Blocks of all pages; 0 where there are none.
    pub page_blocks: BlockCount,
}

/// The format of rows of integers. Without the feature no header with 4-bit rows is let in.
const fn integers(four_bits: bool) -> Quant {
    match four_bits {
        #[cfg(feature = "q4")]
        true => Quant::Q4,
        _ => Quant::Q8,
    }
}

impl Geometry {
    /// Records in one part of a section, and their layout; `None` for the tokenizer and the pages.
    pub const fn table(&self, kind: SectionKind) -> Option<(u32, RecordLayout)> {
        const fn layout(quant: Quant, rows: u32, cols: u32, bias: bool) -> RecordLayout {
            RecordLayout { quant, rows, cols, bias }
        }
        let c = &self.config;
        let attention = c.attention_bias;
        let FourBits { attention: q4_attention, ffn: q4_ffn, head: q4_head } = self.four_bits;
        Some(match kind {
            SectionKind::Tokenizer | SectionKind::Pages => return None,
            SectionKind::LayerVectors => (1, layout(Quant::F32, 1, self.layer_floats(), false)),
            SectionKind::FinalVectors => (1, layout(Quant::F32, 1, self.final_floats(), false)),
            SectionKind::Projection => (self.rank(), layout(Quant::Q8, 1, c.dim, false)),
            SectionKind::Predictor => match self.predictor {
                Predictor::Exact => {
                    (c.neurons, layout(integers(q4_ffn), 1, c.dim, self.first_bias()))
                }
                Predictor::Signs { .. } => (c.neurons, layout(Quant::Sign, 1, c.dim, false)),
                #[cfg(feature = "low-rank")]
                Predictor::LowRank { rank } => (c.neurons, layout(Quant::Q8, 1, rank, true)),
            },
            SectionKind::Qkv => (
                c.query_dim() + 2 * c.kv_dim(),
                layout(integers(q4_attention), 1, c.dim, attention),
            ),
            SectionKind::Output => {
                (c.dim, layout(integers(q4_attention), 1, c.query_dim(), attention))
            }
            SectionKind::Embedding => (c.vocab, layout(integers(q4_head), 1, c.dim, false)),
            SectionKind::Positions => match c.position() {
                Position::Learned => (c.context, layout(Quant::Q8, 1, c.dim, false)),
                Position::Rope => (0, layout(Quant::Q8, 1, c.dim, false)),
            },
            SectionKind::Head => {
                (if c.tied_head { 0 } else { c.vocab }, layout(integers(q4_head), 1, c.dim, false))
            }
            SectionKind::PageIndex => {
                let records = if self.page_blocks.0 > 0 { c.vocab } else { 0 };
                (records, layout(Quant::F32, 1, 1 + c.layers, false))
            }
            SectionKind::Ffn => (c.neurons, self.bundle_layout()),
        })
    }

    /// The layout of a neuron bundle.
    pub const fn bundle_layout(&self) -> RecordLayout {
        let rows = self.config.bundle_rows();
        let (rows, bias) = match self.bundle {
            Bundle::Full => (rows, self.first_bias()),
            Bundle::Rest => (rows - 1, false),
        };
        RecordLayout { quant: integers(self.four_bits.ffn), rows, cols: self.config.dim, bias }
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

    /// Floats of a layer's record: attention norm, FFN norm, bias of the FFN's output; last, where the
    /// activation is lossy, the layer's threshold.
    pub const fn layer_floats(&self) -> u32 {
        self.config.dim * (2 * self.norm_vectors() + self.config.ffn_bias as u32)
            + self.config.activation().lossy() as u32
    }

    /// Floats of the final record: final norm, rotary frequencies.
    pub const fn final_floats(&self) -> u32 {
        self.config.dim * self.norm_vectors() + self.frequencies()
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
            #[cfg(feature = "low-rank")]
            Predictor::LowRank { rank } => rank,
            _ => 0,
        }
    }
}
