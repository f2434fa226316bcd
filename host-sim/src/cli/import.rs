//! `ripple import`: a checkpoint of another program as one model file.
//!
//! In: a checkpoint, what of it to keep. Out: a [`Model`], thresholds and all, and what they cost in
//! words. `ripple make` takes the same options.

use super::source::demo_folder;
use crate::import::{self, import_with, refuse_lossy};
use crate::model::text::read_tokens;
use crate::model::threshold::sparsify;
use crate::model::{Model, Sparsity};
use crate::process::failure::{bad_input, ensure_usage};
use crate::process::output::{check_path, note, progress};
use anyhow::{Context, Result, bail};
use clap::{Args, value_parser};
use ripple_kernel::config::Activation;
use std::path::{Path, PathBuf};

/// Above this, in percent, a threshold's cost in perplexity is warned of.
const DEAR: f64 = 5.0;

/// Read a checkpoint into one model file: a Hugging Face directory, a GGUF file, or a .bin of llama2.c.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Import {
    /// The directory (config.json, model.safetensors, tokenizer.json), the file, or the name of a demo model.
    checkpoint: PathBuf,
    #[command(flatten)]
    options: ImportArgs,
    /// Text that the thresholds are calibrated on, and their cost is measured on.
    #[arg(long, requires = "threshold")]
    text: Option<PathBuf>,
    /// Most tokens of it to read.
    #[arg(long, default_value_t = CALIBRATION_TOKENS, value_parser = value_parser!(u32).range(2..))]
    tokens: u32,
    /// Model file to write.
    #[arg(short, long)]
    output: PathBuf,
}

/// What is said of a checkpoint that it does not say itself.
#[derive(Args, Clone)]
pub struct CheckpointArgs {
    /// Vocabulary of a llama2.c model; without it, tokenizer.bin beside the model.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// What the neurons do, where the file does not say, as GGUF files of llama.cpp do not: relu,
    /// fatrelu=0.01, silu, gelu_pytorch_tanh.
    #[arg(long, value_name = "NAME", value_parser = import::activation)]
    activation: Option<(Activation, f32)>,
    /// A key of a configuration file that changes nothing, though it is not known; can be given more than
    /// once.
    #[arg(long, value_name = "KEY")]
    allow_key: Vec<String>,
}

impl CheckpointArgs {
    /// Whether nothing is said.
    fn is_plain(&self) -> bool {
        self.tokenizer.is_none() && self.activation.is_none() && self.allow_key.is_empty()
    }

    /// The same, and that the model is to be kept within so many positions.
    pub fn options(&self, context: Option<u32>) -> import::Options<'_> {
        import::Options {
            tokenizer: self.tokenizer.as_deref(),
            activation: self.activation,
            context,
            allowed: &self.allow_key,
        }
    }
}

/// What of a checkpoint is taken, and how.
#[derive(Args, Clone)]
pub struct ImportArgs {
    #[command(flatten)]
    checkpoint: CheckpointArgs,
    /// Keep the model within this many positions.
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    context: Option<u32>,
    /// For SiLU and GELU gates, lossy: the share of the neurons of each layer that stays active, above 0
    /// and up to 1, which keeps all. What it costs depends on the model: with --text, it is measured.
    #[arg(long, value_name = "ACTIVITY", value_parser = activity, allow_negative_numbers = true)]
    threshold: Option<f64>,
}

/// Tokens that thresholds are calibrated on where nobody says how many.
pub const CALIBRATION_TOKENS: u32 = 4096;

const EXAMPLES: &str = "Examples:
  ripple import ./my-relu-llama -o my.model
  ripple import stories260K.bin --tokenizer tok512.bin --threshold 0.8 --text stories.txt -o s.model
  ripple import SmolLM2-135M.Q4_1.gguf --activation silu --context 1024 --threshold 0.8 --text some.txt -o smol.model
  ripple import some.gguf --activation silu --threshold 1 -o dense.model      # all neurons, nothing lost";

