//! `config.json` of a Hugging Face checkpoint.
//!
//! In: its path. Out: the model's shape and what its family does to the weights, or why the kernel cannot
//! run it. Knows nothing of tensors.

mod family;
mod fields;
mod positions;

use super::fold::Fold;
use super::rope::Rope;
use super::{Options, json};
use anyhow::{Context, Result, bail};
pub(crate) use family::Family;
use family::Shape;
use fields::Fields;
use ripple_kernel::config::{
    Activation, AttentionBias, Ffn, ModelConfig, Norm, Order, Position, Variant,
};
use serde_json::Value;
use std::path::Path;

/// What `config.json` says.
pub(crate) struct Parsed {
    pub family: Family,
    pub config: ModelConfig,
    pub rope: Rope,
    pub fold: Fold,
    /// Positions that the checkpoint has, of which the model may keep fewer.
    pub positions: u32,
    /// Width of the embeddings, where projections lead from it to the model's and back.
    pub projected: Option<u32>,
}

/// Reads and checks `config.json`.
pub(crate) fn read(path: &Path, options: &Options<'_>) -> Result<Parsed> {
    let value = json::read(path).context("a Hugging Face checkpoint has config.json")?;
    let Value::Object(map) = value else {
        bail!("{}: not a JSON object; download it again", path.display())
    };
    let shown = || path.display().to_string();
    let fields = Fields::new(path, map, options);
    fields.refuse_quantised()?;
    // Which keys another architecture has is of no use to know.
    let architecture = fields.architecture()?;
    let family = Family::of(&architecture).with_context(shown)?;
    fields.check_keys(options.allowed)?;
    let mut parsed = match family {
        Family::Opt => fields.opt()?,
        Family::Falcon { .. } => fields.falcon(options)?,
        _ => fields.decoder(family, options)?,
    };
    fields.check(&mut parsed, options)?;
    fields.refuse_unread(&architecture, options.allowed)?;
    Ok(parsed)
}

impl Fields {
    /// Positions that are used: those of the checkpoint, or fewer that were asked for.
    fn within(&self, options: &Options<'_>, positions: u32) -> u32 {
        options.context.map_or(positions, |context| context.min(positions))
    }

