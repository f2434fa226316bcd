//! An image that is made for one run, and is gone after it.
//!
//! In: a model, perhaps a text. Out: its image in a temporary file, mapped, and on standard error what was
//! done and what was not.

use super::args::{MachineArgs, PageArgs};
use super::prepare::{PROFILE_TOKENS, Target, prepare, prepare_unplaced};
use super::source::Found;
use super::summary::bytes;
use crate::machine::{ImageBytes, header};
use crate::model::threshold::sparsify;
use crate::predictor::{Format, PredictorChoice};
use crate::process::output::note;
use anyhow::Result;
use ripple_kernel::image::Quants;
use std::path::Path;

/// The image of the model that was `found`, placed by `text`, or by the profile beside the model, for the card
/// and the cache of `machine`.
///
/// Where no neuron is ever inactive, all are kept: nothing is lost, and nothing can be left out.
///
/// # Errors
/// When the text cannot be read, the model cannot be stored, or there is no room for the file.
pub fn made(found: Found, text: Option<&Path>, machine: &MachineArgs) -> Result<ImageBytes> {
    let text = text.map(Path::to_owned).or_else(|| found.profile());
    let mut model = found.model;
    let name = model.name.clone();
    let (prepared, how) = if model.config.activation.lossy() && model.sparsity.is_none() {
        sparsify(&mut model, 1.0, &[], &|_| ())?;
        let how = format!(
            "all neurons are active, as {:?} is never 0: nothing is left out, and reads are as many as they \
             can be; `ripple make --threshold` leaves some out, at a cost that it measures",
            model.config.activation
        );
        (prepare_unplaced(&model, Quants::Q8), how)
    } else if let Some(text) = text {
        let format = Format::new(&PredictorChoice::Exact, Quants::Q8);
        let target = Target {
            reads: machine.reads(),
            cache_share: machine.cache_share(&format.geometry(&model)).min(1.0),
            pages: PageArgs::new(None),
            quants: Quants::Q8,
        };
        let prepared = prepare(&model, &text, PROFILE_TOKENS, &target)?;
        let how = format!("placed by {} tokens of {}", prepared.tokens, text.display());
        (prepared, how)
    } else {
        let how = "its neurons lie as in the checkpoint, and reads are what they are without placing; \
                   --text FILE places them";
        (prepare_unplaced(&model, Quants::Q8), how.to_owned())
    };
    let image = prepared.image(&model)?;
    drop(model);
    let pages = header(&image)?.geometry.page_blocks.bytes();
    note(&format!("{name}: {how}"));
    note(&format!(
        "an image of {}, {} of it pages, in a temporary file; `ripple make` writes one to keep\n",
        bytes(image.len() as f64),
        bytes(pages as f64)
    ));
    Ok(image)
}
