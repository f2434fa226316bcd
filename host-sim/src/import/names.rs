//! What checkpoints of each family call their tensors.
//!
//! In: a name of [`model::build`](crate::model::build). Out: the checkpoint's, and, where it has several in
//! one, which rows. Knows nothing of values.

use super::checkpoint::Checkpoint;
use super::config::Family;
use anyhow::{Result, bail};
use ripple_kernel::config::ModelConfig;
use std::ops::Range;

/// Translates names.
pub(super) struct Names {
    family: Family,
    /// What stands before all but the output head; checkpoints differ in whether they were saved with it.
    prefix: &'static str,
}

/// Rows of a matrix that holds several, group by group.
pub(super) struct Rows {
    pub all: usize,
    group: usize,
    within: Range<usize>,
}

impl Rows {
    /// These, of the values of all.
    pub fn of(&self, values: &[f32], cols: usize) -> Vec<f32> {
        let groups = values.chunks_exact(self.group * cols);
        groups
            .flat_map(|group| &group[self.within.start * cols..self.within.end * cols])
            .copied()
            .collect()
    }
}

impl Names {
    /// Those of `checkpoint`.
    ///
    /// # Errors
    /// When it has no embedding table under any of them.
    pub fn of(family: Family, checkpoint: &Checkpoint) -> Result<Self> {
        let known: &[&str] = match family {
            Family::Opt => &["model.decoder.", "decoder.", ""],
            Family::Falcon { .. } => &["transformer.", ""],
            _ => &["model.", ""],
        };
        let embed = |prefix: &'static str| Self { family, prefix }.translate("embed.weight");
        match known.iter().find(|prefix| checkpoint.has(&embed(prefix))) {
            Some(prefix) => Ok(Self { family, prefix }),
            None => bail!(
                "{}: tensor `{}` is missing; the weights are not of the architecture in config.json",
                checkpoint.file_of("").display(),
                embed(known[0])
            ),
        }
    }

    pub fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// The checkpoint's name for a tensor of [`model::build`](crate::model::build).
    pub fn translate(&self, name: &str) -> String {
        let prefix = self.prefix;
        let (path, kind) = name.rsplit_once('.').unwrap_or((name, "weight"));
        let layer = path.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
        match layer {
            Some((i, part)) => {
                let layers = match self.family {
                    Family::Falcon { .. } => "h",
                    _ => "layers",
                };
                format!("{prefix}{layers}.{i}.{}.{kind}", self.part(part))
            }
            None if path == "head" => format!("lm_head.{kind}"),
            None => format!("{prefix}{}.{kind}", self.part(path)),
        }
    }

    /// The norm of what a projection is multiplied with, if it has one of its own.
    pub fn sub_norm(&self, name: &str) -> Option<String> {
        let (layer, part) = name.strip_prefix("layers.")?.split_once('.')?;
        let norm = match part {
            "output.weight" => "self_attn.attn_sub_norm",
            "down.weight" => "mlp.ffn_sub_norm",
            _ => return None,
        };
        Some(format!("{}layers.{layer}.{norm}.weight", self.prefix))
    }

    /// The tensor that Falcon has queries, keys and values in, and which of its rows are those of `name`.
    pub fn fused(&self, name: &str, config: &ModelConfig) -> Option<(String, Rows)> {
        let Family::Falcon { grouped, .. } = self.family else { return None };
        let (layer, part) = name.strip_prefix("layers.")?.split_once('.')?;
        let (part, kind) = part.split_once('.')?;
        let (heads, kv_heads) = (config.heads as usize, config.kv_heads as usize);
        let width = config.head_dim as usize;
        // Groups of queries, each with its keys and values behind; or all queries in one.
        let groups = if grouped { kv_heads } else { 1 };
        let (queries, others) = (heads / groups * width, kv_heads / groups * width);
        let within = match part {
            "query" => 0..queries,
            "key" => queries..queries + others,
            "value" => queries + others..queries + 2 * others,
            _ => return None,
        };
        let group = queries + 2 * others;
        let tensor = format!("{}h.{layer}.self_attention.query_key_value.{kind}", self.prefix);
        Some((tensor, Rows { all: groups * group, group, within }))
    }

    fn part<'a>(&self, part: &'a str) -> &'a str {
        match (self.family, part) {
            (Family::Falcon { .. }, part) => match (part, self.family) {
                ("embed", _) => "word_embeddings",
                ("output", _) => "self_attention.dense",
                ("attention_norm", Family::Falcon { norms: 2, .. }) => "ln_attn",
                ("ffn_norm", Family::Falcon { norms: 2, .. }) => "ln_mlp",
                // One for both.
                ("attention_norm" | "ffn_norm", _) => "input_layernorm",
                ("up", _) => "mlp.dense_h_to_4h",
                ("down", _) => "mlp.dense_4h_to_h",
                ("final_norm", _) => "ln_f",
                (other, _) => other,
            },
            (_, "embed") => "embed_tokens",
            (_, "query") => "self_attn.q_proj",
            (_, "key") => "self_attn.k_proj",
            (_, "value") => "self_attn.v_proj",
            (Family::Opt, "positions") => "embed_positions",
            (Family::Opt, "output") => "self_attn.out_proj",
            (Family::Opt, "attention_norm") => "self_attn_layer_norm",
            (Family::Opt, "ffn_norm" | "final_norm") => "final_layer_norm",
            (Family::Opt, "up") => "fc1",
            (Family::Opt, "down") => "fc2",
            (Family::Gemma2, "attention_out_norm") => "post_attention_layernorm",
            (Family::Gemma2, "ffn_norm") => "pre_feedforward_layernorm",
            (Family::Gemma2, "ffn_out_norm") => "post_feedforward_layernorm",
            (_, "output") => "self_attn.o_proj",
            (_, "query_norm") => "self_attn.q_norm",
            (_, "key_norm") => "self_attn.k_norm",
            (_, "attention_norm") => "input_layernorm",
            (_, "ffn_norm") => "post_attention_layernorm",
            (_, "gate") => "mlp.gate_proj",
            (_, "up") => "mlp.up_proj",
            (_, "down") => "mlp.down_proj",
            (_, "final_norm") => "norm",
            (_, other) => other,
        }
    }
}
