//! GGUF files: weights, shape, vocabulary and chat template in one.
//!
//! In: a path. Out: a [`Model`], or what in the file cannot be run, and what to do.

pub(super) mod chat;
pub(super) mod file;
mod shape;
mod value;
mod vocabulary;

use super::Options;
use super::fold::Fold;
use super::rope::Scaling;
use super::rotary::turned_rows;
use crate::model::{self, Model};
use anyhow::{Context, Result, bail, ensure};
use file::Gguf;
use shape::{FACTORS, Keys};
use std::collections::BTreeSet;
use std::path::Path;
use value::Value;

/// An architecture, as llama.cpp names it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Architecture {
    /// And Mistral, SmolLM, and others of that shape.
    Llama,
    Qwen2,
    Qwen3,
    Gemma,
    Gemma2,
}

impl Architecture {
    const ALL: [(&str, Self); 5] = [
        ("llama", Self::Llama),
        ("qwen2", Self::Qwen2),
        ("qwen3", Self::Qwen3),
        ("gemma", Self::Gemma),
        ("gemma2", Self::Gemma2),
    ];
}

/// Reads `path`.
pub(super) fn import(path: &Path, options: &Options<'_>) -> Result<Model> {
    let file = Gguf::open(path)?;
    let shown = file.shown();
    let named = file.text("general.architecture")?.unwrap_or("missing");
    let known = Architecture::ALL.iter().find(|(name, _)| *name == named);
    let Some(&(_, architecture)) = known else {
        let names = Architecture::ALL.map(|(name, _)| name);
        bail!(
            "{shown}: `general.architecture` is {named}, which is not supported; supported: {} (Llama, \
             Mistral, SmolLM and others of that shape are llama); import the Hugging Face directory that \
             the file was made of, if that is supported",
            names.join(", ")
        )
    };
    file.check_keys(named, options.allowed).with_context(|| shown.to_string())?;
    let keys = Keys { file: &file, named };
    let mut config = keys.shape(architecture, options)?;
    let positions = config.context;
    let field = |field| match field {
        "dim" => "embedding_length",
        "layers" => "block_count",
        "neurons" => "feed_forward_length",
        "heads" => "attention.head_count",
        "kv_heads" => "attention.head_count_kv",
        "head_dim" => "attention.key_length",
        "context" => "context_length",
        "norm_eps" => "attention.layer_norm_rms_epsilon",
        "attention_cap" => "attn_logit_softcapping",
        "logit_cap" => "final_logit_softcapping",
        other => other,
    };
    let name = |of| keys.key(field(of));
    super::check(&mut config, options, name).with_context(|| shown.to_string())?;
    keys.refuse_window(config.context)?;
    let tokenizer = vocabulary::read(&file)?;
    ensure!(
        tokenizer.len() <= config.vocab as usize,
        "{shown}: {} tokens, but tensor `token_embd.weight` has {} rows; convert the model again",
        tokenizer.len(),
        config.vocab
    );
    let mut used = BTreeSet::new();
    let mut weights = model::build(&config, &mut |name, shape| {
        let theirs = translate(name);
        // Where only some of the projections have a bias.
        if theirs.ends_with(".bias") && !file.has(&theirs) {
            return Ok(vec![0.0; shape.iter().product::<usize>()].into());
        }
        let values = file.tensor(&theirs, shape)?;
        let cols = shape.get(1).copied().unwrap_or(1);
        // llama.cpp stores these in another order for Llama alone.
        let turned = theirs.contains(".attn_q.") || theirs.contains(".attn_k.");
        used.insert(theirs);
        Ok(match turned && architecture == Architecture::Llama {
            true => turned_rows(values, config.head_dim as usize, cols),
            false => values,
        })
    })?;
    let rope = keys.rope(config.head_dim, f64::from(positions))?;
    if matches!(rope.scaling, Scaling::Factors { .. }) {
        used.insert(FACTORS.to_owned());
    }
    if let Some(name) = file.names().find(|name| !used.contains(*name)) {
        bail!(
            "{shown}: tensor `{name}` has no place in a model of {named}'s shape; models with experts or more \
             are not supported"
        );
    }
    let (dim, head_dim) = (config.dim as f32, config.head_dim as f32);
    let fold = match architecture {
        // Norms have their 1 already.
        Architecture::Gemma => Fold { embed: dim.sqrt(), ..Fold::NONE },
        // The file does not say the scale of scores: of 46 layers it is that of the 27B, of others 1.
        Architecture::Gemma2 => Fold {
            embed: dim.sqrt(),
            score: if config.layers == 46 {
                (head_dim * config.heads as f32 / dim).sqrt()
            } else {
                1.0
            },
            ..Fold::NONE
        },
        _ => Fold::NONE,
    };
    fold.apply(&config, &rope, &mut weights);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = file.text("general.name")?.unwrap_or(&stem).to_owned();
    let chat_template = chat::template(&file)?;
    let rope_frequencies = rope.frequencies(config.head_dim);
    let model = Model::new(name, config, rope.theta, weights, tokenizer);
    Ok(Model { chat_template, rope_frequencies, ..model })
}

/// The file's name for a tensor of [`model::build`].
fn translate(name: &str) -> String {
    let (path, kind) = name.rsplit_once('.').unwrap_or((name, "weight"));
    let layer = path.strip_prefix("layers.").and_then(|rest| rest.split_once('.'));
    let part = match layer.map_or(path, |(_, part)| part) {
        "embed" => "token_embd",
        "head" => "output",
        "final_norm" => "output_norm",
        "attention_norm" => "attn_norm",
        "query" => "attn_q",
        "query_norm" => "attn_q_norm",
        "key_norm" => "attn_k_norm",
        "attention_out_norm" => "post_attention_norm",
        "ffn_out_norm" => "post_ffw_norm",
        "key" => "attn_k",
        "value" => "attn_v",
        "output" => "attn_output",
        "gate" => "ffn_gate",
        "up" => "ffn_up",
        "down" => "ffn_down",
        other => other,
    };
    match layer {
        Some((layer, _)) => format!("blk.{layer}.{part}.{kind}"),
        None => format!("{part}.{kind}"),
    }
}
