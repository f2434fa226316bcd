//! `ripple train-predictor`: a compact predictor from a model and a text, judged on another.

use super::source::open_model;
use super::summary::{bytes, table};
use crate::model::text::read_tokens;
use crate::predictor::low_rank::{LowRankOptions, train};
use crate::predictor::signs::{SignOptions, calibrate};
use crate::predictor::{Goal, Quality, Trained, judge, masked_perplexity, scores};
use crate::predictor::{PredictorChoice, geometry};
use crate::process::failure::ensure_usage;
use crate::process::output::{self, check_path, note, progress};
use anyhow::{Context, Result, ensure};
use clap::{Args, value_parser};
use ripple_kernel::image::SectionKind;
use serde::Serialize;
use std::path::PathBuf;

/// Train a predictor of active neurons on one text and judge it on another, layer by layer.
///
/// The same model, text and options give the same file. `ripple pack --trained` takes it.
#[derive(Args)]
#[command(after_help = "Example:\n  \
    ripple train-predictor my.model --text profile.txt --held-out other.txt --recall 0.99 \
    -o my.predictor\n  \
    ripple pack my.model --placement my.placement --trained my.predictor -o my.image")]
pub struct TrainPredictor {
    /// Model file or Hugging Face directory.
    model: PathBuf,
    /// Text to train on.
    #[arg(long)]
    text: PathBuf,
    /// Most tokens of it.
    #[arg(long, default_value_t = 32 * 1024, value_parser = value_parser!(u32).range(1..))]
    tokens: u32,
    /// Text to judge it on, one that it was not trained on.
    #[arg(long)]
    held_out: PathBuf,
    /// Most windows of the full context of it.
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u32).range(1..))]
    windows: u32,
    /// Share of the active neurons that must be predicted, on the training text.
    #[arg(long, default_value_t = 0.99, value_parser = share)]
    recall: f64,
    /// Share of the activation that must be predicted instead: weak activations may be missed.
    #[arg(long, value_parser = share, conflicts_with = "recall")]
    keep: Option<f64>,
    /// Bits of the input that the signs of the rows are compared with, 1 to 7.
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=7))]
    planes: u32,
    /// Approximate the rows by a product of this rank instead: a multiple of 4, at most 252.
    #[arg(long, value_parser = rank, conflicts_with = "planes")]
    rank: Option<u32>,
    /// Predictor file to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn rank(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(rank) if (4..=252).contains(&rank) && rank.is_multiple_of(4) => Ok(rank),
        _ => Err("expected a multiple of 4 from 4 to 252".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a share above 0, at most 1".to_owned()),
    }
}

impl TrainPredictor {
    pub fn run(&self) -> Result<()> {
        check_path(&self.output)?;
        let model = open_model(&self.model)?.model;
        let (layers, context) = (model.config.layers as usize, model.config.context as usize);
        let tokens = read_tokens(&model, &self.text)?;
        let tokens = &tokens[..tokens.len().min(self.tokens as usize)];
        let held_out = read_tokens(&model, &self.held_out)?;
        let windows = (self.windows as usize).min(held_out.len() / context);
        ensure!(
            windows > 0,
            "{}: expected at least one full context of {context} tokens, found {}; give a longer text",
            self.held_out.display(),
            held_out.len()
        );
        let held_out = &held_out[..windows * context];
        let goal = self.keep.map_or(Goal::Recall(self.recall), Goal::Activation);

        // Trained on one text; judged on the other, then run without masks, with one layer's, with all.
        let passes = if self.rank.is_some() { 2 } else { 1 };
        let all = passes * tokens.len() + (3 + layers) * held_out.len();
        let bar = progress(all as u64, "predictor");
        let done = |n| bar.inc(n);
        let choice = match self.rank {
            Some(rank) => {
                let dim = model.config.dim;
                ensure_usage!(
                    rank <= dim,
                    "--rank {rank}: expected at most {dim}, the model's width"
                );
                PredictorChoice::LowRank(train(
                    &model,
                    tokens,
                    LowRankOptions { rank, goal },
                    &done,
                ))
            }
            None => {
                let options = SignOptions { planes: self.planes, goal };
                PredictorChoice::Signs(calibrate(&model, tokens, options, &done))
            }
        };
        let (scores, thresholds) = scores(&model, &choice).context("a trained predictor")?;
        let qualities = judge(&model, held_out, &*scores, thresholds, &done);
        let masked =
            |layers| masked_perplexity(&model, held_out, &*scores, thresholds, layers, &done);
        let reference = masked(0..0);
        let cost = |layers| 100.0 * (masked(layers) / reference - 1.0);
        let geometry = geometry(&model, &choice);
        let tables = [SectionKind::Projection, SectionKind::Predictor];
        let tables = tables.into_iter().filter_map(|kind| geometry.table(kind));
        let bytes_of_layer: u64 =
            tables.map(|(count, layout)| u64::from(count) * u64::from(layout.stride())).sum();
        let mut rows: Vec<Row> = qualities
            .iter()
            .enumerate()
            .map(|(i, quality)| {
                Row::new(format!("layer {i}"), quality, bytes_of_layer, cost(i..i + 1))
            })
            .collect();
        let all = qualities.iter().copied().fold(Quality::default(), Quality::plus);
        let whole =
            Row::new("all".to_owned(), &all, bytes_of_layer * layers as u64, cost(0..layers));
        rows.push(whole);
        bar.finish_and_clear();

        let name = self.text.file_name().unwrap_or_default().to_string_lossy().into_owned();
        drop(scores);
        let model = model.name;
        let trained = Trained { model, text: name, tokens: tokens.len(), goal, choice };
        trained.write(&self.output)?;
        note(&format!(
            "{}: {} bytes of tables -> {}",
            trained.model,
            bytes_of_layer * layers as u64,
            self.output.display()
        ));
        if self.json {
            return output::print_json(&serde_json::json!({ "layers": rows }));
        }
        let header = [
            "",
            "recall",
            "precision",
            "predicted / active",
            "activation kept",
            "bytes",
            "perplexity",
        ];
        output::print(&format!(
            "{} on {windows} windows of {context} tokens of {}; perplexity {reference:.3} without it\n{}",
            trained.model,
            self.held_out.file_name().unwrap_or_default().to_string_lossy(),
            table(&header, rows.iter().map(Row::cells).collect())
        ))
    }
}

#[derive(Serialize)]
struct Row {
    layer: String,
    recall: f64,
    precision: f64,
    predicted_per_active: f64,
    activation_kept: f64,
    bytes: u64,
    /// Of the float32 reference with this layer's predictor alone, or all.
    perplexity_change_percent: f64,
}

impl Row {
    fn new(layer: String, quality: &Quality, bytes: u64, perplexity_change_percent: f64) -> Self {
        Self {
            layer,
            recall: quality.recall(),
            precision: quality.precision(),
            predicted_per_active: quality.predicted_per_active(),
            activation_kept: quality.kept(),
            bytes,
            perplexity_change_percent,
        }
    }

    fn cells(&self) -> Vec<String> {
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        vec![
            self.layer.clone(),
            percent(self.recall),
            percent(self.precision),
            format!("{:.2}", self.predicted_per_active),
            percent(self.activation_kept),
            bytes(self.bytes as f64),
            format!("{:+.3} %", self.perplexity_change_percent),
        ]
    }
}
