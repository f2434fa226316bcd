//! What a token needs of each table, where nothing is known of sparsity.
//!
//! In: what an image holds. Out: [`Needed`], of each kind of section. Knows nothing of devices or of what they cost.

use ripple_kernel::image::{Geometry, SectionKind};

/// How much of a table a pass reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// Nothing; what is read once, when the image is opened; or what only sparse reading is for.
    Nothing,
    /// A row for each token.
    Row,
    /// All of it.
    Whole,
    /// All of it, where the pass computes logits.
    ForLogits,
}

/// What a pass that computes all neurons needs of the tables of `kind`.
pub fn needed(geometry: &Geometry, kind: SectionKind) -> Needed {
    match kind {
        SectionKind::Tokenizer
        | SectionKind::FinalVectors
        | SectionKind::PageIndex
        | SectionKind::Pages
        // Finds active neurons, computes none.
        | SectionKind::Projection => Needed::Nothing,
        // Full bundles hold the predictor's rows a second time.
        SectionKind::Predictor if geometry.bundle_holds_first() => Needed::Nothing,
        SectionKind::Embedding if geometry.config.tied_head => Needed::ForLogits,
        SectionKind::Embedding | SectionKind::Positions => Needed::Row,
        SectionKind::Head => Needed::ForLogits,
        // Of the layers: vectors, predictor, attention, neurons.
        _ => Needed::Whole,
    }
}
