//! The sections of an image: which there are, and what is said of one.

use super::record::RecordLayout;
use crate::config::coded;
use ripple_hal::{BlockCount, BlockIdx};

coded! {
    /// The sections of an image. In their standard order, which is how badly they want to be near.
    enum SectionKind {
        /// Vocabulary and merges; not records.
        Tokenizer = 0, "tokenizer";
        /// Norm weights and biases of each layer, one `f32` record.
        LayerVectors = 1, "layer vectors";
        /// Final norm and rotary frequencies, one `f32` record.
        FinalVectors = 2, "final vectors";
        /// Rows of a low-rank predictor's projection.
        Projection = 3, "projection";
        /// A record for each neuron: what the predictor needs.
        Predictor = 4, "predictor";
        /// Query, key and value rows, in this order.
        Qkv = 5, "attention qkv";
        /// Rows of the attention's output projection.
        Output = 6, "attention output";
        /// A row for each token.
        Embedding = 7, "embedding";
        /// A row for each position, where positions are learned.
        Positions = 8, "positions";
        /// A row for each token, where the head is not the embedding.
        Head = 9, "head";
        /// A record for each token: where its pages are.
        PageIndex = 10, "page index";
        /// The neuron bundles.
        Ffn = 11, "ffn";
        /// Copies of bundles, token by token; not records; behind the bundles. See [`Page`](super::Page).
        Pages = 12, "pages";
    }
}

impl SectionKind {
    /// Its place in [`ALL`](Self::ALL), and its code.
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
}

impl core::fmt::Display for SectionKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a section is; of no blocks, where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Section {
    /// Its first block.
    pub start: BlockIdx,
    /// Blocks of one part: a layer's, or the whole.
    pub part: BlockCount,
    /// CRC-32 of all its blocks.
    pub crc: u32,
}

impl Section {
    pub(super) const NONE: Self = Self { start: BlockIdx(0), part: BlockCount(0), crc: 0 };
}

/// A section of a plan: its records, and where its parts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedSection {
    /// Which.
    pub kind: SectionKind,
    /// Records in a part; 0 for the tokenizer and the pages.
    pub records: u32,
    /// Their layout: rows, columns, number format; `None` for the tokenizer and the pages.
    pub layout: Option<RecordLayout>,
    /// Its first block.
    pub start: BlockIdx,
    /// Blocks from a part to the next.
    pub part: BlockCount,
}

/// What is wrong with a section's entry in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SectionFault {
    /// It is missing, or there more than once.
    #[error("entries")]
    Entries,
    /// It starts before the end of what stands before it in the table, or pages before the bundles.
    #[error("start at least")]
    Start,
    /// It ends beyond the image: its parts are too long, as it starts where it does.
    #[error("blocks of a part at most")]
    End,
    /// Its records do not have the shape that the model needs. The number is that of the records, or of
    /// their columns, or a word of four bytes: kind, number format, rows, whether they have a bias.
    #[error("shape")]
    Shape,
    /// A part is too small for its records.
    #[error("part at least")]
    Part,
}
