//! The model file: what `ripple import` writes and the other stages read.
//!
//! In: a [`Model`]. Out: one safetensors file with Ripple's tensor names, whose metadata holds the
//! configuration and the tokenizer; and back, bit for bit. Knows nothing of other formats.

use super::checkpoint::Checkpoint;
use crate::model::chat::ChatTemplate;
use crate::model::tokenizer::TokenizerSpec;
use crate::model::{self, Model, NamedTensor, Sparsity, Tensor};
use crate::process::output;
use anyhow::{Context, Result, anyhow, bail};
use half::f16;
use ripple_kernel::config::{
    Activation, AttentionBias, Ffn, ModelConfig, Norm, Order, Position, Variant,
};
use ripple_kernel::image::Lossy;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

/// Rises with every change of the format.
const VERSION: u32 = 4;
/// The one metadata key: with several, their order in the file would change from run to run.
const KEY: &str = "ripple";

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    name: String,
    #[serde(with = "ConfigForm")]
    config: ModelConfig,
    rope_theta: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rope_frequencies: Option<Vec<f32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sparsity: Option<SparsityForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template: Option<String>,
    /// Of the template; not in files that were written before it had them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    chat_tokens: BTreeMap<String, String>,
    tokenizer: TokenizerSpec,
}

#[derive(Serialize, Deserialize)]
struct SparsityForm {
    thresholds: Vec<f32>,
    activity: f32,
    dense_perplexity: f32,
    sparse_perplexity: f32,
}

impl From<&Sparsity> for SparsityForm {
    fn from(sparsity: &Sparsity) -> Self {
        let Lossy { activity, dense, sparse } = sparsity.cost;
        Self {
            thresholds: sparsity.thresholds.clone(),
            activity,
            dense_perplexity: dense,
            sparse_perplexity: sparse,
        }
    }
}

impl From<SparsityForm> for Sparsity {
    fn from(form: SparsityForm) -> Self {
        let cost = Lossy {
            activity: form.activity,
            dense: form.dense_perplexity,
            sparse: form.sparse_perplexity,
        };
        Self { thresholds: form.thresholds, cost }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "ModelConfig")]
struct ConfigForm {
    dim: u32,
    layers: u32,
    neurons: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    vocab: u32,
    context: u32,
    #[serde(with = "NormForm")]
    norm: Norm,
    norm_eps: f32,
    #[serde(with = "PositionForm")]
    position: Position,
    #[serde(with = "FfnForm")]
    ffn: Ffn,
    #[serde(with = "ActivationForm")]
    activation: Activation,
    #[serde(with = "VariantForm")]
    variant: Variant,
    #[serde(with = "AttentionBiasForm")]
    attention_bias: AttentionBias,
    ffn_bias: bool,
    tied_head: bool,
    threshold: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AttentionBias")]
struct AttentionBiasForm {
    query: bool,
    key: bool,
    value: bool,
    output: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Norm", rename_all = "snake_case")]
#[non_exhaustive]
enum NormForm {
    Rms,
    Layer,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Position", rename_all = "snake_case")]
#[non_exhaustive]
enum PositionForm {
    Rope,
    Learned,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Ffn", rename_all = "snake_case")]
#[non_exhaustive]
enum FfnForm {
    Gated,
    Plain,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Activation", rename_all = "snake_case")]
#[non_exhaustive]
enum ActivationForm {
    Relu,
    Silu,
    GeluTanh,
    ReluSquared,
    ReluBoth,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Variant")]
struct VariantForm {
    #[serde(with = "OrderForm")]
    order: Order,
    head_norm: bool,
    sub_norm: bool,
    attention_cap: f32,
    logit_cap: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Order", rename_all = "snake_case")]
#[non_exhaustive]
enum OrderForm {
    Before,
    After,
    Around,
    Parallel,
}

impl Model {
    /// Writes the model file, whole or not at all. Tensors that float16 can hold exactly are
    /// stored so, the others as float32: nothing is rounded.
    ///
    /// # Errors
    /// When `path` cannot be written; what was there before is then still there.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.write_with(path, &|_| ())
    }

    /// The same, telling `done` of numbers that were looked at: of each of the model's, twice.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_with(&self, path: &Path, done: &dyn Fn(u64)) -> Result<()> {
        let header = Header {
            version: VERSION,
            name: self.name.clone(),
            config: self.config,
            rope_theta: self.rope_theta,
            rope_frequencies: self.rope_frequencies.clone(),
            sparsity: self.sparsity.as_ref().map(SparsityForm::from),
            chat_template: self.chat_template.as_ref().map(|chat| chat.template.clone()),
            chat_tokens: self
                .chat_template
                .as_ref()
                .map_or_else(BTreeMap::new, |chat| chat.tokens.clone()),
            tokenizer: self.tokenizer.clone(),
        };
        let tensors = self.tensors();
        let half: Vec<bool> = tensors
            .iter()
            .map(|tensor| {
                done(tensor.len() as u64);
                tensor.fits_half()
            })
            .collect();
        let mut end = 0;
        let infos = tensors.iter().zip(&half).map(|(tensor, &half)| {
            let start = end;
            end += tensor.len() * if half { 2 } else { 4 };
            let dtype = if half { Dtype::F16 } else { Dtype::F32 };
            let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
            (name, TensorInfo { dtype, shape, data_offsets: (start, end) })
        });
        let infos = infos.collect();
        let entry = HashMap::from([(KEY.to_owned(), serde_json::to_string(&header)?)]);
        let mut json = serde_json::to_vec(&Metadata::new(Some(entry), infos)?)?;
        json.resize(json.len().next_multiple_of(8), b' ');

