//! From a model and a text to an image, in memory: trace, place, pack.

use super::args::{PageArgs, ffn_bytes};
use super::place::place_for_card;
use crate::cost::Preset;
use crate::model::Model;
use crate::model::text::read_tokens;
use crate::pack::pack_as;
use crate::placement::Placement;
use crate::predictor::{Format, PredictorChoice};
use crate::process::output::progress;
use crate::profile::record::record;
use anyhow::Result;
use ripple_hal::BlockCount;
use ripple_kernel::image::Quants;
use std::path::Path;

/// Tokens of the profiling text that are traced: enough for the demo models, and quick.
pub const PROFILE_TOKENS: u32 = 16 * 1024;

/// What an image is made for.
pub struct Target {
    /// The card it is placed for.
    pub card: &'static Preset,
    /// Staging that reads will have, both halves; `None` for what suits the card.
    pub staging: Option<BlockCount>,
    /// The share of all bundles that the cache will hold.
    pub cache_share: f64,
    /// Room on the card for pages.
    pub pages: PageArgs,
    /// Which rows have 4 bits a number.
    pub quants: Quants,
}

/// An image, and how many tokens it was placed by.
pub struct Prepared {
    pub image: Vec<u8>,
    pub tokens: usize,
}

/// Traces `model` on the first `most` tokens of `text`, places its neurons for `target` and packs it.
///
/// # Errors
/// When the text cannot be read, or the model cannot be stored.
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
    let Target { card, staging, cache_share, pages, .. } = *target;
    let pages = pages.blocks(ffn_bytes(&geometry));
    let placement = place_for_card(&trace, card, staging, cache_share, pages)?;
    let active: Vec<f64> =
        (0..trace.layers()).map(|l| trace.density(l) * trace.neurons() as f64).collect();
    let image = pack_as(format, model, &placement, &active)?;
    Ok(Prepared { image, tokens: tokens.len() })
}

/// Packs `model` with its neurons as they are in the checkpoint: no text is needed, and reads are what
/// they are without placing.
///
/// # Errors
/// When the model cannot be stored.
pub fn prepare_unplaced(model: &Model, quants: Quants) -> Result<Vec<u8>> {
    let c = &model.config;
    let placement = Placement::identity(&model.name, c.layers as usize, c.neurons as usize);
    pack_as(Format::new(&PredictorChoice::Exact, quants), model, &placement, &[])
}
