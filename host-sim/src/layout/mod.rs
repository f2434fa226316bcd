//! The layout of an image, derived from a model's equations for a board and its card.
//!
//! In: a configuration and how its rows are stored, a board, a card. Out: which tables there are, what a record
//! has in it and in which order the sections stand, with the rule that led to each and what it costs: the
//! [`ImagePlan`] of it is what the packer makes. Nothing of it is said by hand:
//! rules of `ripple-derive` are applied wherever they hold, and costs decide.

mod equations;
mod file;
mod front;
mod records;

pub use equations::layer;
pub use file::LayoutFile;
pub use front::{Front, front};
pub use records::{Apart, Records, Step, records};

use crate::cost::Preset;
use crate::predictor::{Format, PredictorChoice};
use anyhow::{Result, anyhow};
use ripple_app::Board;
use ripple_kernel::image::{Geometry, ImagePlan};

/// A layout that was derived.
#[derive(Clone, Debug)]
pub struct Layout {
    /// What a layer's records are, and why.
    pub records: Records,
    /// Where sections stand, and why.
    pub front: Front,
    /// The plan of the image.
    pub plan: ImagePlan,
    /// The plan in the standard order, with the standard records.
    pub standard: ImagePlan,
}

/// Derives the layout of a model whose exact predictor finds its neurons.
///
/// `active`: share of the neurons that a token reads. `tokenizer`: bytes of it.
///
/// # Errors
/// Where the equations mean nothing, or no image can be made.
pub fn derive(
    standard: &Geometry,
    tokenizer: u32,
    board: &Board,
    card: &Preset,
    active: f64,
) -> Result<Layout> {
    let stored = |e| anyhow!("cannot be stored: {e}");
    let records = records(standard, card, active)?;
    let mut geometry = *standard;
    geometry.bundle = records.bundle(&geometry.config);
    let front = front(&geometry, tokenizer, board, card)?;
    let plan = ImagePlan::in_order(&geometry, tokenizer, &front.order).map_err(stored)?;
    let standard = ImagePlan::standard(standard, tokenizer).map_err(stored)?;
    Ok(Layout { records, front, plan, standard })
}

/// The standard geometry of a model in a format, without what a placement adds.
pub fn standard_geometry(
    model: &crate::model::Model,
    quants: ripple_kernel::image::Quants,
) -> Geometry {
    Format::new(&PredictorChoice::Exact, quants).geometry(model)
}
