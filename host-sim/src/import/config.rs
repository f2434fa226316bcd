//! `config.json` of a Hugging Face checkpoint.
//!
//! In: its path. Out: the model's shape, or why the kernel cannot run it. Knows nothing of
//! tensors.

use super::activation::{self, decide};
use super::{Options, json, keys};
use anyhow::{Context, Result, anyhow, bail};
use ripple_kernel::config::{Activation, AttentionBias, Ffn, ModelConfig, Norm, Position};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// How a checkpoint names its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// `LlamaForCausalLM` and what has its shape.
    Llama,
    /// `OPTForCausalLM`.
    Opt,
}

/// What `config.json` says.
pub(crate) struct Parsed {
    pub family: Family,
    pub config: ModelConfig,
    pub rope_theta: f32,
    /// Positions that the checkpoint has, of which the model may keep fewer.
    pub positions: u32,
}

/// Reads and checks `config.json`.
pub(crate) fn read(path: &Path, options: &Options<'_>) -> Result<Parsed> {
    let Value::Object(map) =
        json::read(path).context("a Hugging Face checkpoint has config.json")?
    else {
        bail!("{}: not a JSON object; download it again", path.display())
    };
    let fields = Fields { path: path.to_owned(), map, said: options.activation };
    keys::CONFIG
        .check_object(&fields.map, options.allowed)
        .with_context(|| path.display().to_string())?;
    fields.refuse_quantised()?;
    let architecture = fields.architecture()?;
    let mut parsed = match architecture.as_str() {
        "LlamaForCausalLM" | "SparseLlamaForCausalLM" | "llama" => fields.llama(None)?,
        // Llama's shape but for the sliding window, 4096 where the field is absent.
        "MistralForCausalLM" | "mistral" => fields.llama(Some(4096))?,
        "OPTForCausalLM" | "opt" => fields.opt()?,
        "GemmaForCausalLM" | "Gemma2ForCausalLM" | "Gemma3ForCausalLM" | "gemma" => bail!(
            "{}: `architectures` is {architecture}: scaled embeddings and norms of 1 + w are not \
             supported; GELU gates are, in a model of Llama's shape",
            path.display()
        ),
        other => bail!(fields.unsupported(
            "architectures",
            other,
            "LlamaForCausalLM, MistralForCausalLM without a sliding window, or OPTForCausalLM"
        )),
    };
    fields.check(&mut parsed, options)?;
    Ok(parsed)
}

/// Of all projections, or of none.
fn biases(all: bool) -> AttentionBias {
    if all { AttentionBias::ALL } else { AttentionBias::NONE }
}

/// Rotary parameters by the type of a layer, if these are such.
fn nested_of(rope: &Value) -> Option<(&String, &Value)> {
    rope.as_object()?.iter().find(|(_, value)| value.is_object())
}

/// A JSON object that names its file and field in every error.
struct Fields {
    path: PathBuf,
    map: Map<String, Value>,
    /// The activation that was said beside the file.
    said: Option<(Activation, f32)>,
}

impl Fields {
    /// The value of `field`; `null` counts as absent.
    fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    fn missing(&self, field: &str, expected: &str) -> anyhow::Error {
        anyhow!(
            "{}: `{field}` is missing or null, expected {expected}; add it as the model was \
             trained",
            self.path.display()
        )
    }

    fn wrong(&self, field: &str, found: &Value, expected: &str) -> anyhow::Error {
        anyhow!("{}: `{field}` is {found}, expected {expected}", self.path.display())
    }

    fn unsupported(&self, field: &str, found: &str, supported: &str) -> anyhow::Error {
        anyhow!(
            "{}: `{field}` is {found}, which is not supported; supported: {supported}",
            self.path.display()
        )
    }

