//! `ripple perplexity`: what 8 bits and the compact predictor cost, beside the reference.

use super::args::Kv;
use super::summary::table;
use crate::model::Model;
use crate::output::{self, progress};
use crate::pack::{PredictorChoice, geometry, pack};
use crate::placement::Placement;
use crate::quality::{image_loss, reference_loss};
use crate::signs::{SignOptions, calibrate, evaluate};
use crate::text::read_tokens;
use anyhow::{Context, Result};
use clap::{Args, value_parser};
use ripple_kernel::Options;
use ripple_kernel::image::SectionKind;
use std::path::PathBuf;

/// Tokens of the profiling text that the sign predictor is calibrated on.
const CALIBRATION_TOKENS: usize = 32 * 1024;
/// The sign predictors that are shown: bits of the input, and share of the activation kept.
const SIGNS: [(u32, f64); 3] = [(1, 0.999), (4, 0.99), (4, 0.999)];

/// Perplexity of a text: float32 reference, 8-bit image, and image with the sign predictor.
#[derive(Args)]
#[command(
    after_help = "Example:\n  ripple perplexity my.model --text held-out.txt --calibrate profile.txt"
)]
pub struct Perplexity {
    /// Model file or Hugging Face directory.
    model: PathBuf,
    /// Text to read.
    #[arg(long)]
    text: PathBuf,
    /// Profiling text, to calibrate the sign predictor on; without it only the exact image is run.
    #[arg(long)]
    calibrate: Option<PathBuf>,
    /// Most windows of the full context.
    #[arg(long, default_value_t = 40, value_parser = value_parser!(u32).range(1..))]
    windows: u32,
    /// Numbers of the KV cache.
    #[arg(long, value_enum, default_value_t = Kv::F16)]
    kv: Kv,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Perplexity {
    pub fn run(&self) -> Result<()> {
        let model = Model::load(&self.model)?;
        let tokens = read_tokens(&model, &self.text)?;
        let c = &model.config;
        let most = self.windows as usize;
        let profile = match &self.calibrate {
            Some(text) => read_tokens(&model, text)?,
            None => Vec::new(),
        };
        let profile = &profile[..profile.len().min(CALIBRATION_TOKENS)];
        let held_out = &tokens[..tokens.len().min(most * c.context as usize)];
        // Reference and exact image read the text; each sign predictor is calibrated, judged and run.
        let predictors = if self.calibrate.is_some() { SIGNS.len() } else { 0 };
        let all = 2 * held_out.len() + predictors * (profile.len() + 2 * held_out.len());
        let bar = progress(all as u64, "perplexity");
        let done = |n| bar.inc(n);
        let options = Options { context: c.context, kv: self.kv.into(), ..Options::DEFAULT };
        let placement = Placement::identity(&model.name, c.layers as usize, c.neurons as usize);
        let run = |choice: &PredictorChoice| -> Result<f64> {
            let image = pack(&model, &placement, choice, &[])?;
            Ok(image_loss(&image, &tokens, &options, most, &done)?.exp())
        };
        let reference = reference_loss(&model, &tokens, most, &done)
            .with_context(|| self.text.display().to_string())?
            .exp();
        let mut rows = vec![Row::new("reference f32", reference, reference)];
        let mut exact = Row::new("image, exact", run(&PredictorChoice::Exact)?, reference);
        exact.predictor_bytes = Some(predictor_bytes(&model, &PredictorChoice::Exact));
        rows.push(exact);
        if self.calibrate.is_some() {
            for (planes, keep) in SIGNS {
                let thresholds = calibrate(&model, profile, SignOptions { planes, keep }, &done);
                let quality = evaluate(&model, held_out, &thresholds, &done);
                let choice = PredictorChoice::Signs(thresholds);
                let mut row = Row::new(
                    &format!("image, signs x {planes}, keep {keep}"),
                    run(&choice)?,
                    reference,
                );
                row.recall = Some(quality.recall());
                row.predicted = Some(quality.predicted as f64 / quality.active.max(1) as f64);
                row.predictor_bytes = Some(predictor_bytes(&model, &choice));
                rows.push(row);
            }
        }
        bar.finish_and_clear();
        if self.json {
            return output::print_json(&serde_json::json!({ "rows": rows }));
        }
        let text = self.text.file_name().unwrap_or_default().to_string_lossy();
        let windows = most.min(tokens.len() / c.context as usize);
        let dash = || "-".to_owned();
        let rows = rows.iter().map(|row| {
            vec![
                row.name.clone(),
                format!("{:.3}", row.perplexity),
                format!("{:+.2} %", row.change_percent),
                row.recall.map_or_else(dash, |recall| format!("{:.2} %", 100.0 * recall)),
                row.predicted.map_or_else(dash, |predicted| format!("{predicted:.2}")),
                row.predictor_bytes.map_or_else(dash, |bytes| bytes.to_string()),
            ]
        });
        let header =
            ["", "perplexity", "against f32", "recall", "predicted / active", "predictor bytes"];
        output::print(&format!(
            "{} on {windows} windows of {} tokens of {text}\n{}",
            model.name,
            c.context,
            table(&header, rows.collect())
        ))
    }
}

#[derive(serde::Serialize)]
struct Row {
    name: String,
    perplexity: f64,
    change_percent: f64,
    /// Share of the activation that the predictor kept; nothing where it was not measured.
    recall: Option<f64>,
    predicted: Option<f64>,
    predictor_bytes: Option<u64>,
}

impl Row {
    fn new(name: &str, perplexity: f64, reference: f64) -> Self {
        Self {
            name: name.to_owned(),
            perplexity,
            change_percent: 100.0 * (perplexity / reference - 1.0),
            recall: None,
            predicted: None,
            predictor_bytes: None,
        }
    }
}

/// Bytes of the predictor's tables, all layers.
fn predictor_bytes(model: &Model, choice: &PredictorChoice) -> u64 {
    let geometry = geometry(model, choice);
    let kind = SectionKind::Predictor;
    geometry.table(kind).map_or(0, |(count, layout)| {
        u64::from(count) * u64::from(layout.stride()) * u64::from(model.config.layers)
    })
}
