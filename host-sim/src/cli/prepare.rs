//! From a model and a text to an image: trace, place, pack.

use super::args::{PageArgs, Reads, ffn_bytes};
use super::place::place_for_card;
use crate::machine::ImageBytes;
use crate::model::Model;
use crate::model::text::read_tokens;
use crate::pack::Packing;
use crate::placement::Placement;
use crate::predictor::{Format, PredictorChoice};
use crate::process::output::progress;
use crate::profile::record::record;
use anyhow::{Context, Result};
use ripple_kernel::image::Quants;
use std::fs::File;
use std::path::Path;

/// Tokens of the profiling text that are traced: enough for the demo models, and quick.
pub const PROFILE_TOKENS: u32 = 16 * 1024;

/// What an image is made for.
pub struct Target {
    /// How it is read: what it is placed for.
    pub reads: Reads,
    /// The share of all bundles that the cache will hold.
    pub cache_share: f64,
    /// Room on the card for pages.
    pub pages: PageArgs,
    /// Which rows have 4 bits a number.
    pub quants: Quants,
}

/// What an image is written from.
pub struct Prepared {
    placement: Placement,
    active: Vec<f64>,
    quants: Quants,
    /// Tokens that it was placed by.
    pub tokens: usize,
}

/// Traces `model` on the first `most` tokens of `text`, and places its neurons for `target`.
///
/// # Errors
/// When the text cannot be read.
pub fn prepare(model: &Model, text: &Path, most: u32, target: &Target) -> Result<Prepared> {
    let tokens = read_tokens(model, text)?;
    let tokens = &tokens[..tokens.len().min(most as usize)];
    let name = text.file_name().unwrap_or_default().to_string_lossy();
    let bar = progress(tokens.len() as u64, "trace");
    let format = Format::new(&PredictorChoice::Exact, target.quants);
    let geometry = format.geometry(model);
    let bundle_bytes = geometry.bundle_layout().stride();
    let trace = record(model, &name, tokens, &|n| bar.inc(n)).of_bundles(bundle_bytes);
    bar.finish_and_clear();
    let Target { reads, cache_share, pages, quants } = *target;
    let pages = pages.blocks(ffn_bytes(&geometry), tokens.len());
    let placement = place_for_card(&trace, &reads, cache_share, pages)?;
    let active = (0..trace.layers()).map(|l| trace.density(l) * trace.neurons() as f64).collect();
    Ok(Prepared { placement, active, quants, tokens: tokens.len() })
}

/// `model` with its neurons as they are in the checkpoint: no text is needed, and reads are what they are
/// without placing.
pub fn prepare_unplaced(model: &Model, quants: Quants) -> Prepared {
    let c = &model.config;
    let placement = Placement::identity(&model.name, c.layers as usize, c.neurons as usize);
    Prepared { placement, active: Vec::new(), quants, tokens: 0 }
}

impl Prepared {
    /// Writes the image to `file`, which is empty; gives its size.
    ///
    /// # Errors
    /// When the model cannot be stored, or there is no room.
    pub fn write(&self, model: &Model, file: &File) -> Result<usize> {
        let format = Format::new(&PredictorChoice::Exact, self.quants);
        write_packing(&Packing::new(format, model, &self.placement)?, &self.active, file)
    }

    /// The image, in a temporary file that is gone with it.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn image(&self, model: &Model) -> Result<ImageBytes> {
        let file = tempfile::tempfile().context("no temporary file")?;
        self.write(model, &file).context(
            "the temporary file cannot be written; make room, or name another folder in TMPDIR",
        )?;
        ImageBytes::map(&file).context("the temporary file")
    }
}

/// Writes an image to `file`, with a progress bar; gives its size.
///
/// # Errors
/// As [`Packing::write_file`].
pub fn write_packing(packing: &Packing<'_>, active: &[f64], file: &File) -> Result<usize> {
    let bar = progress(packing.bytes() as u64 - packing.page_bytes(), "pack");
    packing.write_file(file, active, &|n| bar.inc(n))?;
    bar.finish_and_clear();
    Ok(packing.bytes())
}