    fn whole(&self, field: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(field, value, "a whole number of 32 bits"))
    }

    fn required(&self, field: &str) -> Result<u32> {
        self.whole(field)?.ok_or_else(|| self.missing(field, "a whole number"))
    }

    fn number(&self, field: &str, default: f32) -> Result<f32> {
        let Some(value) = self.get(field) else { return Ok(default) };
        let number = value.as_f64().map(|number| number as f32).filter(|n| n.is_finite());
        number.ok_or_else(|| self.wrong(field, value, "a number"))
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(field) else { return Ok(default) };
        value.as_bool().ok_or_else(|| self.wrong(field, value, "true or false"))
    }

    /// Refuses `field` unless it is `needed`, which is also the default.
    fn only(&self, field: &str, needed: bool, why: &str) -> Result<()> {
        if self.flag(field, needed)? == needed {
            return Ok(());
        }
        bail!("{}: `{field}` is {}, expected {needed}: {why}", self.path.display(), !needed)
    }

    fn architecture(&self) -> Result<String> {
        let found = self.get("architectures").and_then(|list| list.get(0));
        let found = found.or_else(|| self.get("model_type")).and_then(Value::as_str);
        found
            .map(str::to_owned)
            .ok_or_else(|| self.missing("architectures", "a list such as [\"LlamaForCausalLM\"]"))
    }

    fn refuse_quantised(&self) -> Result<()> {
        if self.get("quantization_config").is_none() {
            return Ok(());
        }
        bail!(
            "{}: `quantization_config` is set: the weights are quantised; import the original \
             ones, they are quantised later, by `ripple pack`",
            self.path.display()
        )
    }

    /// What neurons do, and the threshold above which one is active.
    fn activation(&self, field: &str) -> Result<(Activation, f32)> {
        let written = self.get(field).map(|value| self.named(field, value)).transpose()?;
        decide(field, written, self.said).with_context(|| self.path.display().to_string())
    }

    fn named(&self, field: &str, value: &Value) -> Result<(Activation, f32)> {
        let name = value.as_str().ok_or_else(|| self.wrong(field, value, "\"relu\""))?;
        // ProSparse's: x where x is above the threshold, else 0.
        if name == "fatrelu" {
            let param = "hidden_act_param";
            let threshold = self.number(param, f32::NAN)?;
            if threshold.is_nan() {
                bail!(self.missing(param, "the threshold of fatrelu"));
            }
            return Ok((Activation::Relu, threshold));
        }
        match activation::named(name) {
            Some(activation) => Ok((activation, 0.0)),
            None => bail!(self.unsupported(
                field,
                name,
                "relu, fatrelu; with --threshold: silu, gelu_pytorch_tanh"
            )),
        }
    }

    fn llama(&self, default_window: Option<u32>) -> Result<Parsed> {
        let (activation, threshold) = self.activation("hidden_act")?;
        self.only("mlp_bias", false, "gated neurons with biases are not supported")?;
        let context = self.required("max_position_embeddings")?;
        self.refuse_window(default_window, context)?;
        let dim = self.required("hidden_size")?;
        let heads = self.required("num_attention_heads")?;
        let head_dim = match self.whole("head_dim")? {
            Some(head_dim) => head_dim,
            None => self.head_dim(dim, heads)?,
        };
        let config = ModelConfig {
            dim,
            layers: self.required("num_hidden_layers")?,
            neurons: self.required("intermediate_size")?,
            heads,
            kv_heads: self.whole("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            vocab: self.required("vocab_size")?,
            context,
            norm: Norm::Rms,
            norm_eps: self.number("rms_norm_eps", 1e-6)?,
            position: Position::Rope,
            ffn: Ffn::Gated,
            activation,
            attention_bias: biases(self.flag("attention_bias", false)?),
            ffn_bias: false,
            tied_head: self.flag("tie_word_embeddings", false)?,
            threshold,
        };
        Ok(Parsed {
            family: Family::Llama,
            config,
            rope_theta: self.rope_theta()?,
            positions: context,
        })
    }

    fn opt(&self) -> Result<Parsed> {
        let (activation, threshold) = self.activation("activation_function")?;
        if activation.lossy() {
            let found = self.get("activation_function").map(Value::to_string).unwrap_or_default();
            bail!(self.unsupported("activation_function", &found, "relu: neurons without a gate"));
        }
        let after = "normalisation after attention and FFN (OPT-350m) is not supported";
        self.only("do_layer_norm_before", true, after)?;
        self.only("_remove_final_layer_norm", false, "the final normalisation is needed")?;
        self.only("layer_norm_elementwise_affine", true, "normalisation weights are needed")?;
        let dim = self.required("hidden_size")?;
        let projected = self.whole("word_embed_proj_dim")?.unwrap_or(dim);
        if projected != dim {
            bail!(
                "{}: `word_embed_proj_dim` is {projected}, expected `hidden_size`, {dim}: projected \
                 embeddings (OPT-350m) are not supported",
                self.path.display()
            );
        }
        let heads = self.required("num_attention_heads")?;
        let bias = self.flag("enable_bias", true)?;
        let config = ModelConfig {
            dim,
            layers: self.required("num_hidden_layers")?,
            neurons: self.required("ffn_dim")?,
            heads,
            kv_heads: heads,
            head_dim: self.head_dim(dim, heads)?,
            vocab: self.required("vocab_size")?,
            context: self.required("max_position_embeddings")?,
            norm: Norm::Layer,
            norm_eps: 1e-5,
            position: Position::Learned,
            ffn: Ffn::Plain,
            activation,
            attention_bias: biases(bias),
            ffn_bias: bias,
            tied_head: self.flag("tie_word_embeddings", true)?,
            threshold,
        };
        let positions = config.context;
        Ok(Parsed { family: Family::Opt, config, rope_theta: 10000.0, positions })
    }

    fn head_dim(&self, dim: u32, heads: u32) -> Result<u32> {
        if heads == 0 || !dim.is_multiple_of(heads) {
            bail!(
                "{}: `num_attention_heads` is {heads}, expected a divisor of `hidden_size`, {dim}, \
                 as there is no `head_dim`",
                self.path.display()
            );
        }
        Ok(dim / heads)
    }

    /// A window that holds the whole context changes nothing; a smaller one does.
    fn refuse_window(&self, default: Option<u32>, context: u32) -> Result<()> {
        let window = match self.map.get("sliding_window") {
            None => default,
            Some(_) => self.whole("sliding_window")?,
        };
        if let Some(window) = window.filter(|&window| window < context) {
            bail!(
                "{}: `sliding_window` is {window}, expected null: attention over a window is not \
                 supported; lower `max_position_embeddings` from {context} to {window} to use the \
                 model within it",
                self.path.display()
            );
        }
        let layers = self.get("layer_types").and_then(Value::as_array);
        match layers.and_then(|kinds| kinds.iter().find(|kind| *kind != "full_attention")) {
            Some(kind) => bail!(self.wrong("layer_types", kind, "full_attention in every layer")),
            None => Ok(()),
        }
    }

    /// The base of the rotary frequencies; any way of stretching them is refused.
    fn rope_theta(&self) -> Result<f32> {
        for field in ["rope_parameters", "rope_scaling"] {
            let Some(scaling) = self.get(field) else { continue };
            if let Some((name, nested)) = nested_of(scaling) {
                let expected = "one rope_type for all layers: rotary positions by the type of a layer are \
                                not supported";
                bail!(self.wrong(&format!("{field}.{name}"), nested, expected));
            }
            let kind = scaling.get("rope_type").or_else(|| scaling.get("type"));
            if kind.is_some_and(|kind| kind != "default") || scaling.get("factor").is_some() {
                let expected = "rope_type \"default\": scaled rotary positions are not supported";
                bail!(self.wrong(field, scaling, expected));
            }
        }
        let partial = self.number("partial_rotary_factor", 1.0)?;
        if partial != 1.0 {
            bail!(self.unsupported("partial_rotary_factor", &partial.to_string(), "1"));
        }
        let nested = self.get("rope_parameters").and_then(|rope| rope.get("rope_theta"));
        let theta = match nested {
            Some(value) => value
                .as_f64()
                .map(|theta| theta as f32)
                .ok_or_else(|| self.wrong("rope_parameters.rope_theta", value, "a number"))?,
            None => self.number("rope_theta", 10000.0)?,
        };
        if !(theta > 1.0 && theta.is_finite()) {
            bail!(self.unsupported("rope_theta", &theta.to_string(), "a number above 1"));
        }
        Ok(theta)
    }

    /// Says in this file's terms what the kernel cannot run.
    fn check(&self, parsed: &mut Parsed, options: &Options<'_>) -> Result<()> {
        let opt = parsed.family == Family::Opt;
        let name = |field| match field {
            "dim" => "hidden_size",
            "layers" => "num_hidden_layers",
            "neurons" if opt => "ffn_dim",
            "neurons" => "intermediate_size",
            "heads" => "num_attention_heads",
            "kv_heads" => "num_key_value_heads",
            "vocab" => "vocab_size",
            "context" => "max_position_embeddings",
            "norm_eps" => "rms_norm_eps",
            "threshold" => "hidden_act_param",
            other => other,
        };
        super::check(&mut parsed.config, options, name)
            .with_context(|| self.path.display().to_string())
    }
}