    fn decoder(&self, family: Family, options: &Options<'_>) -> Result<Parsed> {
        let Shape { bias, window, slides, turned, tied } = family.shape();
        let dim = self.required("hidden_size")?;
        let heads = self.required("num_attention_heads")?;
        let head_dim = match self.whole("head_dim")? {
            Some(head_dim) => head_dim,
            None => self.head_dim(dim, heads)?,
        };
        let positions = self.required("max_position_embeddings")?;
        let within = self.within(options, positions);
        self.refuse_window(window, slides, within)?;
        let (activation, threshold) = self.decoder_activation(family)?;
        let plain = family.is_plain();
        if !plain {
            self.only("mlp_bias", false, "gated neurons with biases are not supported")?;
        }
        let all = self.flag("attention_bias", false)?;
        let norm = if family == Family::Nemotron { Norm::Layer } else { Norm::Rms };
        let eps =
            if family == Family::Nemotron { ("norm_eps", 1e-5) } else { ("rms_norm_eps", 1e-6) };
        let config = ModelConfig {
            dim,
            layers: self.required("num_hidden_layers")?,
            neurons: self.required("intermediate_size")?,
            heads,
            kv_heads: self.whole("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            vocab: self.required("vocab_size")?,
            context: positions,
            norm,
            norm_eps: self.number(eps.0, eps.1)?,
            position: Position::Rope,
            ffn: if plain { Ffn::Plain } else { Ffn::Gated },
            activation,
            variant: self.variant(family)?,
            attention_bias: match bias {
                Some(bias) if !all => bias,
                _ => biases(all),
            },
            ffn_bias: plain && self.flag("mlp_bias", false)?,
            tied_head: self.flag("tie_word_embeddings", tied)?,
            threshold,
        };
        let rope = self.rope(head_dim, turned, positions, within)?;
        let fold = self.fold(family, &config)?;
        Ok(Parsed { family, config, rope, fold, positions, projected: None })
    }

    fn decoder_activation(&self, family: Family) -> Result<(Activation, f32)> {
        match family {
            // Gemma's first configurations said "gelu" and were computed with the hyperbolic tangent.
            Family::Gemma | Family::Gemma2 => {
                let exact = self.get("hidden_activation").is_none()
                    && self.get("hidden_act").is_some_and(|name| name == "gelu");
                if exact {
                    return Ok((Activation::GeluTanh, 0.0));
                }
                let default = Some(Activation::GeluTanh);
                self.activation(&["hidden_activation", "hidden_act"], default)
            }
            Family::Bamboo => match self.activation(&["hidden_act"], None)? {
                (Activation::Relu, 0.0) => Ok((Activation::ReluBoth, 0.0)),
                other => Ok(other),
            },
            _ => self.activation(&["hidden_act"], None),
        }
    }

    fn variant(&self, family: Family) -> Result<Variant> {
        Ok(match family {
            Family::Qwen3 => Variant { head_norm: true, ..Variant::NONE },
            Family::BitNet => Variant { sub_norm: true, ..Variant::NONE },
            Family::Gemma2 => Variant {
                order: Order::Around,
                attention_cap: self.number("attn_logit_softcapping", 0.0)?,
                logit_cap: self.number("final_logit_softcapping", 0.0)?,
                ..Variant::NONE
            },
            _ => Variant::NONE,
        })
    }

    fn fold(&self, family: Family, config: &ModelConfig) -> Result<Fold> {
        let (dim, head_dim) = (config.dim as f32, config.head_dim as f32);
        Ok(match family {
            Family::Gemma => Fold { embed: dim.sqrt(), norm: 1.0, ..Fold::NONE },
            Family::Gemma2 => Fold {
                embed: dim.sqrt(),
                norm: 1.0,
                score: (head_dim / self.positive("query_pre_attn_scalar")?).sqrt(),
                ..Fold::NONE
            },
            Family::Nemotron => Fold { norm: 1.0, ..Fold::NONE },
            Family::MiniCpm => Fold {
                embed: self.positive("scale_emb")?,
                residual: self.positive("scale_depth")? / (config.layers as f32).sqrt(),
                logits: self.positive("dim_model_base")? / dim,
                ..Fold::NONE
            },
            Family::Granite => Fold {
                embed: self.positive("embedding_multiplier")?,
                residual: self.positive("residual_multiplier")?,
                score: self.positive("attention_multiplier")? * head_dim.sqrt(),
                logits: 1.0 / self.positive("logits_scaling")?,
                ..Fold::NONE
            },
            _ => Fold::NONE,
        })
    }

    fn opt(&self) -> Result<Parsed> {
        let (activation, threshold) = self.activation(&["activation_function"], None)?;
        if activation.lossy() {
            let found = self.get("activation_function").map(Value::to_string).unwrap_or_default();
            bail!(self.unsupported("activation_function", &found, "relu: neurons without a gate"));
        }
        self.only("_remove_final_layer_norm", false, "the final normalisation is needed")?;
        self.only("layer_norm_elementwise_affine", true, "normalisation weights are needed")?;
        let order = match self.flag("do_layer_norm_before", true)? {
            true => Order::Before,
            false => Order::After,
        };
        let dim = self.required("hidden_size")?;
        let projected = self.whole("word_embed_proj_dim")?.filter(|&projected| projected != dim);
        let heads = self.required("num_attention_heads")?;
        let bias = self.flag("enable_bias", true)?;
        let positions = self.required("max_position_embeddings")?;
        let config = ModelConfig {
            dim,
            layers: self.required("num_hidden_layers")?,
            neurons: self.required("ffn_dim")?,
            heads,
            kv_heads: heads,
            head_dim: self.head_dim(dim, heads)?,
            vocab: self.required("vocab_size")?,
            context: positions,
            norm: Norm::Layer,
            norm_eps: 1e-5,
            position: Position::Learned,
            ffn: Ffn::Plain,
            activation,
            variant: Variant { order, ..Variant::NONE },
            attention_bias: biases(bias),
            ffn_bias: bias,
            // Projections lead from the same table to two.
            tied_head: self.flag("tie_word_embeddings", true)? && projected.is_none(),
            threshold,
        };
        let (rope, fold) = (Rope::NONE, Fold::NONE);
        Ok(Parsed { family: Family::Opt, config, rope, fold, positions, projected })
    }

    fn falcon(&self, options: &Options<'_>) -> Result<Parsed> {
        let (activation, threshold) = self.activation(&["activation"], None)?;
        self.only("alibi", false, "positions must be rotary")?;
        self.only("parallel_attn", true, "attention and FFN must stand side by side")?;
        let dim = self.required("hidden_size")?;
        let heads = self.required("num_attention_heads")?;
        let head_dim = self.head_dim(dim, heads)?;
        let grouped = self.flag("new_decoder_architecture", false)?;
        let single = self.flag("multi_query", true)? && !grouped;
        let kv_heads = self.whole("num_kv_heads")?.unwrap_or(heads);
        let norms = self.whole("num_ln_in_parallel_attn")?.unwrap_or(if grouped { 2 } else { 1 });
        let norms = if grouped && norms == 2 { 2 } else { 1 };
        let positions = self.required("max_position_embeddings")?;
        let bias = self.flag("bias", false)?;
        let config = ModelConfig {
            dim,
            layers: self.required("num_hidden_layers")?,
            neurons: self.whole("ffn_hidden_size")?.unwrap_or(4 * dim),
            heads,
            kv_heads: if single { 1 } else { kv_heads },
            head_dim,
            vocab: self.required("vocab_size")?,
            context: positions,
            norm: Norm::Layer,
            norm_eps: self.number("layer_norm_epsilon", 1e-5)?,
            position: Position::Rope,
            ffn: Ffn::Plain,
            activation,
            variant: Variant { order: Order::Parallel, ..Variant::NONE },
            attention_bias: biases(bias),
            ffn_bias: bias,
            tied_head: self.flag("tie_word_embeddings", true)?,
            threshold,
        };
        // Before groups and single keys, each head stood with its own.
        let family = Family::Falcon { grouped: grouped || !single, norms };
        let rope = self.rope(head_dim, 1.0, positions, self.within(options, positions))?;
        Ok(Parsed { family, config, rope, fold: Fold::NONE, positions, projected: None })
    }

    /// Says in this file's terms what the kernel cannot run.
    fn check(&self, parsed: &mut Parsed, options: &Options<'_>) -> Result<()> {
        let family = parsed.family;
        let name = |field: &'static str| match field {
            "dim" => "hidden_size",
            "layers" => "num_hidden_layers",
            "neurons" if family == Family::Opt => "ffn_dim",
            "neurons" => "intermediate_size",
            "heads" => "num_attention_heads",
            "kv_heads" => "num_key_value_heads",
            "vocab" => "vocab_size",
            "context" => "max_position_embeddings",
            "norm_eps" if family == Family::Nemotron => "norm_eps",
            "norm_eps" => "rms_norm_eps",
            "threshold" => "hidden_act_param",
            "attention_cap" => "attn_logit_softcapping",
            "logit_cap" => "final_logit_softcapping",
            other => other,
        };
        super::check(&mut parsed.config, options, |field| name(field).to_owned())
            .with_context(|| self.path.display().to_string())
    }
}

/// Of all projections, or of none.
fn biases(all: bool) -> AttentionBias {
    if all { AttentionBias::ALL } else { AttentionBias::NONE }
}
