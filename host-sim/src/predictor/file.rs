//! Predictor files: JSON, one line a layer.
//!
//! In: a trained predictor, or such a file. Out: the other one, checked.

use super::signs::Thresholds;
use super::{Goal, Trained};
use crate::model::Model;
use crate::output::write_whole;
use crate::pack::PredictorChoice;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use std::path::Path;

/// Names the format and its version.
const FORMAT: &str = "ripple-predictor-1";

/// The file before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    format: String,
    model: String,
    text: String,
    tokens: usize,
    goal: Goal,
    planes: u32,
    layers: Vec<Vec<f32>>,
}

impl Trained {
    /// Writes the predictor to `path`, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written, or the predictor is exact: that one needs no file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let PredictorChoice::Signs(signs) = &self.choice else {
            bail!("{}: the exact predictor is not trained", path.display());
        };
        write_whole(path, |out| {
            writeln!(out, "{{\"format\":{},", json!(FORMAT))?;
            writeln!(out, "\"model\":{},\"text\":{},", json!(self.model), json!(self.text))?;
            writeln!(out, "\"tokens\":{},\"goal\":{},", self.tokens, json!(self.goal))?;
            writeln!(out, "\"planes\":{},\"layers\":[", signs.planes)?;
            for (i, layer) in signs.layers.iter().enumerate() {
                let end = if i + 1 < signs.layers.len() { "," } else { "]}" };
                writeln!(out, "{}{end}", json!(layer))?;
            }
            Ok(())
        })
    }

    /// Reads the predictor at `path`, which must be one of `model`.
    ///
    /// # Errors
    /// When it is not a whole, consistent predictor of a model of this shape: says what was expected
    /// and what was found.
    pub fn read(path: &Path, model: &Model) -> Result<Self> {
        let read = || {
            let bytes = std::fs::read(path).context("it cannot be read")?;
            let file: Unchecked =
                serde_json::from_slice(&bytes).context("expected the JSON of train-predictor")?;
            ensure!(file.format == FORMAT, "expected format {FORMAT}, found {}", file.format);
            ensure!(
                (1..=7).contains(&file.planes),
                "expected 1 to 7 planes, found {}",
                file.planes
            );
            let (layers, neurons) = (model.config.layers as usize, model.config.neurons as usize);
            ensure!(
                file.layers.len() == layers && file.layers.iter().all(|l| l.len() == neurons),
                "expected {layers} layers of {neurons} thresholds for the model `{}`, found {} of {}; \
                 train a predictor of this model",
                model.name,
                file.layers.len(),
                file.layers.first().map_or(0, Vec::len)
            );
            let Unchecked { model, text, tokens, goal, planes, layers, .. } = file;
            let choice = PredictorChoice::Signs(Thresholds { planes, layers });
            Ok(Self { model, text, tokens, goal, choice })
        };
        read().with_context(|| format!("{}: not a predictor", path.display()))
    }
}