        output::write_whole(path, |out| {
            out.write_all(&(json.len() as u64).to_le_bytes())?;
            out.write_all(&json)?;
            for (tensor, &half) in tensors.iter().zip(&half) {
                tensor.parts(|values| {
                    done(values.len() as u64);
                    write_values(out, values, half)
                })?;
            }
            Ok(())
        })
    }

    /// Reads a model file.
    ///
    /// # Errors
    /// When `path` is no model file, of another version, incomplete or damaged: what was expected,
    /// what was found and what to do.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let checkpoint = Checkpoint::open_file(path)?;
        let Some(json) = checkpoint.metadata(KEY) else {
            bail!(
                "{shown}: a safetensors file, but not one that `ripple import` wrote; to import a \
                 Hugging Face checkpoint, give its directory"
            );
        };
        let damaged = || format!("{shown}: damaged model file; import the checkpoint again");
        let header: serde_json::Value = serde_json::from_str(json).with_context(damaged)?;
        let version = header.get("version").and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let found = version.map_or("none".to_owned(), |version| version.to_string());
            bail!(
                "{shown}: model file of version {found}, expected {VERSION}; import the checkpoint \
                 again with this ripple"
            );
        }
        let header: Header = serde_json::from_value(header).with_context(damaged)?;
        let Header { name, config, rope_theta, rope_frequencies, sparsity, tokenizer, .. } = header;
        let chat_template = chat_of(header.chat_template, header.chat_tokens);
        config.check().map_err(|error| {
            anyhow!(
                "{shown}: `{}` must be {}; import the checkpoint again",
                error.field,
                error.expected
            )
        })?;
        let weights = model::build(&config, &mut |name, shape| checkpoint.stored(name, shape))?;
        let sparsity = sparsity.map(Sparsity::from);
        if let Some(found) = sparsity.as_ref().map(|sparsity| sparsity.thresholds.len())
            && found != config.layers as usize
        {
            bail!(
                "{shown}: {found} thresholds, expected {}, one for each layer; import the \
                 checkpoint again",
                config.layers
            );
        }
        let frequencies = rope_frequencies.as_ref().map_or(0, Vec::len);
        if frequencies != 0 && 2 * frequencies != config.head_dim as usize {
            bail!(
                "{shown}: {frequencies} rotary frequencies, expected half of {}, the width of a head; \
                 import the checkpoint again",
                config.head_dim
            );
        }
        Ok(Self {
            rope_frequencies,
            sparsity,
            chat_template,
            ..Self::new(name, config, rope_theta, weights, tokenizer)
        })
    }
}

fn chat_of(template: Option<String>, tokens: BTreeMap<String, String>) -> Option<ChatTemplate> {
    template.map(|template| ChatTemplate { template, tokens })
}

/// The chat template of a model file, of which no weight is read; `None` where it has none.
pub(super) fn chat_template(path: &Path) -> Result<Option<ChatTemplate>> {
    #[derive(Deserialize)]
    struct Part {
        chat_template: Option<String>,
        #[serde(default)]
        chat_tokens: BTreeMap<String, String>,
    }
    let file = Checkpoint::open_file(path)?;
    let shown = path.display();
    let json = file.metadata(KEY).with_context(|| {
        format!("{shown}: a safetensors file without a chat template; expected what `ripple import` wrote")
    })?;
    let part: Part = serde_json::from_str(json)
        .with_context(|| format!("{shown}: damaged model file; import the checkpoint again"))?;
    Ok(chat_of(part.chat_template, part.chat_tokens))
}

/// Numbers that are looked at, or written, at once.
const PART: usize = 1 << 20;

impl NamedTensor<'_> {
    fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Calls `each` with the values, part by part; what was looked at is let go.
    fn parts(&self, mut each: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        match self.values {
            Tensor::Vector(values) => each(values),
            Tensor::Matrix(matrix) => {
                let rows = (PART / matrix.cols.max(1)).max(1);
                (0..matrix.rows).step_by(rows).try_for_each(|first| {
                    let rows = first..matrix.rows.min(first + rows);
                    each(&matrix.rows(rows.clone()))?;
                    matrix.release(rows);
                    Ok(())
                })
            }
        }
    }

    /// Whether float16 holds every value exactly.
    fn fits_half(&self) -> bool {
        let fits = |values: &[f32]| if fits_half(values) { Ok(()) } else { bail!("it does not") };
        self.parts(fits).is_ok()
    }
}

/// Whether float16 holds every value exactly.
fn fits_half(values: &[f32]) -> bool {
    values.iter().all(|&value| f16::from_f32(value).to_f32().to_bits() == value.to_bits())
}

fn write_values(out: &mut dyn Write, values: &[f32], half: bool) -> Result<()> {
    let mut bytes = Vec::with_capacity(1 << 16);
    for part in values.chunks(1 << 14) {
        bytes.clear();
        if half {
            bytes.extend(part.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()));
        } else {
            bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
        }
        out.write_all(&bytes)?;
    }
    Ok(())
}
