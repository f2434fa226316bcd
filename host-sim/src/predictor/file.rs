//! Predictor files: JSON, one line a layer.
//!
//! In: a trained predictor, or such a file. Out: the other one, checked.

use super::low_rank::{Factors, LowRank};
use super::signs::Thresholds;
use super::{Goal, Trained};
use crate::model::{Matrix, Model};
use crate::predictor::PredictorChoice;
use crate::process::failure::check_there;
use crate::process::output::write_whole;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::json;
use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

/// Names the format and its version.
const FORMAT: &str = "ripple-predictor-1";

/// The file before it is checked: of signs, or of low rank.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    format: String,
    model: String,
    text: String,
    tokens: usize,
    goal: Goal,
    #[serde(default)]
    planes: u32,
    #[serde(default)]
    rank: u32,
    thresholds: Vec<Vec<f32>>,
    /// `(layers, rank * dim)` and `(layers, neurons * rank)`.
    #[serde(default)]
    projections: Vec<Vec<f32>>,
    #[serde(default)]
    rows: Vec<Vec<f32>>,
}

impl Trained {
    /// Writes the predictor to `path`, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be written, or the predictor is exact: that one needs no file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let (size, thresholds, factors) = match &self.choice {
            PredictorChoice::Signs(signs) => (("planes", signs.planes), &signs.layers, &[][..]),
            PredictorChoice::LowRank(low) => (("rank", low.rank), &low.thresholds, &*low.layers),
            PredictorChoice::Exact | PredictorChoice::ExactFullBundles => {
                bail!("{}: the exact predictor is not trained", path.display())
            }
        };
        write_whole(path, |out| {
            writeln!(out, "{{\"format\":{},", json!(FORMAT))?;
            writeln!(out, "\"model\":{},\"text\":{},", json!(self.model), json!(self.text))?;
            writeln!(out, "\"tokens\":{},\"goal\":{},", self.tokens, json!(self.goal))?;
            write!(out, "\"{}\":{},\n\"thresholds\":", size.0, size.1)?;
            write_lines(out, thresholds.iter().map(|line| Cow::Borrowed(&line[..])))?;
            if !factors.is_empty() {
                write!(out, ",\n\"projections\":")?;
                write_lines(out, factors.iter().map(|factors| factors.projection.values()))?;
                write!(out, ",\n\"rows\":")?;
                write_lines(out, factors.iter().map(|factors| factors.rows.values()))?;
            }
            Ok(writeln!(out, "}}")?)
        })
    }

    /// Reads the predictor at `path`, which must be one of `model`.
    ///
    /// # Errors
    /// When it is not a whole, consistent predictor of a model of this shape: says what was expected
    /// and what was found.
    pub fn read(path: &Path, model: &Model) -> Result<Self> {
        check_there(path)?;
        let read = || {
            let bytes = std::fs::read(path).context("it cannot be read")?;
            let file: Unchecked =
                serde_json::from_slice(&bytes).context("expected the JSON of train-predictor")?;
            ensure!(file.format == FORMAT, "expected format {FORMAT}, found {}", file.format);
            let (layers, neurons) = (model.config.layers as usize, model.config.neurons as usize);
            let of_model = |lines: &[Vec<f32>], numbers: usize| {
                lines.len() == layers && lines.iter().all(|line| line.len() == numbers)
            };
            ensure!(
                of_model(&file.thresholds, neurons),
                "expected {layers} layers of {neurons} thresholds for the model `{}`, found {} of {}; \
                 train a predictor of this model",
                model.name,
                file.thresholds.len(),
                file.thresholds.first().map_or(0, Vec::len)
            );
            let numbers = [
                ("thresholds", &file.thresholds),
                ("projections", &file.projections),
                ("rows", &file.rows),
            ];
            for (name, lines) in numbers {
                let finite = |line: &Vec<f32>| line.iter().all(|number| number.is_finite());
                if let Some(layer) = lines.iter().position(|line| !finite(line)) {
                    bail!(
                        "`{name}` of layer {layer} hold a number beyond those of 32 bits; train it again"
                    );
                }
            }
            let dim = model.config.dim as usize;
            let Unchecked { model, text, tokens, goal, planes, rank, thresholds, .. } = file;
            let choice = match (planes, rank) {
                (1..=7, 0) => PredictorChoice::Signs(Thresholds { planes, layers: thresholds }),
                (0, 4..=252) if rank.is_multiple_of(4) => {
                    let columns = rank as usize;
                    ensure!(
                        of_model(&file.projections, columns * dim)
                            && of_model(&file.rows, neurons * columns),
                        "expected {layers} projections of {columns} x {dim} numbers, and rows of \
                         {neurons} x {columns}; train it again"
                    );
                    let pairs = file.projections.into_iter().zip(file.rows);
                    let layers = pairs.map(|(projection, data)| Factors {
                        projection: Matrix::new(columns, dim, projection),
                        rows: Matrix::new(neurons, columns, data),
                    });
                    PredictorChoice::LowRank(LowRank { rank, layers: layers.collect(), thresholds })
                }
                _ => bail!(
                    "expected 1 to 7 planes, or a rank of 4 to 252 in steps of 4, found {planes} and {rank}"
                ),
            };
            Ok(Self { model, text, tokens, goal, choice })
        };
        read().with_context(|| format!("{}: not a predictor", path.display()))
    }
}

/// An array of arrays, one a line.
fn write_lines<'a>(
    out: &mut dyn Write,
    lines: impl ExactSizeIterator<Item = Cow<'a, [f32]>>,
) -> Result<()> {
    let last = lines.len().saturating_sub(1);
    writeln!(out, "[")?;
    for (i, line) in lines.enumerate() {
        writeln!(out, "{}{}", json!(line), if i < last { "," } else { "]" })?;
    }
    Ok(())
}