/// A share above 0, at most 1.
fn activity(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("expected a share above 0, at most 1".to_owned()),
    }
}

impl Import {
    pub fn run(&self) -> Result<()> {
        check_path(&self.output)?;
        let checkpoint = demo_folder(&self.checkpoint)?.unwrap_or_else(|| self.checkpoint.clone());
        let model = self.options.read(&checkpoint, self.text.as_deref(), self.tokens)?;
        let bar = progress(2 * model.numbers(), "write");
        model.write_with(&self.output, &|n| bar.inc(n))?;
        bar.finish_and_clear();
        note(&format!("{} -> {}", about(&model), self.output.display()));
        Ok(())
    }
}

/// A model in a line.
pub fn about(model: &Model) -> String {
    let c = &model.config;
    format!(
        "{}: {:?} FFN, {} layers of {} neurons, dim {}, vocab {}",
        model.name, c.ffn, c.layers, c.neurons, c.dim, c.vocab
    )
}

impl ImportArgs {
    /// Whether nothing is asked of an import.
    pub fn is_plain(&self) -> bool {
        self.checkpoint.is_plain() && self.context.is_none() && self.threshold.is_none()
    }

    /// Whether thresholds are calibrated on a text.
    pub fn calibrates(&self) -> bool {
        self.threshold.is_some_and(|activity| activity < 1.0)
    }

    /// Reads `checkpoint`, whose thresholds, if it has any, are calibrated on the first `tokens` of `text`.
    pub fn read(&self, checkpoint: &Path, text: Option<&Path>, tokens: u32) -> Result<Model> {
        let mut model = self.open(checkpoint)?;
        self.sparsify(&mut model, text, tokens)
            .with_context(|| checkpoint.display().to_string())?;
        Ok(model)
    }

    /// The same, without thresholds.
    pub fn open(&self, checkpoint: &Path) -> Result<Model> {
        let options = self.checkpoint.options(self.context);
        let model = import_with(checkpoint, &options).map_err(bad_input)?;
        if self.threshold.is_none() {
            refuse_lossy(checkpoint, &model).map_err(bad_input)?;
        }
        Ok(model)
    }

    /// Sets thresholds where the activation has no zeros, and says what they cost.
    pub fn sparsify(&self, model: &mut Model, text: Option<&Path>, most: u32) -> Result<()> {
        let activation = model.config.activation;
        if !activation.lossy() {
            ensure_usage!(
                self.threshold.is_none(),
                "--threshold: the activation is {activation:?}, whose inactive neurons add nothing; expected \
                 without it"
            );
            return Ok(());
        }
        let Some(activity) = self.threshold else { bail!(import::lossy(activation)) };
        let tokens = match text {
            Some(text) => read_tokens(model, text)?,
            None => {
                ensure_usage!(
                    activity >= 1.0,
                    "--threshold {activity}: expected --text FILE to calibrate on"
                );
                Vec::new()
            }
        };
        let tokens = &tokens[..tokens.len().min(most as usize)];
        let bar = progress(2 * tokens.len() as u64, "calibrate");
        sparsify(model, activity, tokens, &|n| bar.inc(n))?;
        bar.finish_and_clear();
        if let Some(Sparsity { cost, .. }) = &model.sparsity
            && activity < 1.0
        {
            let more = 100.0 * f64::from(cost.sparse / cost.dense - 1.0);
            note(&format!(
                "{}: {} % of the neurons active, lossy: perplexity of {} tokens {:.3}, with all {:.3} ({more:+.2} %)",
                model.name,
                100.0 * activity,
                tokens.len(),
                cost.sparse,
                cost.dense,
            ));
            if more > DEAR {
                note(&format!(
                    "warning: --threshold {activity} makes `{}` worse by more than {DEAR} %: a greater one \
                     keeps more neurons, 1 keeps all and loses nothing",
                    model.name
                ));
            }
        }
        Ok(())
    }
}
